import Glibc
import LinuxSystem

/// The names in one directory, read at once, as bytes: a name need not be UTF-8 and may hold a newline.
///
/// Read whole before anything is done with them, so that a caller may unlink while it goes through them.
final class DirectoryEntries {
    // One entry after another: a type byte (DT_REG …), the name, a NUL.
    private(set) var bytes: [UInt8] = []
    /// How many there are, without `.` and `..`.
    private(set) var count = 0

    /// Reads a directory from its start (getdents64(2)).
    init(of directory: borrowing Descriptor) throws(SystemError) {
        let descriptor = directory.raw
        try retrying("lseek") { lseek(descriptor, 0, SEEK_SET) }
        let buffer = UnsafeMutableRawPointer.allocate(byteCount: Self.bufferSize, alignment: 8)
        defer { buffer.deallocate() }
        while true {
            let got = try retrying("getdents64") { getdents64(descriptor, buffer, Self.bufferSize) }
            if got == 0 { return }
            append(UnsafeRawBufferPointer(start: buffer, count: got))
        }
    }

    private static let bufferSize = 32 * 1024
    // struct linux_dirent64 (getdents(2)): u64 d_ino, s64 d_off, u16 d_reclen, u8 d_type, char d_name[].
    private static let lengthOffset = 16
    private static let typeOffset = 18
    private static let nameOffset = 19

    private func append(_ records: UnsafeRawBufferPointer) {
        var at = 0
        while at < records.count {
            let length = Int(records.loadUnaligned(fromByteOffset: at + Self.lengthOffset, as: UInt16.self))
            let name = records.baseAddress! + at + Self.nameOffset
            let nameLength = strlen(name.assumingMemoryBound(to: CChar.self))
            let isDot = records[at + Self.nameOffset] == UInt8(ascii: ".")
            let isSecondDot = isDot && records[at + Self.nameOffset + 1] == UInt8(ascii: ".")
            if !(isDot && nameLength == 1) && !(isSecondDot && nameLength == 2) {
                bytes.append(records[at + Self.typeOffset])
                bytes.append(contentsOf: UnsafeRawBufferPointer(start: name, count: nameLength + 1))
                count += 1
            }
            at += length
        }
    }

    /// Calls `body` with each name and its type as readdir(3) tells it: DT_REG …, or DT_UNKNOWN on some
    /// filesystems.
    func forEach(
        _ body: (_ name: UnsafePointer<CChar>, _ type: UInt8) throws(SystemError) -> Void
    ) throws(SystemError) {
        try bytes.withUnsafeBufferPointer { (all) throws(SystemError) in
            var at = 0
            while at < all.count {
                let name = UnsafeRawPointer(all.baseAddress! + at + 1).assumingMemoryBound(to: CChar.self)
                try body(name, all[at])
                at += 2 + strlen(name)
            }
        }
    }

    /// The names that are valid UTF-8, as text.
    func names() -> [String] {
        var names: [String] = []
        // The body throws nothing, so neither does the call.
        try? forEach { (name, _) throws(SystemError) in
            if let text = String(validatingCString: name) { names.append(text) }
        }
        return names
    }
}
