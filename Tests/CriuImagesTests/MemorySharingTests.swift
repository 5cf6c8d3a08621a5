import Foundation
import Testing

@testable import CriuImages

private let page = 4096

/// A row of snapshots of one process, made by hand as CRIU dumps it, and shared as a save does.
private final class Generations {
    let root: String
    private(set) var count = 0
    /// How much of a process is copied before it is compared.
    var bounds = TakenMemory.Bounds.usual

    init() throws {
        var template = Array("/tmp/ckpt-pages.XXXXXX".utf8CString)
        root = try #require(mkdtemp(&template).map { String(cString: $0) })
    }

    deinit { try? FileManager.default.removeItem(atPath: root) }

    func path(_ generation: Int) -> String { "\(root)/\(generation)" }

    /// The anonymous area 0x10000… and a private file mapping at 0x9000000.
    static let file: UInt64 = 0x900_0000
    private func memoryMap(segment: UInt64) -> [UInt8] {
        func area(_ start: UInt64, _ pages: UInt64, status: UInt64, object: UInt64) -> [UInt8] {
            number(1, start) + number(2, start + pages * 4096) + number(3, 0) + number(4, object)
                + number(5, 3) + number(6, status & 1 << 8 != 0 ? 0x21 : 0x22) + number(7, 1 | status)
                + number(8, 1)
        }
        let areas = [
            area(0x10000, 6000, status: 1 << 9, object: 0),
            area(0x800_0000, 16, status: 1 << 8, object: segment),
            area(Self.file, 16, status: 1 << 6, object: 7),
        ]
        return image(
            [common, 0x5749_2820],
            [(1...12).flatMap { number($0, 0) } + areas.flatMap { bytes(14, $0) }])
    }

    /// Writes a pagemap and its pages as CRIU does; those that are `left` it only tells of.
    private func dump(
        _ pages: [UInt64: [UInt8]], _ name: String, _ id: UInt64, in directory: String,
        left: (UInt64) -> Bool = { _ in false }
    ) throws {
        var runs: [(start: UInt64, count: UInt64, flags: UInt64)] = []
        var contents: [UInt8] = []
        for (address, bytes) in pages.sorted(by: { $0.key < $1.key }) {
            let flags: UInt64 = left(address) ? 1 : 4
            if let last = runs.last, last.start + last.count * 4096 == address, last.flags == flags {
                runs[runs.count - 1].count += 1
            } else {
                runs.append((address, 1, flags))
            }
            if flags == 4 { contents += bytes }
        }
        let entries = runs.map {
            number(1, $0.start) + number(2, $0.count) + number(4, $0.flags) + number(5, $0.count)
        }
        try write(image([common, 0x5608_4025], [number(1, id)] + entries), "\(directory)/\(name)")
        try write(contents, "\(directory)/pages-\(id).img")
    }

    private func write(_ bytes: [UInt8], _ path: String) throws {
        try Data(bytes).write(to: URL(fileURLWithPath: path))
    }

    /// Makes the next snapshot from what memory holds; pages that are `left` are taken from this very process.
    func save(
        _ memory: [UInt64: [UInt8]], segment: (UInt64, [UInt64: [UInt8]]) = (5, [:]), parent: Int?,
        left: ((UInt64) -> Bool)? = nil
    ) throws -> (number: Int, shares: MemoryShares) {
        defer { count += 1 }
        let directory = path(count)
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
        try write(memoryMap(segment: segment.0), "\(directory)/mm-1.img")
        try write(
            image([common, 0x5630_3138], []), "\(directory)/files.img")
        try dump(memory, "pagemap-1.img", 1, in: directory, left: left ?? { _ in false })
        try dump(segment.1, "pagemap-shmem-\(segment.0).img", 2, in: directory)
        let images = try ImageDirectory(directory)
        var taken: TakenMemory?
        if left != nil, let parent {
            taken = try images.takeMemory(of: [1: getpid()], sharing: ParentMemory(in: path(parent)), bounds)
        }
        return (count, try images.shareMemory(with: parent.map { path($0) }, taken: taken))
    }

    func chain(_ generation: Int, _ name: String = "pagemap-1.img") throws -> PageChain {
        try #require(try PageChain(name, in: ImageDirectory(path(generation))))
    }

    /// What the images of a snapshot hold, by address.
    func pages(_ generation: Int, _ name: String = "pagemap-1.img") throws -> [UInt64: [UInt8]] {
        let chain = try chain(generation, name)
        var pages: [UInt64: [UInt8]] = [:]
        let slots = chain.slots()
        for (run, first) in zip(chain.levels[0].map.runs, PageComparison.firsts(chain.levels[0].map)) {
            for offset in 0..<run.count {
                let slot = slots[first + offset]
                try #require(!slot.isNone)
                let bytes = UnsafeRawBufferPointer(
                    start: chain.levels[slot.level].pages.page(slot.page), count: page)
                pages[run.start + UInt64(offset * page)] = Array(bytes)
            }
        }
        return pages
    }
}

private func filled(_ value: UInt8) -> [UInt8] { [UInt8](repeating: value, count: page) }
private func at(_ number: UInt64) -> UInt64 { 0x10000 + number * 4096 }

@Suite struct MemorySharingTests {
    @Test func equalPagesAreInheritedAndZerosAreDropped() throws {
        let row = try Generations()
        var memory = [at(0): filled(1), at(1): filled(0), at(2): filled(2), at(7): filled(3)]
        memory[Generations.file] = filled(0)
        // So many that to store them anew would cost more than the parent's files to keep.
        for number in 100..<140 as Range<UInt64> { memory[at(number)] = filled(5) }
        let first = try row.save(memory, parent: nil).shares
        #expect(first.pages == 45 && first.zero == 1 && first.inherited == 0 && first.stored == 44)
        memory[at(1)] = nil
        #expect(try row.pages(0) == memory, "a zero page of a file mapping covers the file, and stays")

        memory[at(2)] = filled(9)
        memory[at(8)] = filled(4)
        let second = try row.save(memory, parent: 0).shares
        #expect(second.problems.isEmpty)
        #expect(second.pages == 45 && second.zero == 0 && second.inherited == 43 && second.stored == 2)
        #expect(try row.pages(1) == memory)
        #expect(second.links.keys.allSatisfy { $0.hasPrefix("parent/") } && second.links.count == 2)
        // What is left of the parent's files are the links.
        try FileManager.default.removeItem(atPath: row.path(0))
        #expect(try row.pages(1) == memory)
        for (name, digest) in second.digests {
            let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: "\(row.path(1))/\(name)")))
            #expect("\(digest)".count == 32 && bytes.count % page == 0)
        }
    }

    @Test func segmentIsFoundByWhereItIsMapped() throws {
        let row = try Generations()
        var content: [UInt64: [UInt8]] = [0x3000: filled(0)]
        for number in 10..<50 as Range<UInt64> { content[number << 12] = filled(UInt8(number)) }
        _ = try row.save([at(0): filled(1)], segment: (5, content), parent: nil)
        let second = try row.save([at(0): filled(1)], segment: (77, content), parent: 0).shares
        #expect(second.problems.isEmpty && second.stored == 1 && second.inherited == 40)
        #expect(try row.pages(1, "pagemap-shmem-77.img") == content.filter { $0.key != 0x3000 })
    }

    /// Several threads compare what is large.
    @Test(arguments: [1, 2, 7]) func piecesFindWhatOneFinds(least: Int) throws {
        let row = try Generations()
        var memory: [UInt64: [UInt8]] = [:]
        for number in 0..<200 as Range<UInt64> where number % 9 != 4 {
            memory[at(number)] = filled(UInt8(number % 5))
        }
        _ = try row.save(memory, parent: nil)
        for number in 0..<200 as Range<UInt64> where number % 7 == 3 { memory[at(number)] = filled(77) }
        _ = try row.save(memory, parent: 0)
        let (older, newer) = (try row.chain(0).levels[0], try row.chain(1))
        func compare(_ least: Int) throws -> PageComparison {
            try PageComparison(
                DumpedPages(older.map, older.pages), zeroFilled: [at(0)..<at(150)],
                parent: InheritedPages(newer), least: least)
        }
        let (whole, parts) = (try compare(1 << 30), try compare(least))
        #expect(parts.fates == whole.fates && parts.zeros == whole.zeros && parts.shared == whole.shared)
        #expect(whole.shared.reduce(0, +) > 50 && whole.keptCount > 10)
    }

    @Test func damagedParentLeavesTheDumpWhole() throws {
        let row = try Generations()
        let memory = [at(0): filled(1), at(3): filled(2)]
        _ = try row.save(memory, parent: nil)
        try Data("nothing".utf8).write(to: URL(fileURLWithPath: row.path(0) + "/pagemap-1.img"))
        let shares = try row.save(memory, parent: 0).shares
        #expect(shares.problems.count == 1 && shares.inherited == 0 && shares.stored == 2)
        #expect(try row.pages(1) == memory)
        let orphan = try row.save(memory, parent: 99).shares
        #expect(orphan.problems.count == 1 && orphan.stored == 2)
        #expect(try row.pages(2) == memory)
    }

    /// Saves, rollbacks and deletions in any order: whatever is left holds what it held.
    @Test(arguments: 0..<4) func everyHistoryKeepsEverySnapshot(seed: Int) throws {
        var random = Seeded(state: UInt64(seed) &* 0x9E37_79B9_7F4A_7C15 | 1)
        let row = try Generations()
        // Small processes and large ones have other limits.
        let pages = UInt64(seed < 3 ? 300 : 5000)
        var states: [Int: [UInt64: [UInt8]]] = [:]
        var memory: [UInt64: [UInt8]] = [:]
        for number in 0..<pages { memory[at(number)] = filled(UInt8.random(in: 1...255, using: &random)) }
        var last: Int?
        for _ in 0..<(seed < 3 ? 25 : 10) {
            for _ in 0..<Int.random(in: 0...Int(pages / 20), using: &random) {
                let address = at(UInt64.random(in: 0..<pages, using: &random))
                memory[address] =
                    Int.random(in: 0..<10, using: &random) == 0
                    ? nil : filled(UInt8.random(in: 0...255, using: &random))
            }
            let saved = try row.save(memory, parent: last)
            #expect(saved.shares.problems.isEmpty)
            memory = memory.filter { $0.value != filled(0) }
            states[saved.number] = memory
            last = saved.number
            let limits = ChainPolicy.limits
            #expect(try row.chain(saved.number).levels.count <= (seed < 3 ? limits.small : limits.large))
            if Int.random(in: 0..<3, using: &random) == 0,
                let victim = states.keys.sorted().randomElement(using: &random),
                victim != last
            {
                try FileManager.default.removeItem(atPath: row.path(victim))
                states[victim] = nil
            }
            if Int.random(in: 0..<4, using: &random) == 0,
                let other = states.keys.sorted().randomElement(using: &random)
            {
                (last, memory) = (other, states[other]!)
            }
        }
        for (number, state) in states {
            // A large dump keeps its zeros where they are few.
            let pages = try row.pages(number).filter { $0.value != filled(0) }
            #expect(pages == state, "snapshot \(number)")
        }
    }

    /// What a dump leaves in the process is stored as what it writes: here this process has it, at those addresses.
    @Test(.serialized, arguments: [TakenMemory.Bounds.usual, .init(process: 1 << 30, total: 1 << 30)])
    func pagesLeftInAProcessAreTaken(bounds: TakenMemory.Bounds) throws {
        let (start, size) = (UInt(at(0)), 6000 * page)
        let mapped = mmap(
            UnsafeMutableRawPointer(bitPattern: start), size, PROT_READ | PROT_WRITE,
            MAP_PRIVATE | MAP_ANONYMOUS | 0x100000, -1, 0)
        let room = try #require(
            mapped != MAP_FAILED && UInt(bitPattern: mapped) == start ? mapped : nil)
        defer { munmap(room, size) }
        for seed in 1...3 as ClosedRange<UInt64> {
            var random = Seeded(state: seed &* 0x9E37_79B9_7F4A_7C15)
            let row = try Generations()
            row.bounds = bounds
            var (memory, states) = ([UInt64: [UInt8]](), [[UInt64: [UInt8]]]())
            for number in 0..<5000 as Range<UInt64> where number % 50 != 7 {
                memory[at(number)] = filled(UInt8.random(in: 1...255, using: &random))
            }
            for generation in 0..<5 {
                for (address, bytes) in memory {
                    UnsafeMutableRawPointer(bitPattern: UInt(address))!.copyMemory(
                        from: bytes, byteCount: page)
                }
                let saved = try row.save(
                    memory, parent: generation == 0 ? nil : generation - 1,
                    left: generation == 0 ? nil : { $0 / 4096 % 31 != seed })
                #expect(saved.shares.problems.isEmpty && saved.shares.pages == memory.count)
                if generation > 0 {
                    #expect(saved.shares.inherited > 3000 && saved.shares.stored < 1200)
                    #expect(
                        saved.shares.pages == saved.shares.inherited + saved.shares.stored + saved.shares.zero
                    )
                }
                #expect(!FileManager.default.fileExists(atPath: row.path(generation) + "/pages-1.img"))
                states.append(memory.filter { $0.value != filled(0) })
                for _ in 0..<300 {
                    let address = at(UInt64.random(in: 0..<5000, using: &random))
                    memory[address] = filled(UInt8.random(in: 0...255, using: &random))
                }
            }
            for (generation, state) in states.enumerated() {
                #expect(
                    try row.pages(generation).filter { $0.value != filled(0) } == state,
                    "\(seed) \(generation)")
            }
        }
    }

    @Test func memoryOfAProcessThatIsGoneIsNotTaken() throws {
        let row = try Generations()
        _ = try row.save([at(0): filled(1)], parent: nil)
        let parent = try ParentMemory(in: row.path(0))
        #expect(parent.processes == [1])
        _ = try row.save([:], parent: 0)
        let directory = row.path(2)
        try FileManager.default.copyItem(atPath: row.path(0), toPath: directory)
        let images = try ImageDirectory(directory)
        #expect(throws: CriuImageError.self) { try images.takeMemory(of: [:], sharing: parent) }
    }

    @Test func policyLeavesOutWhatIsCheapAndBoundsTheRest() {
        let cheap = ChainPolicy.absorbed(shared: [3, 100_000], kept: 10, total: 131_072)
        #expect(cheap.sorted() == [0])
        #expect(ChainPolicy.absorbed(shared: [1300, 100_000], kept: 1310, total: 131_072).isEmpty)
        let full = [Int](repeating: 500, count: 128)
        #expect(ChainPolicy.absorbed(shared: full, kept: 1000, total: 131_072).count == 1)
        #expect(ChainPolicy.absorbed(shared: [Int](repeating: 40, count: 8), kept: 1, total: 400).count == 1)
        #expect(ChainPolicy.absorbed(shared: [0, 0, 50], kept: 1, total: 400).isEmpty)
    }
}

/// The same numbers for the same seed (xorshift64*).
private struct Seeded: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state ^= state >> 12
        state ^= state << 25
        state ^= state >> 27
        return state &* 0x2545_F491_4F6C_DD1D
    }
}
