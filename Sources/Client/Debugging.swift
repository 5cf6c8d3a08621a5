public import LinuxSystem
public import Messages

/// The calls that debuggers need.
extension Client {
    /// `GET /v1/snapshots/{ref}/core`: writes an ELF core file to `file`; without a pid of the process that crashed.
    public func core(
        _ reference: String, pid: Int?, to file: borrowing Descriptor
    ) throws(ErrorMessage) {
        try download(contents(reference, "core", pid.map { ["pid=\($0)"] } ?? []), to: file)
    }

    /// `GET /v1/snapshots/{ref}/file`: writes a file of a snapshot's root filesystem to `file`.
    public func readSnapshotFile(
        _ reference: String, path: String, to file: borrowing Descriptor
    ) throws(ErrorMessage) {
        try download(contents(reference, "file", ["path=\(Client.encode(path))"]), to: file)
    }

    /// `POST /v1/debug`.
    public func debug(_ request: DebugRequest) throws(ErrorMessage) -> DebugSession {
        try call("POST", "/v1/debug", body: try Client.encode(request), repeatable: false)
    }

    /// `POST /v1/sandboxes/{name}/hold`: returns when the sandbox is gone; it goes when the caller's process does.
    public func hold(_ name: String) throws(ErrorMessage) {
        let _: Done = try call("POST", path(name, "hold"), repeatable: false)
    }
}
