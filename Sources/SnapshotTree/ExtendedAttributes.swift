import CLinux
import Digests
import Glibc
import LinuxSystem
import LocalArchive

/// Copies extended attributes from file to file; holds the two buffers that takes.
final class ExtendedAttributes {
    // XATTR_LIST_MAX and XATTR_SIZE_MAX of the kernel, 64 KiB each.
    private static let limit = 65536
    private let names = UnsafeMutablePointer<CChar>.allocate(capacity: limit)
    private let value = UnsafeMutableRawPointer.allocate(byteCount: limit, alignment: 1)

    deinit {
        names.deallocate()
        value.deallocate()
    }

    /// Where the attributes of a file are read or written: by descriptor, or for what cannot be opened (a
    /// symlink, a socket) by name below one, through /proc/self/fd.
    enum Place {
        case descriptor(Int32)
        case entry(UnsafePointer<CChar>, in: Int32)
    }

    // Attributes that say something about one upper directory in its place, not about the files.
    //
    // From fs/overlayfs/overlayfs.h and Documentation/filesystems/overlayfs.rst: `origin` is the file handle
    // of the lower file that was copied up, `nlink` an offset to its link count, `impure` says that entries
    // with an origin lie below, `upper` and `uuid` tie an index or an upper directory to its filesystem. A
    // copy has other handles. `opaque`, `redirect`, `metacopy`, `whiteout` and `protattr` are content.
    private static let leftOut = ["origin", "nlink", "impure", "upper", "uuid"]

    /// Whether an attribute is one of those above.
    static func isLeftOut(_ name: UnsafePointer<CChar>) -> Bool {
        let prefix = "trusted.overlay."
        guard strncmp(name, prefix, prefix.utf8.count) == 0 else { return false }
        let rest = name + prefix.utf8.count
        return leftOut.contains { (attribute: String) in strcmp(rest, attribute) == 0 }
    }

    /// Copies every attribute but those left out; what the destination has already stays.
    func copy(from source: Place, to destination: Place) throws(SystemError) {
        let length = list(source)
        if length < 0 {
            // A filesystem without attributes has none to lose.
            if errno == ENOTSUP { return }
            throw .last("listxattr")
        }
        var name = UnsafePointer(names)
        let end = name + length
        while name < end {
            if !Self.isLeftOut(name) {
                let size = get(name, source)
                if size < 0 { throw .last("getxattr", printable(name)) }
                if set(name, size, destination) < 0 { throw .last("setxattr", printable(name)) }
            }
            name += strlen(name) + 1
        }
    }

    /// Of every attribute that a copy would get, by name; nil where there is none.
    func digest(of place: Place) throws(SystemError) -> Digest? {
        let length = list(place)
        if length < 0 {
            if errno == ENOTSUP { return nil }
            throw .last("listxattr")
        }
        if length == 0 { return nil }
        let all = UnsafeBufferPointer(start: names, count: length)
        let sorted = all.split(separator: 0).map { Array($0) + [0] }
            .filter { !Self.isLeftOut($0) }.sorted { $0.lexicographicallyPrecedes($1) }
        if sorted.isEmpty { return nil }
        let hash = DigestStream()
        for name in sorted {
            let size = get(name, place)
            if size < 0 { throw .last("getxattr", printable(name)) }
            name.withUnsafeBytes { hash.update($0) }
            withUnsafeBytes(of: UInt32(size).littleEndian) { hash.update($0) }
            hash.update(UnsafeRawBufferPointer(start: value, count: size))
        }
        return hash.digest
    }

    /// Every attribute that a copy would get, sorted by name.
    func all(of place: Place) throws(SystemError) -> [ArchivedFile.Attribute] {
        let length = list(place)
        if length < 0 {
            if errno == ENOTSUP { return [] }
            throw .last("listxattr")
        }
        if length == 0 { return [] }
        let all = UnsafeBufferPointer(start: names, count: length)
        var attributes: [ArchivedFile.Attribute] = []
        for name in all.split(separator: 0).map({ Array($0) + [0] }) where !Self.isLeftOut(name) {
            let size = get(name, place)
            if size < 0 { throw .last("getxattr", printable(name)) }
            attributes.append(
                ArchivedFile.Attribute(
                    name: name.dropLast().map { UInt8(bitPattern: $0) },
                    value: Array(UnsafeRawBufferPointer(start: value, count: size))))
        }
        return attributes.sorted { $0.name.lexicographicallyPrecedes($1.name) }
    }

    /// Gives a file these attributes.
    func set(_ attributes: [ArchivedFile.Attribute], on place: Place) throws(SystemError) {
        for attribute in attributes where attribute.value.count <= Self.limit {
            let name = attribute.name.map { CChar(bitPattern: $0) } + [0]
            if Self.isLeftOut(name) { continue }
            attribute.value.withUnsafeBytes { bytes in
                if let start = bytes.baseAddress {
                    value.copyMemory(from: start, byteCount: bytes.count)
                }
            }
            if set(name, attribute.value.count, place) < 0 { throw .last("setxattr", printable(name)) }
        }
    }

    private func list(_ place: Place) -> Int {
        switch place {
        case .descriptor(let descriptor): flistxattr(descriptor, names, Self.limit)
        case .entry(let name, let directory):
            Self.path(name, directory).withUnsafeBufferPointer {
                llistxattr($0.baseAddress!, names, Self.limit)
            }
        }
    }

    private func get(_ attribute: UnsafePointer<CChar>, _ place: Place) -> Int {
        switch place {
        case .descriptor(let descriptor): fgetxattr(descriptor, attribute, value, Self.limit)
        case .entry(let name, let directory):
            Self.path(name, directory).withUnsafeBufferPointer {
                lgetxattr($0.baseAddress!, attribute, value, Self.limit)
            }
        }
    }

    private func set(_ attribute: UnsafePointer<CChar>, _ size: Int, _ place: Place) -> Int32 {
        switch place {
        case .descriptor(let descriptor): fsetxattr(descriptor, attribute, value, size, 0)
        case .entry(let name, let directory):
            Self.path(name, directory).withUnsafeBufferPointer {
                lsetxattr($0.baseAddress!, attribute, value, size, 0)
            }
        }
    }

    private static func path(_ name: UnsafePointer<CChar>, _ directory: Int32) -> [CChar] {
        "/proc/self/fd/\(directory)/".utf8CString.dropLast()
            + UnsafeBufferPointer(start: name, count: strlen(name) + 1)
    }
}
