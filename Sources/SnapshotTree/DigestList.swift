import Digests
import Glibc

/// What a directory tree holds, down to the last bit: kept beside it, so that any damage shows.
///
/// As a file it is text, a line an entry, sorted by path: mode, owner, group, size, time, digest of the content,
/// digest of the extended attributes, path; `-` where there is none.
struct DigestList: Equatable, Sendable {
    /// One entry of the tree.
    struct Entry: Equatable, Sendable {
        /// Type and permissions, as st_mode (inode(7)).
        var mode: UInt32
        var owner: UInt32
        var group: UInt32
        /// Bytes of a file or a symbolic link, the number of a device, 0 for all else.
        var size: Int64
        /// The time of the last change of content in nanoseconds; 0 where times are not kept.
        var modified: Int64
        /// Of a file's bytes, or of the path in a symbolic link.
        var content: Digest?
        /// Of the names and values of all extended attributes.
        var attributes: Digest?

        var type: UInt32 { mode & UInt32(S_IFMT) }
    }

    /// By path below the tree's root, escaped; the root itself is `.`.
    var entries: [String: Entry] = [:]

    private static let heading = "ckpt digests 1"

    /// The file's bytes.
    var encoded: [UInt8] {
        var text = Self.heading + "\n"
        for (path, entry) in entries.sorted(by: { $0.key < $1.key }) {
            let content = entry.content?.description ?? "-"
            let attributes = entry.attributes?.description ?? "-"
            text += "\(String(entry.mode, radix: 8)) \(entry.owner) \(entry.group) \(entry.size) "
            text += "\(entry.modified) \(content) \(attributes) \(path)\n"
        }
        return Array(text.utf8)
    }

    init() {}

    /// Reads what `encoded` wrote; nil for anything else.
    init?(_ bytes: [UInt8]) {
        var lines = bytes.split(separator: UInt8(ascii: "\n"))[...]
        guard let heading = lines.popFirst(), heading.elementsEqual(Self.heading.utf8) else { return nil }
        entries.reserveCapacity(lines.count)
        for line in lines {
            let fields = line.split(separator: UInt8(ascii: " ")).map { String(decoding: $0, as: UTF8.self) }
            guard fields.count == 8, let mode = UInt32(fields[0], radix: 8), let owner = UInt32(fields[1]),
                let group = UInt32(fields[2]), let size = Int64(fields[3]), let modified = Int64(fields[4])
            else { return nil }
            let digests = fields[5...6].map { $0 == "-" ? nil : Digest($0) }
            guard zip(fields[5...6], digests).allSatisfy({ $0 == "-" || $1 != nil }) else { return nil }
            entries[fields[7]] = Entry(
                mode: mode, owner: owner, group: group, size: size, modified: modified, content: digests[0],
                attributes: digests[1])
        }
    }

    /// What a tree that `found` describes has that this list has not, and the other way round, by path.
    func differences(from found: DigestList) -> [(path: String, problem: String)] {
        var problems: [(path: String, problem: String)] = []
        for (path, entry) in entries {
            if let other = found.entries[path] {
                if let problem = entry.difference(from: other) { problems.append((path, problem)) }
            } else {
                problems.append((path, "is missing"))
            }
        }
        for path in found.entries.keys where entries[path] == nil {
            problems.append((path, "does not belong there"))
        }
        return problems.sorted { $0.path < $1.path }
    }

    /// A name as it stands in a list: what is no plain character of ASCII is `%` and two hexadecimal digits.
    static func escaped(_ name: UnsafePointer<CChar>) -> String {
        var text = ""
        var next = name
        while next.pointee != 0 {
            let byte = UInt8(bitPattern: next.pointee)
            if byte > 32, byte < 127, byte != UInt8(ascii: "%") {
                text.unicodeScalars.append(Unicode.Scalar(byte))
            } else {
                text += byte < 16 ? "%0" : "%"
                text += String(byte, radix: 16)
            }
            next += 1
        }
        return text
    }
}

extension DigestList.Entry {
    /// What is other in `found` than it was, in words; nil when nothing is.
    func difference(from found: DigestList.Entry) -> String? {
        if self == found { return nil }
        if type != found.type { return "is \(found.typeName) and was \(typeName)" }
        if size != found.size {
            return type == UInt32(S_IFREG)
                ? "has \(found.size) bytes and had \(size)" : "is another \(typeName)"
        }
        if content != found.content { return "has other content than was saved" }
        if mode != found.mode {
            let modes = [found.mode, mode].map { String($0 & 0o7777, radix: 8) }
            return "has mode \(modes[0]) and had \(modes[1])"
        }
        if owner != found.owner || group != found.group {
            return "belongs to \(found.owner):\(found.group) and did to \(owner):\(group)"
        }
        if attributes != found.attributes { return "has other extended attributes than were saved" }
        return "was changed at another time than was saved"
    }

    private var typeName: String {
        switch mode_t(type) {
        case S_IFREG: "a file"
        case S_IFDIR: "a directory"
        case S_IFLNK: "a symbolic link"
        case S_IFCHR, S_IFBLK: "a device"
        case S_IFIFO: "a FIFO"
        case S_IFSOCK: "a socket"
        default: "of no known type"
        }
    }
}
