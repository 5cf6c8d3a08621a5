import Glibc
import LinuxSystem

/// A file of /proc, read as bytes: strings take too long while everything stands still.
struct ProcText {
    let bytes: [UInt8]

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// nil where it cannot be read.
    init?(_ path: String) {
        guard let bytes = try? Files.read(path) else { return nil }
        self.bytes = bytes
    }

    /// What follows `key` where that begins a line, up to the line's end; nil where no line does.
    func line(_ key: StaticString) -> ArraySlice<UInt8>? {
        let size = key.utf8CodeUnitCount
        var start = 0
        while start + size <= bytes.count {
            let isIt = bytes.withUnsafeBufferPointer {
                memcmp($0.baseAddress! + start, key.utf8Start, size) == 0
            }
            let end = bytes[start...].firstIndex(of: newline) ?? bytes.count
            if isIt { return bytes[start + size..<end] }
            start = end + 1
        }
        return nil
    }

    /// The numbers of a line, in the order they are there.
    func numbers(_ key: StaticString, radix: UInt64 = 10) -> [UInt64] {
        line(key).map { words(in: $0).compactMap { number($0, radix: radix) } } ?? []
    }

    /// The number that is the first word of it all.
    func first(radix: UInt64 = 10) -> UInt64? {
        words(in: bytes[...]).first.flatMap { number($0, radix: radix) }
    }
}

let newline = UInt8(ascii: "\n")

/// The words between spaces, tabs and line ends.
func words(in text: ArraySlice<UInt8>) -> [ArraySlice<UInt8>] {
    text.split { $0 == 32 || $0 == 9 || $0 == newline }
}

/// A number without a sign; nil where a byte is no digit.
func number(_ word: ArraySlice<UInt8>, radix: UInt64 = 10) -> UInt64? {
    var value: UInt64 = 0
    for byte in word {
        let digit: UInt8
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): digit = byte - UInt8(ascii: "a") + 10
        default: return nil
        }
        guard UInt64(digit) < radix else { return nil }
        value = value &* radix &+ UInt64(digit)
    }
    return word.isEmpty ? nil : value
}

/// What a symbolic link says; nil where it cannot be read, or is no text.
func linkTarget(_ path: String) -> String? {
    withUnsafeTemporaryAllocation(byteCount: Int(PATH_MAX), alignment: 1) { room in
        let count = readlink(path, room.baseAddress!.assumingMemoryBound(to: CChar.self), room.count)
        guard count >= 0, count < room.count else { return nil }
        return plainText(UnsafeRawBufferPointer(rebasing: room[..<count]))
    }
}

/// Bytes as text; nil where they are none, or such as stands for what is none: another name could look the same.
func plainText(_ bytes: some Sequence<UInt8>) -> String? {
    guard let text = String(validating: bytes, as: UTF8.self), !text.unicodeScalars.contains("\u{fffd}")
    else {
        return nil
    }
    return text
}

/// Whether two names are the same byte by byte: for Swift two strings are equal that only look the same.
func areSame(_ one: String?, _ other: String?) -> Bool {
    guard let one, let other else { return false }
    return one.utf8.elementsEqual(other.utf8)
}
