import Glibc

/// Something that can be found in bytes.
public enum MemoryPattern: ~Copyable {
    /// These bytes, at least one.
    case bytes([UInt8])
    case expression(ByteExpression)

    /// The most bytes a match can have.
    fileprivate var longest: Int {
        switch self {
        case .bytes(let bytes): bytes.count
        case .expression: ByteExpression.longestMatch
        }
    }

    /// The first match at or after `start`.
    fileprivate borrowing func first(in bytes: [UInt8], from start: Int) -> Range<Int>? {
        switch self {
        case .bytes(let wanted): Self.find(wanted, in: bytes, from: start)
        case .expression(let expression): expression.first(in: bytes, from: start)
        }
    }

    private static func find(_ wanted: [UInt8], in bytes: [UInt8], from start: Int) -> Range<Int>? {
        bytes.withUnsafeBytes { buffer in
            guard start < buffer.count, !wanted.isEmpty,
                let found = memmem(buffer.baseAddress! + start, buffer.count - start, wanted, wanted.count)
            else { return nil }
            let position = UnsafeRawPointer(found) - buffer.baseAddress!
            return position..<position + wanted.count
        }
    }
}

/// A POSIX extended regular expression over bytes (regex(7)), compiled.
public struct ByteExpression: ~Copyable {
    /// Longer matches may be missed where memory is read in pieces.
    public static let longestMatch = 4096

    private var compiled: regex_t

    /// Compiles `text`; throws what regcomp(3) says about it.
    public init(_ text: String) throws(InvalidExpression) {
        compiled = regex_t()
        let status = regcomp(&compiled, text, REG_EXTENDED)
        guard status == 0 else {
            var message = [CChar](repeating: 0, count: 256)
            regerror(status, &compiled, &message, message.count)
            let text = message.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
            throw InvalidExpression(reason: String(decoding: text, as: UTF8.self))
        }
    }

    deinit {
        withUnsafePointer(to: compiled) { regfree(UnsafeMutablePointer(mutating: $0)) }
    }

    /// The first match that is not empty at or after `start`; zero bytes are bytes like others (REG_STARTEND).
    fileprivate borrowing func first(in bytes: [UInt8], from start: Int) -> Range<Int>? {
        var start = start
        return withUnsafePointer(to: compiled) { compiled in
            bytes.withUnsafeBytes { buffer in
                while start < buffer.count {
                    var match = regmatch_t(rm_so: regoff_t(start), rm_eo: regoff_t(buffer.count))
                    let text = buffer.baseAddress!.assumingMemoryBound(to: CChar.self)
                    guard regexec(compiled, text, 1, &match, REG_STARTEND) == 0 else { return nil }
                    if match.rm_eo > match.rm_so { return Int(match.rm_so)..<Int(match.rm_eo) }
                    start = Int(match.rm_eo) + 1
                }
                return nil
            }
        }
    }
}

/// Why a regular expression is none.
public struct InvalidExpression: Error, Sendable {
    /// In the words of regcomp(3).
    public let reason: String
}

extension ProcessMemory {
    /// A place where something was found.
    public struct Match: Equatable, Sendable {
        public let address: UInt64
        public let length: Int
    }

    /// Finds at most `limit` places in a mapping; those that overlap one before them are left out.
    ///
    /// Runs of zeros are not read but at their ends. Searching is bounded by reading: about 1 GB/s for bytes.
    public func search(
        _ pattern: borrowing MemoryPattern, in region: MemoryRegion, limit: Int
    ) throws(CriuImageError) -> [Match] {
        var matches: [Match] = []
        for span in try searchableSpans(of: region, overlap: UInt64(pattern.longest)) {
            var position = span.lowerBound
            while position < span.upperBound, matches.count < limit {
                let next = min(position + Self.searchPiece, span.upperBound)
                let end = min(next + UInt64(pattern.longest - 1), span.upperBound)
                let bytes = try read(position, count: Int(end - position))
                var start = matches.last.map { max(0, Int($0.address) + $0.length - Int(position)) } ?? 0
                while matches.count < limit, let found = pattern.first(in: bytes, from: start),
                    position + UInt64(found.lowerBound) < next
                {
                    matches.append(Match(address: position + UInt64(found.lowerBound), length: found.count))
                    start = found.upperBound
                }
                position = next
            }
        }
        return matches
    }

    private static let searchPiece: UInt64 = 1 << 18
    /// Shorter runs of zeros are read with what is around them.
    private static let shortestGap: UInt64 = 1 << 16

    /// The parts of a mapping that are not long runs of zeros, with `overlap` bytes around them.
    private func searchableSpans(
        of region: MemoryRegion, overlap: UInt64
    ) throws(CriuImageError) -> [Range<UInt64>] {
        var spans: [Range<UInt64>] = []
        for run in try runs(of: region) {
            let size = run.range.upperBound - run.range.lowerBound
            if run.source == .notSaved || run.source == .zero && size >= Self.shortestGap + 2 * overlap {
                continue
            }
            let start = max(region.start, run.range.lowerBound - min(overlap, run.range.lowerBound))
            let end = min(region.end, run.range.upperBound + overlap)
            if let last = spans.last, last.upperBound >= start {
                spans[spans.count - 1] = last.lowerBound..<max(last.upperBound, end)
            } else {
                spans.append(start..<end)
            }
        }
        return spans
    }
}
