import CriuImages
import Glibc
import LinuxSystem
import Messages

/// One run of mutations over a copy of a dump.
struct Fuzzing {
    private let scratch: String
    /// The bytes of each file, as the dump wrote them.
    private let originals: [(name: String, bytes: [UInt8])]
    /// Those that have something to parse.
    private let parsed: [Int]
    private let pids: [Int32]
    private var mutator: Mutator
    private(set) var refused = 0
    private(set) var read = 0

    init(images: String, scratch: String, seed: UInt64) throws {
        self.scratch = scratch
        mutator = Mutator(seed: seed)
        var found: [(name: String, bytes: [UInt8])] = []
        for name in try Files.names(in: images).sorted() where name.hasSuffix(".img") || name == "stats-dump"
        {
            found.append((name, try Files.read("\(images)/\(name)")))
        }
        originals = found
        parsed = found.indices.filter { !found[$0].name.hasPrefix("pages-") }
        for file in found { try Files.write("\(scratch)/\(file.name)", file.bytes) }
        guard !parsed.isEmpty else { throw Failure(what: "\(images) holds no images") }
        // What nobody touched must be readable, or the mutations show nothing.
        pids = try ImageDirectory(scratch).processes().map(\.pid)
        try exercise(process: nil, edits: true)
        for file in found { try Files.write("\(scratch)/\(file.name)", file.bytes) }
    }

    mutating func run(_ count: Int) throws {
        for number in 0..<count {
            try Files.write("\(scratch)/progress", Array("mutation \(number)".utf8))
            // Now and then the length of a file of pages, of which nothing else is parsed.
            let index =
                mutator.below(400) == 0 ? mutator.below(originals.count) : parsed[mutator.below(parsed.count)]
            let other = originals[parsed[mutator.below(parsed.count)]].bytes
            let (name, bytes) = originals[index]
            let edits = mutator.below(16) == 0
            if let mutated = mutator.mutate(bytes, with: other) {
                try Files.write("\(scratch)/\(name)", mutated)
            } else {
                unlink("\(scratch)/\(name)")
            }
            do throws(CriuImageError) {
                try exercise(process: process(of: name), edits: edits)
                read += 1
            } catch {
                guard !error.file.isEmpty, !error.problem.isEmpty else {
                    throw Failure(what: "an error says nothing")
                }
                refused += 1
            }
            try Files.write("\(scratch)/\(name)", bytes)
            // What the edits of `exercise` have changed.
            for file in originals where edits && ["inventory.img", "files.img"].contains(file.name) {
                try Files.write("\(scratch)/\(file.name)", file.bytes)
            }
        }
    }

    /// The process that a file is about, by the number in its name; another one where there is none, for a part of the
    /// reading is enough to meet what was changed.
    private mutating func process(of name: String) -> Int32 {
        let number = name.split { !$0.isNumber }.last.flatMap { Int32($0) }
        return pids.first { $0 == number } ?? pids[mutator.below(pids.count)]
    }

    /// Reads all there is to read about one process or all, and changes what ckpt changes before it publishes a snapshot.
    private func exercise(process pid: Int32?, edits: Bool) throws(CriuImageError) {
        let images = try ImageDirectory(scratch)
        let processes = try images.processes()
        _ = try images.inventory()
        _ = try images.sharedWritableFiles()
        let scope = InspectionScope(pid: pid)
        guard let told = try images.inspect("fuzz", scope: scope, files: NoFiles()) else { return }
        precondition(pid != nil || told.processes.count == processes.count, "processes were lost")
        for process in processes where process.state != .zombie && (pid ?? process.pid) == process.pid {
            let memory = try ProcessMemory(of: process.pid, in: images, files: NoFiles())
            let again = try ProcessMemory(of: process.pid, in: images, files: NoFiles())
            for region in memory.map.regions.prefix(10) {
                guard region.size <= 1 << 20 else { continue }
                _ = try? memory.search(.bytes(Array("PATH=".utf8)), in: region, limit: 10)
                let differing = try memory.differingPages(from: again, in: region.range)
                precondition(differing == 0, "memory differs from itself")
            }
        }
        guard edits else { return }
        try images.giveTreeItsOwnNetwork()
        _ = try images.filesWithMore(of: processes)
        let queues = try images.dumpedThreads().signals.flatMap { one in
            [LaterSignals(process: one.process, thread: nil, signals: [[UInt8](repeating: 0, count: 128)])]
                + one.threads.map { LaterSignals(process: one.process, thread: $0.thread, signals: []) }
        }
        try images.add(queues)
        try images.keepTimersGoing(fired: [:])
        _ = try images.inspect("fuzz", scope: scope, files: NoFiles())
    }

    /// The fuzzer found something that is no crash.
    struct Failure: Error {
        let what: String
    }
}

/// The images alone: there is no root filesystem.
private struct NoFiles: MappedFiles {
    func read(_ path: String, offset: UInt64, count: Int) -> [UInt8]? { nil }
    func identity(of path: String) -> MappedFileIdentity? { nil }
}

/// Changes bytes as chance, a broken disk or somebody's ill will might.
struct Mutator {
    private var state: UInt64

    init(seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 | 1 }

    /// The next number of xorshift64*.
    private mutating func next() -> UInt64 {
        state ^= state >> 12
        state ^= state << 25
        state ^= state >> 27
        return state &* 0x2545_F491_4F6C_DD1D
    }

    mutating func below(_ limit: Int) -> Int { Int(next() >> 11) % max(limit, 1) }

    /// Numbers at the edges of what a length or a field can hold, as they lie in memory and as protobuf writes them.
    private static let edges: [[UInt8]] = [
        [0, 0, 0, 0], [255, 255, 255, 255], [255, 255, 255, 127], [0, 0, 0, 128], [1, 0, 0, 0],
        [0, 0, 0, 16],
        [UInt8](repeating: 255, count: 9) + [1], [UInt8](repeating: 128, count: 9) + [1], [0],
        [255, 255, 255, 255, 15],
        [255, 255, 255, 255, 255, 255, 255, 255, 127], [128, 128, 128, 128, 16],
    ]

    /// The bytes changed in one to four places; nil where the file is to be missing.
    mutating func mutate(_ original: [UInt8], with other: [UInt8]) -> [UInt8]? {
        if below(200) == 0 { return nil }
        var bytes = original
        for _ in 0...below(4) { change(&bytes, other) }
        return bytes
    }

    private mutating func change(_ bytes: inout [UInt8], _ other: [UInt8]) {
        // Large files are mostly of one kind: what is near their start differs most.
        let near = below(2) == 0 ? min(bytes.count, 400) : bytes.count
        let at = below(near + 1)
        let length = min(1 << below(8), bytes.count - at)
        switch below(10) {
        case 0, 1, 2:
            if at < bytes.count { bytes[at] ^= 1 << UInt8(below(8)) }
        case 3:
            if at < bytes.count { bytes[at] = UInt8(below(256)) }
        case 4, 5:
            let edge = Self.edges[below(Self.edges.count)]
            let end = min(bytes.count, at + (below(2) == 0 ? edge.count : 1))
            bytes.replaceSubrange(at..<end, with: edge)
        case 6: bytes.removeSubrange(at..<at + length)
        case 7: bytes.insert(contentsOf: bytes[at..<at + length], at: below(bytes.count + 1))
        case 8:
            let from = below(other.count + 1)
            let piece = other[from..<min(other.count, from + 1 << below(8))]
            bytes.replaceSubrange(at..<min(bytes.count, at + (below(2) == 0 ? piece.count : 0)), with: piece)
        default: bytes.removeSubrange(at...)
        }
    }
}
