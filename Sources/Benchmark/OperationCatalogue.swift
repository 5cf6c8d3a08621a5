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
                "exec", "session-builtin", "session-echo", "read-4k", "write-4k", "save", "save-frozen",
                "save-durable", "restore", "fork-1",
            ] + crowds.map { "fork-\($0)" } + ["reset", "rm"]
        return names.map { workload.isEmpty ? $0 : "\(workload)/\($0)" }
    }

    /// All that a run can measure, in the order of the table.
    static let everything: [String] =
        ["create"] + operations(on: "", crowds: [16, 100])
        + operations(on: "python", crowds: [16, 100]) + operations(on: "python-1g", crowds: [])
        + operations(on: "processes-50", crowds: [16])

    /// The floor of an operation; nil where there is none.
    func floor(_ operation: String) -> Double? {
        let (workload, name) = Self.parts(operation)
        func criu(_ what: String) -> Double? {
            floors.median(workload.isEmpty ? what : "\(workload)/\(what)")
        }
        switch name {
        case "create", "exec", "session-builtin", "session-echo", "read-4k", "write-4k":
            return floors.median(name)
        case "reset": return sum(floors.median("kill"), floors.median("start"))
        case "rm": return floors.median("kill")
        case "save", "save-first", "save-durable": return criu("criu-dump")
        case "save-frozen", "save-first-frozen": return criu("criu-frozen")
        case "restore", "fork-1": return criu("criu-restore")
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
        let isGigabyte = operation.hasPrefix("python-1g/")
        switch Self.parts(operation).name {
        case "create": return floor.map { 1.5 * $0 }
        case "exec": return 1.2
        case "session-builtin": return 0.10
        case "session-echo": return floor.map { 1.3 * $0 }
        case "reset": return 3
        case "rm": return 1
        case "restore" where isGigabyte: return 40
        case "save-frozen" where isGigabyte: return floor.map { 0.6 * $0 }
        case "save", "restore": return floor.map { 1.3 * $0 + 1 }
        case "save-frozen": return floor.map { $0 + 0.5 }
        case "fork-100": return floor.map { 1.3 * $0 }
        default: return nil
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
