/// Bytes as hexdump -C shows them: address, hexadecimal, characters; sixteen a line.
public func hexDump(_ bytes: [UInt8], at address: UInt64) -> [String] {
    stride(from: 0, to: bytes.count, by: 16).map { start in
        let row = bytes[start..<min(start + 16, bytes.count)]
        let digits = row.enumerated().map { index, byte in
            (index == 8 ? " " : "") + (byte < 16 ? "0" : "") + String(byte, radix: 16)
        }
        let place = String(address + UInt64(start), radix: 16)
        let characters = row.map { (0x20...0x7e).contains($0) ? Character(Unicode.Scalar($0)) : "." }
        return String(repeating: "0", count: max(0, 12 - place.count)) + place + "  "
            + padded(digits.joined(separator: " "), to: 48) + "  |" + String(characters) + "|"
    }
}
