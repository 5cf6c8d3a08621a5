import Foundation
import Glibc
import Testing

/// `ckpt bench`: it tells what it promises, and takes everything away again.
@Suite struct BenchTests {
    private struct Report: Decodable {
        struct Operation: Decodable {
            let name: String
            let median_ms: Double
            let p90_ms: Double
            let floor_ms: Double?
            let ratio: Double?
            let budget_ms: Double?
        }
        struct Place: Decodable {
            let kernel: String
            let cores: Int
        }
        struct Rate: Decodable {
            let name: String
            let value: Double
            let unit: String
        }
        let operations: [Operation]
        let sustained: [Rate]
        let place: Place
    }

    private static let selected = [
        "create", "exec", "session-builtin", "session-echo", "read-4k", "write-4k", "save", "save-frozen",
        "save-criu", "save-durable", "restore", "restore-criu", "fork-1", "reset", "rm",
    ]

    private func arguments(_ names: [String]) -> [String] {
        ["bench", "--quick", "--json", "--passes", "2"] + names.flatMap { ["--only", $0] }
    }

    /// Nothing of a run is in the root's directory, and no process or control group of it lives.
    private func expectNothingLeft(_ ckpt: Ckpt) throws {
        let left = try FileManager.default.contentsOfDirectory(atPath: ckpt.root)
        #expect(left == [], "a run leaves nothing beside the root, and makes no root")
        #expect(eventually { Leftovers.processes(of: ckpt).isEmpty })
    }

    @Test func tellsEachOperationWithItsFloorAndLeavesNothing() throws {
        try withCkpt { ckpt in
            let result = try ckpt.call(arguments(Self.selected))
            #expect(result.status == 0, "\(result)")
            let report = try JSONDecoder().decode(Report.self, from: result.stdoutData)
            #expect(report.operations.map(\.name) == Self.selected)
            #expect(report.place.cores > 0 && !report.place.kernel.isEmpty)
            for one in report.operations {
                #expect(one.median_ms > 0 && one.median_ms <= one.p90_ms && one.p90_ms < 60_000, "\(one)")
                let floor = try #require(one.floor_ms, "\(one)")
                #expect(floor > 0 && abs(one.ratio! - one.median_ms / floor) < 0.001 * one.ratio!, "\(one)")
                if let budget = one.budget_ms { #expect(budget > 0, "\(one)") }
            }
            let hops = try ckpt.call(arguments(["session-hops"]))
            let hopped = try JSONDecoder().decode(Report.self, from: hops.stdoutData).operations
            #expect(hopped.map(\.name) == ["session-hops"] && hopped[0].median_ms > 0, "\(hops)")
            func operation(_ name: String) -> Report.Operation {
                report.operations.first { $0.name == name }!
            }
            // The budgets follow from the floors of the same run.
            #expect(abs(operation("create").budget_ms! - 1.5 * operation("create").floor_ms!) < 0.001)
            #expect(abs(operation("save").budget_ms! - 1.3 * operation("save").floor_ms! - 1) < 0.001)
            #expect(operation("rm").budget_ms == 1 && operation("fork-1").budget_ms == nil)
            let fields = try #require(
                try JSONSerialization.jsonObject(with: result.stdoutData) as? [String: Any])
            for one in try #require(fields["operations"] as? [[String: Any]]) {
                let wanted: Set = ["name", "median_ms", "p90_ms", "floor_ms", "ratio", "budget_ms"]
                #expect(Set(one.keys) == wanted, "what is unknown is null, not missing")
            }
            try expectNothingLeft(ckpt)
            let page = try ckpt("bench", "--quick", "--passes", "1", "--only", "rm")
            #expect(page.status == 0 && page.stdout.contains("BUDGET") && page.stdout.contains("\nrm "))
            let nothing = try ckpt("bench", "--quick", "--only", "chain-1")
            #expect(nothing.stderr.contains("a quick run leaves out: chain-1/save, "), "\(nothing)")
        }
    }

    @Test func showsHowCostGrowsAndWhatIsSustained() throws {
        try withCkpt { ckpt in
            let groups = ["files-200", "chain-1", "chain-10", "processes-10", "sustained"]
            let only = groups.flatMap { ["--only", $0] }
            let result = try ckpt.call(["bench", "--json", "--passes", "1"] + only)
            #expect(result.status == 0, "\(result)")
            let report = try JSONDecoder().decode(Report.self, from: result.stdoutData)
            let expected =
                [
                    "processes-10/save", "processes-10/save-frozen", "processes-10/restore",
                    "files-200/save-first", "files-200/save", "files-200/save-frozen", "files-200/restore",
                    "files-200/reset",
                ]
                + [1, 10].flatMap { depth in
                    [
                        "save", "save-frozen", "save-durable", "restore", "exec", "session-builtin",
                        "session-echo",
                        "read-4k", "write-4k", "fork-1", "fork-16", "fork-100", "reset", "rm",
                    ].map { "chain-\(depth)/\($0)" }
                }
            #expect(report.operations.map(\.name) == expected)
            #expect(report.operations.allSatisfy { $0.median_ms > 0 })
            let rates = [
                "commands-1", "commands-4", "commands-8", "commands-16", "resets", "saves-and-restores",
                "rollouts", "rollouts-parallel", "bytes-per-snapshot",
            ]
            #expect(report.sustained.map(\.name) == rates)
            #expect(report.sustained.allSatisfy { $0.value > 0 && !$0.unit.isEmpty })
            try expectNothingLeft(ckpt)
        }
    }

    @Test func clearsAwayWhenItIsInterrupted() throws {
        try withCkpt { ckpt in
            let running = try ckpt.start("bench")
            // Somewhere in the middle: a sandbox of its own server has been made.
            let isUnderWay = {
                try FileManager.default.contentsOfDirectory(atPath: ckpt.root).contains { name in
                    let sandboxes = "\(ckpt.root)/\(name)/store/sandboxes"
                    return try FileManager.default.fileExists(atPath: sandboxes)
                        && !FileManager.default.contentsOfDirectory(atPath: sandboxes).isEmpty
                }
            }
            #expect(try eventually { try isUnderWay() })
            running.signal(SIGINT)
            let result = running.wait()
            #expect(result.status == 125 && result.stderr.contains("interrupted"), "\(result)")
            try expectNothingLeft(ckpt)
        }
    }

    @Test func refusesAnOperationThatThereIsNot() throws {
        try withCkpt { ckpt in
            let result = try ckpt("bench", "--only", "saving")
            #expect(result.status == 2 && result.stderr.contains("--only"), "\(result)")
        }
    }
}
