/// A number of bytes: a whole number in JSON, where a string like `512m` is accepted too.
public struct ByteSize: SpelledValue {
    public static let forms =
        "a size: a number with k, m, g or t after it or none, as 512m, 1.5g or 64kb (powers of 1024)"

    /// Above 0; `Int64.max` at most.
    public let bytes: Int64

    public init(bytes: Int64) { self.bytes = bytes }

    public init(_ text: String) throws(ErrorMessage) {
        let lower = text.lowercased()
        let digits = lower.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
        var unit = lower.dropFirst(digits.count)
        for ending in ["ib", "b"] where unit.hasSuffix(ending) {
            unit = unit.dropLast(ending.count)
            break
        }
        let shifts: [Substring: Int] = ["": 0, "k": 10, "m": 20, "g": 30, "t": 40]
        guard let shift = shifts[unit], !(lower.hasSuffix("ib") && shift == 0) else { throw Self.bad(text) }
        guard let bytes = Self.scaled(digits, shift: shift) else { throw Self.bad(text) }
        guard bytes > 0 else { throw Self.bad(text, "it is not above 0") }
        self.bytes = bytes
    }

    /// Exact for whole numbers; nil for no number and for what does not fit.
    private static func scaled(_ digits: Substring, shift: Int) -> Int64? {
        if let whole = Int64(digits) {
            let (value, overflow) = whole.multipliedReportingOverflow(by: 1 << shift)
            return overflow ? nil : value
        }
        guard digits.contains("."), digits.first != ".", digits.last != ".", let number = Double(digits)
        else {
            return nil
        }
        let value = number * Double(Int64(1) << shift)
        return value < 9e18 ? Int64(value) : nil
    }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        guard let number = try? container.decode(Int64.self) else {
            try self.init(spelledIn: container)
            return
        }
        guard number > 0 else {
            throw DecodingError.dataCorruptedError(
                in: container, debugDescription: "\(number) is no size above 0")
        }
        self.init(bytes: number)
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(bytes)
    }

    /// The shortest exact spelling: `512m`.
    public var description: String {
        let units: [(letter: String, shift: Int64)] = [("t", 40), ("g", 30), ("m", 20), ("k", 10)]
        for (letter, shift) in units where bytes & (1 << shift - 1) == 0 && bytes > 0 {
            return "\(bytes >> shift)\(letter)"
        }
        return "\(bytes)"
    }
}
