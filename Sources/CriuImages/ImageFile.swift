/// An image file taken apart: its kind's magic numbers, then entries, each after its length in 32 bits.
struct ImageFile {
    /// The name in the image directory, for messages.
    let name: String
    let kind: ImageKind
    /// The packed protobuf messages, in order.
    var entries: [[UInt8]]

    /// The most bytes an image file of these kinds may have; a longer one is refused unread.
    static let largest = 256 << 20

    /// A file of these entries.
    init(_ name: String, _ kind: ImageKind, _ entries: [[UInt8]] = []) {
        (self.name, self.kind, self.entries) = (name, kind, entries)
    }

    /// Takes `bytes` apart; every length is checked against what is left.
    init(_ name: String, _ kind: ImageKind, parsing bytes: [UInt8]) throws(CriuImageError) {
        self.name = name
        self.kind = kind
        entries = []
        var words = ImageReader(bytes)
        for expected in kind.magic {
            guard let found = words.word() else {
                throw CriuImageError(name, "is shorter than its magic number")
            }
            guard found == expected else {
                throw CriuImageError(
                    name, "has the magic number 0x\(hex(found)) where 0x\(hex(expected)) belongs")
            }
        }
        while !words.isAtEnd {
            guard let length = words.word() else {
                throw CriuImageError(name, entry: entries.count, "ends inside a length")
            }
            guard let entry = words.take(Int(length)) else {
                throw CriuImageError(name, entry: entries.count, "ends inside an entry of \(length) bytes")
            }
            entries.append(entry)
        }
    }

    /// The file's bytes, the inverse of parsing them.
    var bytes: [UInt8] {
        var out: [UInt8] = []
        func append(_ word: UInt32) {
            withUnsafeBytes(of: word.littleEndian) { out += $0 }
        }
        kind.magic.forEach(append)
        for entry in entries {
            append(UInt32(entry.count))
            out += entry
        }
        return out
    }

    /// Takes the first entry apart from what follows it, which is not made of entries: the file's contents, in some
    /// kinds. `bytes` may end anywhere after the entry.
    static func head(
        _ name: String, _ kind: ImageKind, parsing bytes: [UInt8]
    ) throws(CriuImageError) -> (file: ImageFile, payload: Int) {
        let start = kind.magic.count * 4
        guard bytes.count >= start + 4 else { throw CriuImageError(name, "is shorter than its magic number") }
        let length = bytes[start..<start + 4].reversed().reduce(0) { $0 << 8 | Int($1) }
        guard length <= bytes.count - start - 4 else {
            throw CriuImageError(name, entry: 0, "ends inside an entry of \(length) bytes")
        }
        let payload = start + 4 + length
        return (try ImageFile(name, kind, parsing: Array(bytes[..<payload])), payload)
    }

    /// Walks through a file whose entries are each followed by bytes that are no entry.
    ///
    /// `payload` is given one entry after the other, each as a file of its own, and tells how many bytes follow it.
    static func walk(
        _ name: String, _ kind: ImageKind, _ bytes: [UInt8],
        payload: (ImageFile) throws(CriuImageError) -> Int
    ) throws(CriuImageError) {
        var (words, count) = (ImageReader(bytes), 0)
        _ = try ImageFile(name, kind, parsing: words.take(kind.magic.count * 4) ?? bytes)
        while !words.isAtEnd {
            guard let length = words.word() else {
                throw CriuImageError(name, entry: count, "ends inside a length")
            }
            guard let entry = words.take(Int(length)) else {
                throw CriuImageError(name, entry: count, "ends inside an entry of \(length) bytes")
            }
            var file = ImageFile(name, kind)
            file.entries = [entry]
            let following: Int
            do throws(CriuImageError) { following = try payload(file) } catch {
                throw CriuImageError(name, entry: count, error.problem)
            }
            guard words.skip(following) else {
                throw CriuImageError(name, entry: count, "ends inside the \(following) bytes after it")
            }
            count += 1
        }
    }

    /// The one entry of a file that has exactly one.
    func onlyEntry() throws(CriuImageError) -> [UInt8] {
        guard entries.count == 1 else {
            throw CriuImageError(name, "has \(entries.count) entries where 1 belongs")
        }
        return entries[0]
    }
}

/// A position in bytes that never moves past their end.
struct ImageReader {
    let bytes: [UInt8]
    var position = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    var isAtEnd: Bool { position == bytes.count }

    mutating func take(_ count: Int) -> [UInt8]? {
        guard count <= bytes.count - position else { return nil }
        defer { position += count }
        return Array(bytes[position..<position + count])
    }

    /// Leaves bytes out; false when there are fewer.
    mutating func skip(_ count: Int) -> Bool {
        guard count >= 0, count <= bytes.count - position else { return false }
        position += count
        return true
    }

    mutating func word() -> UInt32? {
        take(4).map { $0.reversed().reduce(0) { $0 << 8 | UInt32($1) } }
    }
}

private func hex(_ word: UInt32) -> String { String(word, radix: 16) }
