public import Messages
import Glibc
import LinuxSystem

/// Archives whose path says what happens to them.
extension FixtureEngine {
    /// `/pattern/N` writes N bytes, `/late/N` fails after them; anything else is not there.
    public func readArchive(
        sandbox: String, path: String, owners: Bool, to descriptor: Int32
    ) throws(ErrorMessage) {
        _ = try self.sandbox(sandbox)
        let parts = path.split(separator: "/")
        guard parts.count == 2, let count = Int(parts[1]) else {
            throw ErrorMessage(.notFound, "there is no \(path) in \(sandbox)")
        }
        var sent = 0
        while sent < count {
            let part = Pattern.bytes(at: UInt64(sent), min(65_536, count - sent))
            let written = write(descriptor, part, part.count)
            guard written > 0 else {
                note("the archive's reader left")
                return
            }
            sent += written
        }
        if parts[0] == "late" { throw ErrorMessage(.internal, "the disk broke") }
    }

    /// Notes how much came and whether it was the pattern; `/refuse` stops after the first bytes.
    public func writeArchive(
        sandbox: String, path: String, owners: Bool, from descriptor: Int32
    ) throws(ErrorMessage) -> ArchiveResult {
        _ = try self.sandbox(sandbox)
        var total = 0
        var whole = true
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = read(descriptor, &buffer, buffer.count)
            if count <= 0 { break }
            if total == 0 { note("archive for \(path) begins") }
            if path == "/refuse" { throw ErrorMessage(.noSpace, "the disk is full") }
            whole = whole && Array(buffer[..<count]) == Pattern.bytes(at: UInt64(total), count)
            total += count
        }
        note("archive of \(total) bytes in \(path)\(whole ? "" : ", not the pattern")")
        return ArchiveResult(leftOut: [])
    }
}

/// Bytes that differ from place to place, so that a gap or a repetition shows.
public enum Pattern {
    /// 251 is prime, so that no power of two hides a shift.
    public static func bytes(at offset: UInt64, _ count: Int) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            for index in 0..<count {
                let place = offset &+ UInt64(index)
                buffer[index] = UInt8(truncatingIfNeeded: place % 251 &+ place >> 16)
            }
            initialized = count
        }
    }
}
