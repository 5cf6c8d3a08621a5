import Testing

@testable import Benchmark

/// Medians, floors and budgets as they are promised.
@Suite struct BudgetTests {
    private func catalogue(_ floors: [String: Double], _ samples: [String: Double] = [:])
        -> OperationCatalogue
    {
        func filled(_ values: [String: Double]) -> Samples {
            values.reduce(into: Samples()) { $0.add($1.key, $1.value) }
        }
        return OperationCatalogue(samples: filled(samples), floors: filled(floors), cores: 4)
    }

    @Test func medianAndQuantilesAreThoseOfTheSamples() {
        var samples = Samples()
        #expect(samples.median("a") == nil && samples.quantile(0.9, "a") == nil && samples.count("a") == 0)
        for value in [9.0, 1, 5] { samples.add("a", value) }
        #expect(samples.median("a") == 5)
        samples.add("a", 7)
        #expect(samples.median("a") == 6)
        #expect(samples.quantile(0, "a") == 1 && samples.quantile(1, "a") == 9)
        for value in 1...101 { samples.add("b", Double(value)) }
        #expect(samples.quantile(0.9, "b") == 91 && samples.quantile(0.99, "b") == 100)
    }

    @Test func budgetsFollowFromTheFloorsOfTheRun() {
        let floors = [
            "create": 2.0, "session-echo": 1, "criu-dump": 10, "criu-frozen": 6, "criu-restore": 8,
            "python/criu-restore": 20, "python-1g/criu-frozen": 500,
        ]
        let all = catalogue(floors, ["files-0/save": 12, "chain-1/save": 10, "chain-1/restore": 20])
        let expected: [String: Double] = [
            "create": 3, "session-builtin": 0.1, "session-echo": 1.3, "exec": 1.2, "reset": 3, "rm": 1,
            "save": 14, "save-frozen": 6.5, "restore": 11.4, "python/fork-100": 650, "python-1g/restore": 40,
            "python-1g/save-frozen": 300, "files-20000/reset": 5, "files-20000/save": 22,
            "chain-400/save": 15, "chain-400/restore": 30, "tree-10000/list": 5, "tree-10000/delete": 5,
        ]
        for (name, budget) in expected {
            let found = all.budget(name)
            #expect(found.map { abs($0 - budget) < 1e-9 } == true, "\(name): \(String(describing: found))")
        }
        let free = ["fork-1", "read-4k", "python/rm", "tree-100/list", "files-200/save", "chain-10/restore"]
        for name in free { #expect(all.budget(name) == nil, "\(name)") }
    }

    @Test func floorsAreThoseOfTheSameWorkload() {
        let all = catalogue([
            "criu-dump": 10, "python/criu-dump": 30, "python/criu-restore": 20, "kill": 1, "start": 2,
        ])
        #expect(all.floor("save") == 10 && all.floor("python/save") == 30)
        #expect(all.floor("chain-10/save") == 10, "files and chains are beneath an idle bash")
        #expect(all.floor("python/fork-16") == 80, "as many restores, on four cores")
        #expect(all.floor("reset") == 3 && all.floor("python/rm") == 1)
        #expect(all.floor("tree-100/list") == nil && all.floor("create") == nil)
    }

    @Test func namesAreChosenWholeOrByTheirWorkload() {
        let selection = Selection(names: ["save", "python"])
        #expect(selection.contains("save") && selection.contains("python/save"))
        #expect(!selection.contains("save-frozen") && !selection.contains("python-1g/save"))
        #expect(Selection(names: []).contains("rm"))
        let names = OperationCatalogue.everything + OperationCatalogue.sustained
        #expect(Set(names).count == names.count)
        #expect(Set(Benchmark.operationNames).isSuperset(of: names))
    }
}
