import Glibc
import LinuxSystem
import Messages
import Testing

@testable import SnapshotTree

@Suite struct ReferenceTests {
    let store: TemporaryStore
    init() throws { store = try TemporaryStore() }

    @Test func idTagSandboxAndPrefixAreFound() throws {
        let tree = try store.open()
        let root = try tree.publish(tag: "v1.0")
        let child = try tree.publish(parent: root)
        let grandchild = try tree.publish(parent: child)
        #expect(try tree.resolve(reference: root.id).id == root.id)
        #expect(try tree.resolve(reference: "v1.0").id == root.id)
        #expect(try tree.resolve(reference: String(child.id.prefix(11))).id == child.id)
        #expect(try tree.resolve(reference: grandchild.id + "~").id == child.id)
        #expect(try tree.resolve(reference: grandchild.id + "~2").id == root.id)
        #expect(try tree.resolve(reference: grandchild.id + "~0").id == grandchild.id)
        let position = { (name: String) in name == "box" ? grandchild.id : nil }
        #expect(try tree.resolve(reference: "box", sandboxPosition: position).id == grandchild.id)
        #expect(try tree.resolve(reference: "box~1", sandboxPosition: position).id == child.id)
        #expect(throws: SnapshotTreeError.noAncestor(reference: "box~3", available: 2)) {
            try tree.resolve(reference: "box~3", sandboxPosition: position)
        }
    }

    @Test func tagWinsOverSandboxAndSandboxOverPrefix() throws {
        let tree = try store.open()
        let first = try tree.publish(tag: "same")
        let second = try tree.publish()
        #expect(try tree.resolve(reference: "same", sandboxPosition: { _ in second.id }).id == first.id)
        let prefix = String(first.id.prefix(4))
        #expect(try tree.resolve(reference: prefix, sandboxPosition: { _ in second.id }).id == second.id)
    }

    @Test func prefixThatFitsSeveralNamesThem() throws {
        let tree = try store.open()
        var seen: [String: [String]] = [:]
        while true {
            let id = try tree.publish().id
            let prefix = String(id.prefix(2))
            seen[prefix, default: []].append(id)
            guard let candidates = seen[prefix], candidates.count == 2 else { continue }
            #expect(throws: SnapshotTreeError.ambiguous(prefix, candidates: candidates)) {
                try tree.resolve(reference: prefix)
            }
            break
        }
    }

    @Test(arguments: ["", "~1", "a~x", "a~-1", "a~99999999", "a~99999999999999999999", "a~1~1"])
    func malformedReferenceIsRefused(_ text: String) throws {
        let tree = try store.open()
        let error = #expect(throws: SnapshotTreeError.self) { try tree.resolve(reference: text) }
        #expect(error?.message.code == .badValue)
    }

    @Test(arguments: ["a", "zz", "nothing", "0123456789ab", "0123456789abcdef", "%", "ab_"])
    func unknownReferenceIsRefused(_ text: String) throws {
        let tree = try store.open()
        #expect(throws: SnapshotTreeError.unknownReference(text)) { try tree.resolve(reference: text) }
    }

    @Test func tagsAreGivenAndTakenAway() throws {
        let tree = try store.open(.snapshot)
        let first = try tree.publish()
        let second = try tree.publish()
        try tree.tag(first.id, as: "b")
        try tree.tag(first.id, as: "a")
        try tree.tag(first.id, as: "a")
        #expect(try tree.record(first.id)?.tags == ["a", "b"])
        #expect(throws: SnapshotTreeError.tagTaken("a", by: first.id)) { try tree.tag(second.id, as: "a") }
        #expect(try tree.untag("a") == first.id)
        #expect(throws: SnapshotTreeError.unknownTag("a")) { try tree.untag("a") }
        try tree.tag(second.id, as: "a")
        #expect(try tree.resolve(reference: "a").id == second.id)
        #expect(throws: SnapshotTreeError.unknownReference("0123456789ab")) {
            try tree.tag("0123456789ab", as: "c")
        }
    }

    @Test(arguments: [
        "", "-a", ".a", "a b", "a~1", "a/b", "é", "0123456789ab", String(repeating: "a", count: 129),
    ])
    func malformedTagIsRefused(_ tag: String) throws {
        let tree = try store.open()
        let snapshot = try tree.publish()
        let error = #expect(throws: SnapshotTreeError.self) { try tree.tag(snapshot.id, as: tag) }
        #expect(error?.message.code == .badValue)
    }

    @Test(arguments: ["a", "A.b-c_d", "0123456789abc", String(repeating: "a", count: 128)])
    func wellFormedTagIsTaken(_ tag: String) throws {
        let tree = try store.open()
        let snapshot = try tree.publish(tag: tag)
        #expect(try tree.resolve(reference: tag).id == snapshot.id)
    }
}
