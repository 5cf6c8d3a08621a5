import Glibc
import LinuxSystem
import Testing

@testable import CriuImages

private let ids = (1...12).flatMap { number($0, $0 == 6 ? 2 : 1) }
/// A field number that no CRIU of today uses, to stand for one of tomorrow.
private let future = bytes(1999, Array("from the future".utf8))

private func inventory(_ ids: [UInt8] = ids) -> [UInt8] {
    image([0x5831_3116], [number(1, 2) + bytes(3, ids) + number(4, 1) + future])
}

private func core(_ command: String, state: UInt64 = 1) -> [UInt8] {
    let task = (1...5).flatMap { number($0, $0 == 1 ? state : 0) } + bytes(6, Array(command.utf8))
    return image([common, 0x5505_3847], [number(1, 1) + bytes(3, task) + future])
}

private func process(_ pid: UInt64, _ parent: UInt64) -> [UInt8] {
    number(1, pid) + number(2, parent) + number(3, pid) + number(4, pid) + number(5, pid)
        + number(5, pid + 100)
}

private let tree = image([common, 0x5027_3030], [process(1, 0), process(14, 1)])

@Suite struct ImageTests {
    @Test func inventoryIsReadAndOnlyTheNetworkNumberIsChanged() throws {
        let images = try Images(["inventory.img": inventory()])
        #expect(try images.open().inventory().worker.network == 2)
        try images.open().giveTreeItsOwnNetwork()
        #expect(try images.open().inventory().worker.network == ImageDirectory.unusedNamespace)
        let changed = (1...12).flatMap { number($0, $0 == 6 ? UInt64(ImageDirectory.unusedNamespace) : 1) }
        #expect(try images.read("inventory.img") == inventory(changed))
        try images.open().giveTreeItsOwnNetwork()
        #expect(try images.read("inventory.img") == inventory(changed))
    }

    @Test func processesAreReadWithTheirCommands() throws {
        let images = try Images([
            "pstree.img": tree, "core-1.img": core("ckpt-init"),
            "core-14.img": core("redis-server", state: 3),
        ])
        let processes = try images.open().processes()
        #expect(processes.map(\.pid) == [1, 14])
        #expect(processes.map(\.command) == ["ckpt-init", "redis-server"])
        #expect(processes.map(\.state) == [.alive, .stopped])
        #expect(processes[1].threads == [14, 114])
        #expect(try images.open().processCount() == 2)
    }

    /// Whatever is cut off or flipped, there is an answer or an error, and the error names the file.
    @Test func damagedFilesAreErrors() throws {
        let images = try Images(["core-1.img": core("ckpt-init"), "core-14.img": core("x")])
        for length in 0..<tree.count {
            try images.write("pstree.img", Array(tree.prefix(length)))
            if length == 8 || length == 8 + 4 + process(1, 0).count { continue }  // whole, only shorter
            let error = try #require(throws: CriuImageError.self) { try images.open().processes() }
            #expect(error.file == "pstree.img")
        }
        for position in tree.indices {
            for bit in 0..<8 {
                var flipped = tree
                flipped[position] ^= 1 << bit
                try images.write("pstree.img", flipped)
                _ = try? images.open().processes()
            }
        }
        let whole = inventory()
        for length in 0..<whole.count {
            try images.write("inventory.img", Array(whole.prefix(length)))
            #expect(throws: CriuImageError.self) { try images.open().inventory() }
            #expect(throws: CriuImageError.self) { try images.open().giveTreeItsOwnNetwork() }
            #expect(try images.read("inventory.img") == Array(whole.prefix(length)))
        }
    }

    @Test func hugeLengthIsAnError() throws {
        let images = try Images(["pstree.img": Array(tree.prefix(8)) + [0xff, 0xff, 0xff, 0xff, 1, 2, 3]])
        let error = try #require(throws: CriuImageError.self) { try images.open().processCount() }
        #expect(
            error.description == "process image pstree.img entry 0: ends inside an entry of 4294967295 bytes")
    }

    @Test func otherKindIsAnError() throws {
        let images = try Images(["pstree.img": core("x")])
        let error = try #require(throws: CriuImageError.self) { try images.open().processCount() }
        #expect(error.problem == "has the magic number 0x55053847 where 0x50273030 belongs")
    }

    @Test func missingFileIsAnErrorWithItsCause() throws {
        let images = try Images([:])
        let error = try #require(throws: CriuImageError.self) { try images.open().inventory() }
        #expect(error.file == "inventory.img" && error.cause?.code == ENOENT)
    }

    @Test func statisticsAreMilliseconds() throws {
        let dump = (1...7).flatMap { number($0, 1500 + $0) } + number(9, 0) + number(14, 5)
        let images = try Images(["stats-dump": image([0x5510_5940, 0x5709_3306], [bytes(1, dump)])])
        let found = try images.open().dumpStatistics()
        let statistics = try #require(found)
        #expect(statistics.freezing == 1.501 && statistics.frozen == 1.502)
        #expect(statistics.pagesWritten == 1507 && statistics.sharedPagesWritten == 5)
    }

    @Test func symbolicLinkIsNotFollowed() throws {
        let images = try Images(["core-1.img": tree])
        symlink("core-1.img", images.path + "/pstree.img")
        #expect(throws: CriuImageError.self) { try images.open().processCount() }
    }
}
