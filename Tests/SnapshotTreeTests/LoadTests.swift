import Glibc
import LinuxSystem
import Messages
import Testing

@testable import SnapshotTree

@Suite(.serialized) struct LoadTests {
    let store: TemporaryStore
    init() throws { store = try TemporaryStore() }

    @Test func thousandSnapshotsAreListed() throws {
        var last: SnapshotInfo?
        do {
            let tree = try store.open()
            for number in 0..<1000 { last = try tree.publish(parent: last, created: Double(number)) }
        }
        let start = monotonicNanoseconds()
        let tree = try store.open()
        let opened = monotonicNanoseconds()
        let infos = try tree.infos()
        let listed = monotonicNanoseconds()
        _ = try tree.infos()
        let again = monotonicNanoseconds()
        print(
            "1,000 snapshots: open \((opened - start) / 1000) µs, list \((listed - opened) / 1000) µs,",
            "again \((again - listed) / 1000) µs")
        #expect(infos.count == 1000)
        #expect(infos.map(\.created) == (0..<1000).map(Double.init))
        #expect(infos[499].children == [infos[500].id])
        #expect(try tree.resolve(reference: "\(infos[999].id)~999").id == infos[0].id)
        #expect(try tree.delete(infos[0].id, subtree: true).deleted.count == 1000)
        #expect(try names(in: store.root + "/snapshots") == [])
    }

    /// Eight threads publish, tag, list, resolve, delete and collect at once.
    @Test func eightThreadsWorkAtOnce() throws {
        let tree = try store.open(.snapshot)
        let root = try tree.publish(layer: "root", tag: "root")
        let outcome = Monitor<(finished: Int, failures: [String])>((0, []))
        for thread in 0..<8 {
            startThread {
                do {
                    var last = root
                    for round in 0..<10 {
                        let tag = "t\(thread).\(round)"
                        last = try tree.publish(parent: last, layer: tag, tag: tag)
                        guard try tree.resolve(reference: tag).id == last.id else { throw Lost() }
                        let side = try tree.publish(parent: last, layer: "side")
                        _ = try tree.infos()
                        _ = try tree.gc()
                        _ = try tree.delete(side.id)
                        guard exists(tree.layerPath(last.layers.last!) + "/file") else { throw Lost() }
                    }
                    outcome.with(wake: true) { $0.finished += 1 }
                } catch {
                    outcome.with(wake: true) {
                        ($0.finished, $0.failures) = ($0.finished + 1, $0.failures + ["\(error)"])
                    }
                }
            }
        }
        let failures = outcome.wait { $0.finished == 8 ? $0.failures : nil }
        #expect(failures == [])
        #expect(try tree.snapshots().count == 81)
        tree.waitUntilCompacted()
        let merged = try names(in: store.root + "/merges").count
        #expect(try names(in: store.root + "/layers").count == 81 + merged)
        #expect(try tree.gc().removed == [])
    }

    private struct Lost: Error {}
}
