import Glibc
import Testing

@testable import CriuImages

private let page = 4096

private func area(
    _ start: UInt64, _ pages: UInt64, _ kind: UInt64, offset: UInt64 = 0, object: UInt64 = 0
) -> [UInt8] {
    number(1, start) + number(2, start + pages * 4096) + number(3, offset) + number(4, object)
        + number(5, UInt64(PROT_READ)) + number(6, kind & 1 << 8 != 0 ? 1 : 2) + number(7, 1 | kind)
        + number(8, 1)
}

private func memoryMap(_ areas: [[UInt8]]) -> [UInt8] {
    image(
        [common, 0x5749_2820],
        [(1...12).flatMap { number($0, $0 == 10 ? 0x1000 : 0) } + areas.flatMap { bytes(14, $0) }])
}

/// Runs of pages: an address, a count, and the flags (1 in the parent, 4 present).
private func pageMap(_ pages: UInt64, _ runs: [(UInt64, UInt64, UInt64)]) -> [UInt8] {
    image(
        [common, 0x5608_4025],
        [number(1, pages)]
            + runs.map { number(1, $0.0) + number(2, $0.1) + number(4, $0.2) + number(5, $0.1) })
}

private func filled(_ values: UInt8...) -> [UInt8] { values.flatMap { [UInt8](repeating: $0, count: page) } }

private let owner = (1...5).flatMap { number($0, 0) }
private func named(_ id: UInt64, _ path: String) -> [UInt8] {
    let file = number(1, id) + number(2, 0) + number(3, 0) + bytes(5, owner) + bytes(6, Array(path.utf8))
    return number(1, 1) + number(2, id) + bytes(3, file)
}
private func memoryFile(_ id: UInt64, inode: UInt64) -> [UInt8] {
    let file = number(1, id) + number(2, 0) + number(3, 0) + bytes(4, owner) + number(5, inode)
    return number(1, 18) + number(2, id) + bytes(20, file)
}
private let files = image(
    [common, 0x5630_3138], [named(7, "/usr/lib/a.so"), named(8, "/tmp/gone"), memoryFile(9, inode: 3)])

private let memoryFiles = image(
    [common, 0x4845_3499],
    [bytes(1, Array("/memfd:x".utf8)) + (2...7).flatMap { number($0, $0 == 5 ? 77 : $0 == 7 ? 3 : 0) }])

/// A root filesystem with one file of a page and a half.
private struct OneFile: MappedFiles {
    func identity(of path: String) -> MappedFileIdentity? {
        path == "/usr/lib/a.so" ? MappedFileIdentity(name: path, size: UInt64(page + page / 2)) : nil
    }
    func read(_ path: String, offset: UInt64, count: Int) -> [UInt8]? {
        guard path == "/usr/lib/a.so" else { return nil }
        let content = [UInt8](repeating: 0xAA, count: page) + [UInt8](repeating: 0xBB, count: page / 2)
        return Array(content.dropFirst(Int(offset)).prefix(count))
    }
}

@Suite struct ProcessMemoryTests {
    private func memory(_ images: Images) throws -> ProcessMemory {
        try ProcessMemory(of: 1, in: images.open(), files: OneFile())
    }

    private func base(_ areas: [[UInt8]], _ more: [String: [UInt8]]) throws -> Images {
        try Images(
            ["mm-1.img": memoryMap(areas), "files.img": files, "memfd.img": memoryFiles].merging(more) { $1 })
    }

    @Test func pagesComeFromOwnImageParentsAndZero() throws {
        let grandparent = try base(
            [], ["pagemap-1.img": pageMap(5, [(0x1000, 4, 4)]), "pages-5.img": filled(1, 2, 3, 4)])
        let parent = try base(
            [], ["pagemap-1.img": pageMap(1, [(0x1000, 1, 4), (0x2000, 3, 1)]), "pages-1.img": filled(9)])
        let own = try base(
            [area(0x1000, 6, 1 << 9)],
            ["pagemap-1.img": pageMap(1, [(0x1000, 3, 1), (0x4000, 1, 4)]), "pages-1.img": filled(7)])
        symlink(parent.path, own.path + "/parent")
        symlink(grandparent.path, parent.path + "/parent")
        let memory = try memory(own)
        #expect(try memory.read(0x1000, count: 6 * page) == filled(9, 2, 3, 7, 0, 0))
        #expect(try memory.read(0x3ffe, count: 4) == [3, 3, 7, 7])
        #expect(
            try memory.runs(of: memory.map.regions[0]).map { "\($0.pages) \($0.source)" } == [
                "1 inherited(level: 1)", "2 inherited(level: 2)", "1 stored", "2 zero",
            ])
        let error = try #require(throws: CriuImageError.self) { try memory.read(0x6fff, count: 2) }
        #expect(error.description == "process image mm-1.img: has nothing mapped at 0x7000")
    }

    @Test func privateFilePagesComeFromTheFileUnlessWritten() throws {
        let own = try base(
            [area(0x1000, 3, 1 << 6, object: 7)],
            ["pagemap-1.img": pageMap(1, [(0x1000, 1, 4)]), "pages-1.img": filled(5)])
        let memory = try memory(own)
        let half = [UInt8](repeating: 0xBB, count: page / 2) + [UInt8](repeating: 0, count: page / 2)
        #expect(try memory.read(0x1000, count: 2 * page) == filled(5) + half)
        #expect(throws: CriuImageError.self, "behind the file's end") { try memory.read(0x3000, count: 1) }
        #expect(memory.name(of: memory.map.regions[0]) == "/usr/lib/a.so")
        #expect(try memory.runs(of: memory.map.regions[0]).map(\.source) == [.stored, .file, .notSaved])
    }

    @Test func sharedMemoryIsReadByItsOffset() throws {
        let own = try base(
            [
                area(0x10000, 2, 1 << 8, offset: 4096, object: 6),
                area(0x20000, 1, 1 << 7 | 1 << 14, object: 9),
            ],
            [
                "pagemap-1.img": pageMap(1, []), "pages-1.img": [],
                "pagemap-shmem-6.img": pageMap(2, [(0x1000, 1, 4)]), "pages-2.img": filled(6),
                "pagemap-shmem-77.img": pageMap(3, [(0, 1, 4)]), "pages-3.img": filled(8),
            ])
        let memory = try memory(own)
        #expect(try memory.read(0x10000, count: 2 * page) == filled(6, 0))
        #expect(try memory.read(0x20000, count: page) == filled(8))
        #expect(memory.name(of: memory.map.regions[1]) == "/memfd:x")
    }

    @Test func deletedFileIsReadFromItsGhost() throws {
        let remap = image([common, 0x5913_3954], [number(1, 8) + number(2, 0x1f) + number(3, 1)])
        func entry(_ message: [UInt8]) -> [UInt8] { Array(image([], [message])) }
        let head =
            number(1, 0) + number(2, 0) + number(3, 0o100644) + number(9, 1) + number(10, UInt64(3 * page))
        let ghost =
            image([common, 0x5258_3605], [head]) + entry(number(1, UInt64(page)) + number(2, UInt64(page)))
            + filled(3)
        let own = try base(
            [area(0x1000, 3, 1 << 6, object: 8)],
            [
                "pagemap-1.img": pageMap(1, []), "pages-1.img": [], "remap-fpath.img": remap,
                "ghost-file-1f.img": ghost,
            ])
        let memory = try memory(own)
        #expect(try memory.read(0x1000, count: 3 * page) == filled(0, 3, 0))
        #expect(memory.name(of: memory.map.regions[0]) == "/tmp/gone (deleted)")
    }

    @Test func whatDoesNotFitTogetherIsAnError() throws {
        func problem(_ areas: [[UInt8]], _ more: [String: [UInt8]], read: Int = 0) throws -> String {
            let images = try base(areas, more)
            let error = try #require(throws: CriuImageError.self) {
                _ = try memory(images).read(0x1000, count: read)
            }
            return error.description
        }
        let areas = [area(0x1000, 2, 1 << 9)]
        #expect(
            try problem(areas, ["pagemap-1.img": pageMap(1, [(0x1000, 2, 4)]), "pages-1.img": filled(1)])
                == "process image pages-1.img: has 4096 bytes where pagemap-1.img counts 8192")
        #expect(
            try problem(
                areas,
                ["pagemap-1.img": pageMap(1, [(0x2000, 1, 4), (0x1000, 1, 4)]), "pages-1.img": filled(1, 2)])
                == "process image pagemap-1.img entry 2: lies over the one before it")
        #expect(
            try problem(areas, ["pagemap-1.img": pageMap(1, [(0x1000, 1 << 60, 4)]), "pages-1.img": []])
                == "process image pagemap-1.img entry 1: has the impossible run of \(1 << 60) pages at 0x1000"
        )
        #expect(
            try problem(areas, ["pagemap-1.img": pageMap(1, [(0x1000, 1, 1)]), "pages-1.img": []])
                == "process image pagemap-1.img: inherits pages, and 1 parents up nobody has them")
        #expect(
            try problem(
                [area(0x1000, 1, 1 << 6, object: 8)], ["pagemap-1.img": pageMap(1, []), "pages-1.img": []],
                read: 1)
                == "process image mm-1.img: maps /tmp/gone at 0x1000, and there is no such file")
        #expect(
            try problem([areas[0], areas[0]], ["pagemap-1.img": pageMap(1, []), "pages-1.img": []])
                == "process image mm-1.img entry 0: has mapping 1 over the one before it")
    }

    @Test func circleOfParentsIsAnError() throws {
        let own = try base(
            [area(0x1000, 1, 1 << 9)],
            ["pagemap-1.img": pageMap(1, [(0x1000, 1, 1)]), "pages-1.img": []])
        symlink(".", own.path + "/parent")
        #expect(throws: CriuImageError.self) { try memory(own) }
    }
}
