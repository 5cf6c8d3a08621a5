import LocalArchive

/// Writes tar streams by hand (POSIX.1-1988 ustar), such as no honest program would make.
struct TarStream {
    private(set) var bytes: [UInt8] = []

    /// Adds an entry; `type` is ustar's typeflag.
    mutating func add(
        _ name: String, type: Character = "0", link: String = "", mode: Int = 0o644, content: String = ""
    ) {
        var header = [UInt8](repeating: 0, count: 512)
        func put(_ text: String, at offset: Int) {
            for (index, byte) in text.utf8.enumerated() { header[offset + index] = byte }
        }
        func octal(_ value: Int, digits: Int) -> String {
            let text = String(value, radix: 8)
            return String(repeating: "0", count: digits - text.count) + text
        }
        put(name, at: 0)
        put(octal(mode, digits: 7), at: 100)
        put(octal(0, digits: 7), at: 108)
        put(octal(0, digits: 7), at: 116)
        put(octal(content.utf8.count, digits: 11), at: 124)
        put(octal(1_000_000_000, digits: 11), at: 136)
        put(String(repeating: " ", count: 8), at: 148)
        put(String(type), at: 156)
        put(link, at: 157)
        put("ustar", at: 257)
        put("00", at: 263)
        put(octal(0, digits: 7), at: 329)
        put(octal(0, digits: 7), at: 337)
        put(octal(header.reduce(0) { $0 + Int($1) }, digits: 6) + "\0", at: 148)
        bytes += header + Array(content.utf8)
        bytes += [UInt8](repeating: 0, count: (512 - content.utf8.count % 512) % 512)
    }

    /// Unpacks the stream with its end marker, every entry under its own name.
    func unpack(into directory: String) throws -> [String] {
        try unpackArchive(from: pieces(of: bytes + [UInt8](repeating: 0, count: 1024)), into: directory)
    }

    /// Unpacks the stream with its end marker, handed over in pieces of an odd size.
    func unpack(_ place: (ArchiveTop) throws -> ArchivePlace) throws -> [String] {
        try unpackArchive(from: pieces(of: bytes + [UInt8](repeating: 0, count: 1024)), to: place)
    }
}

/// Hands `bytes` over in pieces of an odd size.
func pieces(of bytes: [UInt8]) -> () throws -> [UInt8] {
    var left = bytes[...]
    return {
        let piece = Array(left.prefix(777))
        left = left.dropFirst(777)
        return piece
    }
}
