import CriuImages
public import Messages
import SnapshotTree

extension CheckpointManager {
    /// The mappings of a process of a snapshot.
    public func memory(_ reference: String, pid: Int) throws(ErrorMessage) -> MemoryListing {
        try readingMemory(reference, pid: pid) { (record, memory) throws(CriuImageError) in
            MemoryListing(snapshot: record.id, pid: pid, regions: try memory.inspectedRegions())
        }
    }

    /// A piece of a process's memory, cut where mapped memory ends.
    public func readMemory(
        _ reference: String, _ request: MemoryReadRequest
    ) throws(ErrorMessage) -> MemoryPiece {
        guard request.length > 0 else {
            throw ErrorMessage(.badValue, "\(request.length) bytes cannot be read", hint: "use 1 or more")
        }
        let answer = try readingMemory(reference, pid: request.pid) {
            (record, memory) throws(CriuImageError) -> Result<MemoryPiece, ErrorMessage> in
            let wanted = min(request.length, MemoryReadRequest.most)
            let length = memory.map.mapped(from: request.address, atMost: UInt64(wanted))
            guard length > 0 else { return .failure(.notMapped(request, in: record.id, memory)) }
            let bytes = try memory.read(request.address, count: Int(length))
            return .success(
                MemoryPiece(address: hexadecimalText(request.address), base64: encodeBase64(bytes)))
        }
        return try answer.get()
    }

    /// Where something is in a process's memory.
    public func searchMemory(
        _ reference: String, _ request: MemorySearchRequest
    ) throws(ErrorMessage) -> MemoryMatches {
        guard (1...MemorySearchRequest.most).contains(request.limit) else {
            throw ErrorMessage(
                .badValue, "\(request.limit) matches cannot be asked for",
                hint: "use 1 to \(MemorySearchRequest.most)")
        }
        let pattern = try MemoryPattern(request.pattern)
        return try readingMemory(reference, pid: request.pid) { (_, memory) throws(CriuImageError) in
            var found = MemoryMatches(matches: [], truncated: false, unread: [])
            for region in memory.map.regions {
                let left = request.limit + 1 - found.matches.count
                do throws(CriuImageError) {
                    for match in try memory.search(pattern, in: region, limit: left) {
                        found.matches.append(try describe(match, in: region, of: memory))
                    }
                } catch {
                    // A file on a volume is not in the snapshot: the rest can be searched all the same.
                    guard region.file != nil, let name = memory.name(of: region) else { throw error }
                    if !found.unread.contains(name) { found.unread.append(name) }
                }
                if found.matches.count > request.limit { break }
            }
            found.truncated = found.matches.count > request.limit
            found.matches = Array(found.matches.prefix(request.limit))
            return found
        }
    }

    private func readingMemory<Result>(
        _ reference: String, pid: Int,
        _ body: (SnapshotTree.Record, ProcessMemory) throws(CriuImageError) -> Result
    ) throws(ErrorMessage) -> Result {
        try reading(reference) { (record, images, files) throws(CriuImageError) -> Result? in
            let process = try images.processes().first { Int($0.pid) == pid && $0.state != .zombie }
            guard let process else { return nil }
            return try body(record, ProcessMemory(of: process.pid, in: images, files: files))
        } orElse: { (record) throws(ErrorMessage) in
            throw .noProcess(pid, in: record.id)
        }
    }

    private func describe(
        _ match: ProcessMemory.Match, in region: MemoryRegion, of memory: ProcessMemory
    ) throws(CriuImageError) -> MemoryMatch {
        // Sixteen bytes before it, in whole lines of a hex dump.
        let start = max(region.start, (match.address & ~15) - min(match.address & ~15, 16))
        let end = min(region.end, match.address + UInt64(match.length) + 32)
        let bytes = try memory.read(start, count: Int(min(end - start, 512)))
        return MemoryMatch(
            address: hexadecimalText(match.address), length: match.length, name: memory.name(of: region),
            contextAddress: hexadecimalText(start), contextBase64: encodeBase64(bytes))
    }
}

extension MemoryPattern {
    fileprivate init(_ pattern: MemorySearchRequest.Pattern) throws(ErrorMessage) {
        switch pattern {
        case .bytes(let bytes):
            guard (1...ByteExpression.longestMatch).contains(bytes.count) else {
                throw ErrorMessage(
                    .badValue, "\(bytes.count) bytes cannot be searched for",
                    hint: "use 1 to \(ByteExpression.longestMatch)")
            }
            self = .bytes(bytes)
        case .expression(let text):
            do throws(InvalidExpression) { self = .expression(try ByteExpression(text)) } catch {
                throw ErrorMessage(
                    .badValue, "\(text) is no regular expression",
                    hint: "regex(7) tells how they are written",
                    cause: error.reason)
            }
        }
    }
}

extension ErrorMessage {
    /// Nothing is mapped at an address: names what is next to it.
    fileprivate static func notMapped(
        _ request: MemoryReadRequest, in snapshot: String, _ memory: ProcessMemory
    ) -> ErrorMessage {
        func shown(_ region: MemoryRegion) -> String {
            let range = "\(hexadecimalText(region.start))-\(hexadecimalText(region.end))"
            return memory.name(of: region).map { "\(range) (\($0))" } ?? range
        }
        let (below, above) = memory.map.neighbours(of: request.address)
        let near = [below.map { "\(shown($0)) below" }, above.map { "\(shown($0)) above" }]
            .compactMap { $0 }.joined(separator: " and ")
        return ErrorMessage(
            .notFound,
            "process \(request.pid) of snapshot \(snapshot) has nothing mapped at "
                + hexadecimalText(request.address),
            hint: (near.isEmpty ? "" : "next to it is \(near); ")
                + "ckpt mem \(snapshot) --pid \(request.pid) lists all mappings")
    }
}

/// An address as messages have it.
func hexadecimalText(_ number: UInt64) -> String { "0x" + String(number, radix: 16) }
