import Messages

/// Every operation: its floor and its budget, both in milliseconds and from the same run.
struct OperationCatalogue {
    let samples: Samples
    let floors: Samples
    let cores: Int

    /// The operations on a workload that runs.
    static func operations(on workload: String, crowds: [Int]) -> [String] {
        let names =
            (workload.isEmpty ? [] : ["save-first", "save-first-frozen"])
            + [
                "exec", "session-builtin", "session-echo", "session-by-id", "borrowed-builtin",
                "borrowed-echo", "read-4k", "write-4k", "save", "save-frozen", "save-criu", "save-durable",
                "restore", "restore-criu", "fork-1",
            ] + crowds.map { "fork-\($0)" } + ["reset", "rm"]
        return names.map { workload.isEmpty ? $0 : "\(workload)/\($0)" }
    }

    /// What is measured on workloads that show how cost grows.
    static let growing = ["save", "save-frozen", "restore"]

    /// All that a run can measure, in the order of the table.
    static let everything: [String] =
        ["create", "session-hops"] + operations(on: "", crowds: [16, 100])
        + operations(on: "python", crowds: [16, 100])
        + ["python-64m", "python-256m"].flatMap { name in growing.map { "\(name)/\($0)" } }
        + operations(on: "python-1g", crowds: [])
        + growing.map { "processes-10/\($0)" } + operations(on: "processes-50", crowds: [16, 100])
        + growing.map { "processes-200/\($0)" }
        + fileCounts.flatMap { count in FilesPart.operations.map { "files-\(count)/\($0)" } }
        + beside.map { "files-\(fileCounts.last!)/\($0)" }
        + ChainPart.depths.flatMap(ChainPart.operations) + TreePart.sizes.flatMap(TreePart.operations)

    /// What `FilesPart` leaves out, on the most files.
    static let beside = [
        "exec", "session-builtin", "session-echo", "session-by-id", "borrowed-builtin", "borrowed-echo",
        "read-4k", "write-4k", "save-criu", "save-durable", "restore-criu", "fork-1", "fork-16", "fork-100",
        "rm",
    ]

    /// Files in the writable layer.
    static let fileCounts = [0, 200, 2000, 20_000]

    /// What goes on for a while; it has no floor.
    static let sustained: [String] =
        SustainedPart.crowds.map { "sustained/commands-\($0)" }
        + ["resets", "saves-and-restores", "rollouts", "rollouts-parallel", "bytes-per-snapshot"]
        .map { "sustained/\($0)" }

    /// The floor of an operation; nil where there is none.
    func floor(_ operation: String) -> Double? {
        let (workload, name) = Self.parts(operation)
        // Files and chains are beneath an idle bash.
        let isIdle = workload.isEmpty || workload.hasPrefix("files-") || workload.hasPrefix("chain-")
        func criu(_ what: String) -> Double? { floors.median(isIdle ? what : "\(workload)/\(what)") }
        switch name {
        case "create", "exec", "session-builtin", "session-echo", "read-4k", "write-4k":
            return floors.median(name)
        case "session-by-id", "borrowed-builtin": return floors.median("session-builtin")
        case "borrowed-echo": return floors.median("session-echo")
        case "reset": return sum(floors.median("kill"), floors.median("start"))
        case "rm": return floors.median("kill")
        case "save", "save-first", "save-criu", "save-durable": return criu("criu-dump")
        case "save-frozen", "save-first-frozen": return criu("criu-frozen")
        case "restore", "restore-criu", "fork-1": return criu("criu-restore")
        case _ where name.hasPrefix("fork-"):
            guard let restore = criu("criu-restore"), let count = Double(name.dropFirst(5)) else {
                return nil
            }
            return count * restore / Double(cores)
        default: return nil
        }
    }

    /// What an operation may take; nil where nothing was promised.
    func budget(_ operation: String) -> Double? {
        let floor = floor(operation)
        let (workload, name) = Self.parts(operation)
        if let budget = ownBudget(operation, workload) { return budget }
        let hasOwnFloor = workload.hasPrefix("python") || workload.hasPrefix("processes-")
        guard workload.isEmpty || hasOwnFloor && Self.growing.contains(name) else { return nil }
        switch name {
        case "create": return floor.map { 1.5 * $0 }
        case "exec": return 1.2
        case "session-builtin", "borrowed-builtin": return 0.10
        case "session-echo", "borrowed-echo": return floor.map { 1.3 * $0 }
        case "reset": return 3
        case "rm": return 1
        case "save", "restore": return floor.map { 1.3 * $0 + 1 }
        case "save-frozen": return floor.map { $0 + 0.5 }
        default: return nil
        }
    }

    /// The budgets of operations that are not on an idle bash.
    private func ownBudget(_ operation: String, _ workload: String) -> Double? {
        switch operation {
        case "python/fork-100": floor(operation).map { 1.3 * $0 }
        case "python-1g/restore": 40
        case "python-1g/save-frozen": floor(operation).map { 0.6 * $0 }
        case "files-20000/reset": 5
        case "files-20000/save": samples.median("files-0/save").map { $0 + 10 }
        case "chain-400/save": samples.median("chain-1/save").map { 1.5 * $0 }
        case "chain-400/restore": samples.median("chain-1/restore").map { 1.5 * $0 }
        default: workload == "tree-10000" ? 5 : nil
        }
    }

    private static func parts(_ operation: String) -> (workload: String, name: String) {
        let parts = operation.split(separator: "/", maxSplits: 1).map(String.init)
        return parts.count == 2 ? (parts[0], parts[1]) : ("", operation)
    }

    private func sum(_ first: Double?, _ second: Double?) -> Double? {
        first.flatMap { first in second.map { first + $0 } }
    }
}
