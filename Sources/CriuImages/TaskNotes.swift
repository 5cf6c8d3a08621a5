import CTwin
import Glibc

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

    /// The host's pids, with those in the sandbox.
    public var ids: [(host: Int32, inner: Int32)] { (0..<count).map { (self[$0].pid, self[$0].inner) } }

    subscript(index: Int) -> cnote {
        bytes.withUnsafeBytes {
            $0.loadUnaligned(fromByteOffset: index * MemoryLayout<cnote>.stride, as: cnote.self)
        }
    }

    /// Whether they are of twins, whose originals have gone on since.
    var areOfTwins: Bool { self[0].file_count > 0 }

    /// What a twin shares with whoever has gone on, as it was; nil for a process that stands still itself.
    func instant(of note: cnote) -> TwinInstant? {
        guard note.file_count > 0 else { return nil }
        var instant = TwinInstant(directoryMode: note.directory_mode, rootMode: note.root_mode)
        var position = Int(note.files)
        let head = MemoryLayout<cnote_file>.stride
        for _ in 0..<note.file_count {
            guard position + head <= bytes.count else { return nil }
            let file = bytes.withUnsafeBytes {
                $0.loadUnaligned(fromByteOffset: position, as: cnote_file.self)
            }
            let end = position + head + Int(file.path_size)
            guard end <= bytes.count, let path = plainText(bytes[(position + head)..<end]) else { return nil }
            if file.number < 0 { instant.directory = path } else { instant.files[file.number] = (file, path) }
            position = (end + 7) / 8 * 8
        }
        return instant
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

/// What of a process and its twin is one thing, as it was when the twin was made.
struct TwinInstant {
    /// Open files by descriptor, with their paths where they have one.
    var files: [Int32: (file: cnote_file, path: String)] = [:]
    var directory = ""
    let directoryMode: UInt32
    let rootMode: UInt32

    init(directoryMode: UInt32, rootMode: UInt32) {
        (self.directoryMode, self.rootMode) = (directoryMode, rootMode)
    }
}
