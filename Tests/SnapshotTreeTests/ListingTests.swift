import Glibc
import LinuxSystem
import Messages
import Testing

@testable import SnapshotTree

/// A list says the same whether it is made anew or taken from what earlier ones said.
@Suite struct ListingTests {
    let store: TemporaryStore
    init() throws { store = try TemporaryStore() }

    /// Everything that changes in the life of a snapshot.
    private static func words(_ info: SnapshotInfo) -> String {
        [
            [info.id, info.parent ?? "-", info.message ?? "-", "\(info.layerBytes)"], info.children,
            info.tags,
            info.standing, info.layers, [info.storage.map { "\($0.sharedBytes) \($0.ownBytes)" } ?? "-"],
        ].map { $0.joined(separator: " ") }.joined(separator: "|")
    }

    /// The list, and how many snapshots had to be put into words for it.
    private func list(
        _ tree: SnapshotTree, _ standing: [String: [String]] = [:]
    ) throws -> (text: String, made: Int) {
        var made = 0
        let pieces = try tree.list(standing: standing) { info in
            made += 1
            return Array("\(Self.words(info))\n".utf8)
        }
        let json = pieces.flatMap { Array($0.bytes) }
        return (String(decoding: json, as: UTF8.self), made)
    }

    private func expect(
        _ tree: SnapshotTree, _ standing: [String: [String]] = [:], made: ClosedRange<Int>, _ what: Comment
    ) throws {
        let listed = try list(tree, standing)
        let wanted = try tree.infos(standing: standing).map { "\(Self.words($0))\n" }.joined(separator: ",")
        #expect(listed.text == wanted, what)
        #expect(made.contains(listed.made), "\(what): \(listed.made) put into words")
    }

    @Test func onlyWhatChangedIsPutIntoWordsAgain() throws {
        let tree = try store.open()
        var made = [try tree.publish(layer: "0")]
        for number in 1..<20 { made.append(try tree.publish(parent: made[number - 1], layer: "\(number)")) }
        try expect(tree, made: 20...20, "at first")
        try expect(tree, made: 0...0, "again")
        made.append(try tree.publish(parent: made[3], layer: "branch", tag: "here"))
        try expect(tree, made: 2...2, "a new one and its parent")
        try tree.tag(made[5].id, as: "five")
        try expect(tree, made: 1...1, "a tag")
        try tree.untag("here")
        try expect(tree, made: 1...1, "no tag")
        let standing = [made[2].id: ["box", "other"], made[19].id: ["third"]]
        try expect(tree, standing, made: 2...2, "who stands there")
        try expect(tree, [made[2].id: ["box"]], made: 2...2, "who stands there now")
        try expect(tree, made: 1...1, "nobody")
        _ = try tree.delete(made[10].id, keepingChildren: true)
        try expect(tree, made: 2...2, "one in the middle went: its parent and its child")
        _ = try tree.delete(made[15].id, subtree: true)
        try expect(tree, made: 1...1, "a subtree went")
        _ = try tree.delete(made[20].id)
        try expect(tree, made: 1...1, "a leaf went")
        #expect(throws: SnapshotTreeError.self) { try tree.publish(parent: made[0], layer: "x", tag: "five") }
        try expect(tree, made: 0...14, "a publication that failed")
    }

    @Test func listsAreRightAfterManyDeletions() throws {
        let tree = try store.open()
        let root = try tree.publish(layer: "root")
        var leaves: [SnapshotInfo] = []
        for number in 0..<150 { leaves.append(try tree.publish(parent: root, layer: "\(number)")) }
        try expect(tree, made: 151...151, "at first")
        try expect(tree, [leaves[1].id: ["box"], leaves[149].id: ["box"]], made: 2...2, "in both blocks")
        try expect(tree, made: 2...2, "in none")
        for leaf in leaves.prefix(120) { _ = try tree.delete(leaf.id) }
        try expect(tree, made: 1...1, "after deletions")
        _ = try tree.publish(parent: leaves[140], layer: "more")
        try tree.tag(leaves[130].id, as: "kept")
        try expect(tree, made: 3...3, "after more")
        for leaf in leaves[120..<140] { _ = try tree.delete(leaf.id) }
        _ = try tree.delete(root.id, keepingChildren: true)
        try expect(tree, made: 10...10, "the first of all went, and everybody's parent")
    }

    @Test func aNewServerListsTheSame() throws {
        var before = ""
        do {
            let tree = try store.open()
            let root = try tree.publish(layer: "root", tag: "root")
            _ = try tree.publish(parent: root, layer: "child")
            before = try list(tree).text
        }
        #expect(try list(store.open()).text == before)
        for suffix in ["", "-wal", "-shm"] { unlink("\(store.root)/catalog.sqlite\(suffix)") }
        #expect(try list(store.open()).text == before)
    }
}
