import CTwin

/// What the processes of a sandbox are made of beside memory and descriptors, noted while they stood still.
public struct TaskNotes: Sendable {
    private let bytes: [UInt8]
    /// How many processes there are.
    public let count: Int

    /// Takes over what the note taker wrote (Sources/CTwin/include/cnote.h); nil where it is cut short.
    public init?(_ bytes: [UInt8], count: Int) {
        guard count > 0, bytes.count >= count * MemoryLayout<cnote>.stride else { return nil }
        (self.bytes, self.count) = (bytes, count)
    }

    /// The host's pids, PID 1's first.
    public var processes: [Int32] { (0..<count).map { self[$0].pid } }

    subscript(index: Int) -> cnote {
        bytes.withUnsafeBytes {
            $0.loadUnaligned(fromByteOffset: index * MemoryLayout<cnote>.stride, as: cnote.self)
        }
    }

    /// The seccomp filters of a process, oldest first: flags, and the instructions of 8 bytes each.
    func filters(of note: cnote) -> [(flags: UInt32, code: ArraySlice<UInt8>)] {
        var filters: [(flags: UInt32, code: ArraySlice<UInt8>)] = []
        var position = Int(note.filters)
        for _ in 0..<note.filter_count {
            guard position + 8 <= bytes.count else { return [] }
            let (flags, length) = bytes.withUnsafeBytes {
                (
                    $0.loadUnaligned(fromByteOffset: position, as: UInt32.self),
                    Int($0.loadUnaligned(fromByteOffset: position + 4, as: UInt32.self))
                )
            }
            guard position + 8 + length * 8 <= bytes.count else { return [] }
            filters.append((flags, bytes[(position + 8)..<(position + 8 + length * 8)]))
            position += 8 + length * 8
        }
        return filters
    }
}
