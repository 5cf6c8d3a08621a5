import Glibc
import LinuxSystem

/// The ids of snapshots and layers, and the names of tags.
enum Identifier {
    /// Digits in an id: 48 random bits, so even two stores of 10,000 snapshots each hardly share one.
    static let length = 12
    /// The shortest prefix that is looked up; a single digit would fit by accident.
    static let shortestPrefix = 2
    static let longestTag = 128

    /// A random id.
    static func random() -> String {
        var generator = SystemRandomNumberGenerator()
        let digits = String(generator.next() & 0xffff_ffff_ffff, radix: 16)
        return String(repeating: "0", count: length - digits.utf8.count) + digits
    }

    /// Whether the text has the form of an id.
    static func isValid(_ text: String) -> Bool {
        text.utf8.count == length && text.utf8.allSatisfy(isHexadecimal)
    }

    /// Whether the text can be a shortened id.
    static func isPrefix(_ text: String) -> Bool {
        (shortestPrefix..<length).contains(text.utf8.count) && text.utf8.allSatisfy(isHexadecimal)
    }

    /// Throws `badTag` unless the text is `[A-Za-z0-9][A-Za-z0-9_.-]{0,127}` and does not look like an id.
    static func checkTag(_ tag: String) throws(SnapshotTreeError) {
        guard let first = tag.utf8.first else { throw .badTag(tag, reason: "it is empty") }
        guard tag.utf8.count <= longestTag else {
            throw .badTag(tag, reason: "it is longer than \(longestTag) characters")
        }
        guard isAlphanumeric(first) else {
            throw .badTag(tag, reason: "it has to start with a letter or a digit")
        }
        guard tag.utf8.allSatisfy({ isAlphanumeric($0) || "_.-".utf8.contains($0) }) else {
            throw .badTag(tag, reason: "only letters, digits, _ . and - may be in it")
        }
        // An id wins over a tag, so such a tag could stop working the day a snapshot gets that id.
        guard !isValid(tag) else { throw .badTag(tag, reason: "it looks like a snapshot's id") }
    }

    private static func isHexadecimal(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
            || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte)
    }

    private static func isAlphanumeric(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
            || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
    }
}
