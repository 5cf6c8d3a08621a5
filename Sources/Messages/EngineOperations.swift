/// Everything the API can ask of the engine, one call a route.
///
/// Calls are synchronous and come on many threads at once. Names, tags and references arrive as the client
/// sent them: the engine checks them. Every error is an `ErrorMessage` as the client shall read it.
public protocol EngineOperations: JobOperations, ProcessOperations, FileOperations, ResourceOperations {
    func version() throws(ErrorMessage) -> VersionInfo
    func doctor(selfTest: Bool) throws(ErrorMessage) -> DoctorReport

    func sandboxes() throws(ErrorMessage) -> SandboxList
    func create(_ request: CreateRequest) throws(ErrorMessage) -> SandboxInfo
    func sandbox(_ name: String) throws(ErrorMessage) -> SandboxInfo
    func remove(_ name: String, force: Bool) throws(ErrorMessage)
    func kill(_ name: String, _ request: KillRequest) throws(ErrorMessage) -> SandboxInfo
    func logs(_ name: String) throws(ErrorMessage) -> LogList

    /// Runs a command to its end and returns its output; a cancelled one is killed.
    func exec(_ name: String, _ request: ExecRequest, cancelled: Cancellation) throws(ErrorMessage)
        -> ExecResult
    /// Starts a command, or takes up the one that has the request's id, for an exec stream.
    func attach(_ name: String, _ request: ExecRequest) throws(ErrorMessage) -> any AttachedCommand
    /// Lends a session's bash to somebody who makes its calls without the engine.
    func lend(_ name: String, session: String) throws(ErrorMessage) -> any SessionLoan

    func save(_ name: String, _ request: SaveRequest, cancelled: Cancellation) throws(ErrorMessage)
        -> SnapshotInfo
    /// Says whether a sandbox can be saved, without stopping it.
    func check(_ name: String) throws(ErrorMessage) -> CheckResult
    func restore(_ name: String, _ request: RestoreRequest) throws(ErrorMessage) -> RestoreResult
    func reset(_ name: String) throws(ErrorMessage) -> RestoreResult
    /// A cancelled one leaves no fork behind.
    func fork(_ request: ForkRequest, cancelled: Cancellation) throws(ErrorMessage) -> ForkResult

    func tree() throws(ErrorMessage) -> TreeInfo
    /// The same as JSON, in pieces; an engine may keep what `encode` made of a snapshot for as long as nothing about it
    /// changes.
    func tree(encodedBy encode: (any Encodable) -> [UInt8]) throws(ErrorMessage) -> [SharedBytes]
    func snapshot(_ reference: String) throws(ErrorMessage) -> SnapshotInfo
    func tag(_ reference: String, _ tag: String) throws(ErrorMessage) -> SnapshotInfo
    func untag(_ tag: String) throws(ErrorMessage)
    func delete(
        _ reference: String, subtree: Bool, keepingChildren: Bool
    ) throws(ErrorMessage) -> DeleteResult
    func gc(_ request: GCRequest) throws(ErrorMessage) -> GCResult
    func verify(_ request: VerifyRequest, cancelled: Cancellation) throws(ErrorMessage) -> VerifyReport
    func usage(_ request: UsageRequest) throws(ErrorMessage) -> UsageReport

    /// What the store holds, or what a snapshot is made of, its ancestors included where that is asked for.
    func objects(snapshot reference: String?, withAncestors: Bool) throws(ErrorMessage) -> ObjectList
    /// Writes a snapshot and all it needs to `descriptor`, a pipe's end, as an archive.
    func exportSnapshot(
        _ reference: String, _ request: ExportRequest, to descriptor: Int32
    ) throws(ErrorMessage)
    /// Takes in the archive that comes from `descriptor`, a pipe's end: all of it or nothing.
    ///
    /// `mostBytes` bounds what its files take, holes included. A client that broke off looks like an early end.
    func importSnapshots(tag: String?, mostBytes: Int64?, from descriptor: Int32) throws(ErrorMessage)
        -> ImportResult

    /// What a snapshot's process image holds.
    func inspect(_ reference: String, _ request: InspectRequest) throws(ErrorMessage) -> Inspection
    /// The mappings of a process of a snapshot.
    func memory(_ reference: String, pid: Int) throws(ErrorMessage) -> MemoryListing
    /// A piece of a process's memory, at most `MemoryReadRequest.most` bytes of what was asked for.
    func readMemory(_ reference: String, _ request: MemoryReadRequest) throws(ErrorMessage) -> MemoryPiece
    /// Where something is in a process's memory.
    func searchMemory(_ reference: String, _ request: MemorySearchRequest) throws(ErrorMessage)
        -> MemoryMatches
    /// What is different in one snapshot from another.
    func diff(_ request: DiffRequest) throws(ErrorMessage) -> SnapshotDiff

    /// Writes an ELF core file of a process of a snapshot to `descriptor`, a pipe's end, borrowed for the call.
    func core(_ reference: String, pid: Int?, to descriptor: Int32) throws(ErrorMessage)
    /// Writes a regular file of a snapshot's root filesystem to `descriptor`, a pipe's end.
    func readSnapshotFile(_ reference: String, path: String, to descriptor: Int32) throws(ErrorMessage)
    /// Restores a snapshot into a fresh sandbox, with every process but PID 1 stopped at its instant.
    func debug(_ request: DebugRequest) throws(ErrorMessage) -> DebugSession
    /// Waits until the caller goes away, and removes the sandbox then; returns when somebody else removed it.
    func hold(_ name: String, cancelled: Cancellation) throws(ErrorMessage)

    /// Writes what lies at `path` in the sandbox to `descriptor` as a tar stream.
    ///
    /// With `owners` the stream names the owners by number, else everything belongs to root in it.
    /// `descriptor` is a pipe's end, borrowed for the call. EPIPE on it means that the client went away.
    /// An error thrown before the first byte reaches the client as it is; later ones break the stream off.
    func readArchive(sandbox: String, path: String, owners: Bool, to descriptor: Int32) throws(ErrorMessage)
    /// Unpacks the tar stream that comes from `descriptor` into the directory `path` of the sandbox.
    ///
    /// With `owners` files get the owners that the stream names, else they belong to root.
    /// `descriptor` is a pipe's end, borrowed for the call. A client that broke off looks like an early end
    /// of the file: an archive without its end marker must be refused.
    func writeArchive(sandbox: String, path: String, owners: Bool, from descriptor: Int32)
        throws(ErrorMessage)
        -> ArchiveResult
}

extension EngineOperations {
    /// The tree, put together anew.
    public func tree(encodedBy encode: (any Encodable) -> [UInt8]) throws(ErrorMessage) -> [SharedBytes] {
        [SharedBytes(encode(try tree()))]
    }
}

/// Stdout or stderr of a command.
public enum OutputStream: String, Codable, Hashable, Sendable, CaseIterable {
    case stdout, stderr
}

/// What an attached command has to tell, in the order it happened.
public enum AttachedEvent: Sendable {
    /// Bytes of a stream, the first of them at `offset`; without gaps or repetitions per stream.
    case output(OutputStream, offset: UInt64, bytes: [UInt8])
    /// Stdin up to this offset has arrived in the sandbox and need not be sent again.
    case stdinTaken(upTo: UInt64)
    /// The command ended, after all of its output; the last event.
    case exited(ExecResult)
    /// The command can no longer be followed; the last event.
    case failed(ErrorMessage)
}

/// One command whose streams somebody follows.
///
/// One thread calls `next` and `acknowledge`; another calls the rest. At most `ExecFrame.stdinWindow` bytes
/// of stdin are ever handed over beyond the last `.stdinTaken`, so `write` has a bounded amount to keep and
/// should not block: signals queue behind it.
public protocol AttachedCommand: AnyObject, Sendable {
    /// The command's id, the request's own or the one made up for it.
    var id: String { get }
    /// How many bytes of stdin have arrived in the sandbox when it was attached.
    var stdinOffset: UInt64 { get }

    /// Waits for the next event; nil when `deadline` (nanoseconds of CLOCK_MONOTONIC, nil for none) passes
    /// or once `detach` was called.
    func next(deadline: UInt64?) -> AttachedEvent?
    /// Output up to this offset has been handed to the client and need not be kept.
    ///
    /// Whoever falls behind is not sent more than the engine's buffer: that is the back pressure.
    func acknowledge(_ stream: OutputStream, upTo offset: UInt64)

    /// Hands over stdin that starts at `offset`; what has already arrived is skipped.
    func write(offset: UInt64, _ bytes: [UInt8]) throws(ErrorMessage)
    /// Ends stdin after what was written.
    func closeStdin() throws(ErrorMessage)
    /// Sends a signal to the command's process group.
    func signal(_ number: Int32) throws(ErrorMessage)
    /// Changes the terminal's size, in characters; nothing without a terminal.
    func resize(rows: UInt16, columns: UInt16) throws(ErrorMessage)

    /// Stops following; the command runs on and may be attached to again. Wakes `next`. Harmless twice.
    func detach()
}
