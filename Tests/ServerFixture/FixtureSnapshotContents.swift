public import Messages
import Glibc

/// What the engine of the tests says about the contents of snapshots: the samples, with what was asked for in them.
extension FixtureEngine {
    public func inspect(_ reference: String, _ request: InspectRequest) throws(ErrorMessage) -> Inspection {
        var inspection = Sample.inspection
        inspection.snapshot = try snapshot(reference).id
        inspection.processes[0].pid = request.pid ?? 0
        if !request.files { inspection.processes[0].files = nil }
        if !request.environment { inspection.processes[0].environment = nil }
        if !request.memory { inspection.processes[0].memory = nil }
        if !request.registers { inspection.processes[0].threads = [] }
        if !request.sockets { inspection.mounts = [] }
        return inspection
    }

    public func memory(_ reference: String, pid: Int) throws(ErrorMessage) -> MemoryListing {
        MemoryListing(snapshot: try snapshot(reference).id, pid: pid, regions: [Sample.inspectedRegion])
    }

    public func readMemory(
        _ reference: String, _ request: MemoryReadRequest
    ) throws(ErrorMessage) -> MemoryPiece {
        _ = try snapshot(reference)
        return MemoryPiece(address: "\(request.address)", base64: "\(request.pid) \(request.length)")
    }

    public func searchMemory(
        _ reference: String, _ request: MemorySearchRequest
    ) throws(ErrorMessage) -> MemoryMatches {
        _ = try snapshot(reference)
        return MemoryMatches(
            matches: [], truncated: false, unread: ["\(request.pid) \(request.limit) \(request.pattern)"])
    }

    public func diff(_ request: DiffRequest) throws(ErrorMessage) -> SnapshotDiff {
        var diff = Sample.snapshotDiff
        (diff.from, diff.to) = (try snapshot(request.from).id, try snapshot(request.to).id)
        if !request.patch { diff.files[0].patch = nil }
        return diff
    }
}

/// Stands in for debugging; the end-to-end tests have the real one.
extension FixtureEngine {
    public func core(_ reference: String, pid: Int?, to descriptor: Int32) throws(ErrorMessage) {
        let text = Array("core of \(try snapshot(reference).id) \(pid.map(String.init) ?? "-")".utf8)
        _ = write(descriptor, text, text.count)
    }

    public func readSnapshotFile(
        _ reference: String, path: String, to descriptor: Int32
    ) throws(ErrorMessage) {
        let text = Array("\(path) of \(try snapshot(reference).id)".utf8)
        _ = write(descriptor, text, text.count)
    }

    public func debug(_ request: DebugRequest) throws(ErrorMessage) -> DebugSession {
        var session = Sample.debugSession
        session.snapshot = try snapshot(request.snapshot).id
        return session
    }

    public func hold(_ name: String, cancelled: Cancellation) throws(ErrorMessage) {
        _ = try sandbox(name)
    }
}
