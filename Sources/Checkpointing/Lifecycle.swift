import Glibc
import LinuxSystem
public import Messages
import SandboxRuntime
import SnapshotTree
import Telemetry

extension CheckpointManager {
    /// Names of sandboxes: a letter or digit, then up to 62 letters, digits, `_`, `.` or `-`.
    static func check(name: String) throws(ErrorMessage) {
        let bytes = Array(name.utf8)
        let isAlphanumeric = { (byte: UInt8) in
            (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
        }
        guard let first = bytes.first, bytes.count <= 63, isAlphanumeric(first),
            bytes.allSatisfy({ isAlphanumeric($0) || $0 == 95 || $0 == 46 || $0 == 45 })
        else {
            throw ErrorMessage(
                .badValue, "\"\(name)\" is no name for a sandbox",
                hint: "1 to 63 letters, digits, '_', '.' or '-', beginning with a letter or digit")
        }
    }

    /// Creates a sandbox at its base and starts its PID 1.
    public func create(_ request: CreateRequest) throws(ErrorMessage) -> SandboxInfo {
        let start = monotonicNanoseconds()
        if let name = request.name { try Self.check(name: name) }
        try request.spec.check()
        try Self.checkProcessors(request.spec.limits)
        let view: BaseView
        do throws(RuntimeError) {
            view = try bases.view(of: request.spec.base, initID: initProgram.currentID)
        } catch { throw error.message }
        let ground = Ground(initID: initProgram.currentID, parts: view.parts.map(\.path))
        // Before a name is taken.
        _ = try checkedView(of: request.spec, on: ground)
        let sandbox = try register(named: request.name) { name in
            SandboxRecord(name: name, spec: request.spec, created: secondsSince1970(), ground: ground)
        }
        return try sandbox.exclusively { () throws(ErrorMessage) in
            do throws(ErrorMessage) {
                try startFresh(sandbox, position: nil, isNew: true)
                try makeWorkingDirectory(of: sandbox)
                try checkUser(of: sandbox)
            } catch {
                unregister(sandbox)
                throw error
            }
            telemetry.emit(.created) { event in
                (event.sandbox, event.durationMs) = (sandbox.name, milliseconds(since: start))
            }
            return sandbox.info()
        }
    }

    /// Makes the working directory where there is none, as Docker does: root's, mode 0755.
    private func makeWorkingDirectory(of sandbox: LiveSandbox) throws(ErrorMessage) {
        guard let path = sandbox.record.spec.workdir else { return }
        let running = try sandbox.running(for: "make its working directory", sparesShell: true)
        do throws(SystemError) {
            let files = try SandboxFiles(inSandboxOf: running.process.pid)
            try files.makeParents(of: "\(path)/.")
            _ = try files.find("\(path)/.")
        } catch {
            throw ErrorMessage(
                .badValue, "--workdir \(path) is no directory in the sandbox, and none can be made there",
                hint: "name another, or a place that can be written to", cause: error.description)
        }
    }

    /// Whether the one whom commands run as is known inside: better said at once than by every command.
    private func checkUser(of sandbox: LiveSandbox) throws(ErrorMessage) {
        guard let user = sandbox.record.spec.user else { return }
        let running = try sandbox.running(for: "look up a user", sparesShell: true)
        do throws(CommandError) { _ = try SandboxUser.find(user, inSandboxOf: running.process.pid) } catch {
            throw error.message
        }
    }

    /// Claims a name, or a made-up one, for a new sandbox; nothing is on disk yet.
    func register(
        named name: String?, _ record: (String) -> SandboxRecord
    ) throws(ErrorMessage) -> LiveSandbox {
        try registry.with { (sandboxes) throws(ErrorMessage) in
            if let name, sandboxes[name] != nil {
                throw ErrorMessage(
                    .nameTaken, "there is a sandbox \(name) already",
                    hint: "choose another name, or ckpt rm -f \(name)")
            }
            var chosen = name
            while chosen == nil {
                let candidate = "box-" + String(UInt32.random(in: 0...0xff_ffff), radix: 36)
                if sandboxes[candidate] == nil { chosen = candidate }
            }
            let sandbox = LiveSandbox(
                record: record(chosen!), directory: directory(of: chosen!),
                isDurable: store.durability == .always, telemetry: telemetry)
            sandboxes[chosen!] = sandbox
            return sandbox
        }
    }

    func makeDirectory(of sandbox: LiveSandbox) throws(ErrorMessage) {
        // What an earlier one of that name left would become a part of it.
        try mapping { () throws(SnapshotTreeError) in try store.discard(sandbox.directory) }
        do throws(SystemError) { try Files.makeDirectory(sandbox.directory) } catch {
            throw ErrorMessage("the directory of sandbox \(sandbox.name) cannot be made", error)
        }
    }

    /// Clears away a sandbox whose making failed. The caller holds its operation.
    func unregister(_ sandbox: LiveSandbox) {
        guard let failure = end(sandbox) else { return }
        report("\(sandbox.directory) is left: \(failure.description)")
        // Without a record the next start knows that nobody wants it.
        unlink(SandboxRecord.path(in: sandbox.directory))
        forget(sandbox)
    }

    private func forget(_ sandbox: LiveSandbox) {
        if sandbox.with({ $0.standsIn }) != nil { removeStandIn(of: sandbox) }
        sandbox.with { $0.isGone = true }
        registry.with { if $0[sandbox.name] === sandbox { $0[sandbox.name] = nil } }
    }

    /// Ends a sandbox and forgets it, whatever its state. The caller holds its operation.
    ///
    /// Where its directory cannot be taken away it stays, dead, and the error is returned: else a later server would
    /// find it again.
    private func end(_ sandbox: LiveSandbox) -> ErrorMessage? {
        sandbox.noticeKills()
        let (running, wasGone) = sandbox.with { state in
            defer {
                state.running = nil
                state.isGone = true
            }
            return (state.running, state.isGone)
        }
        // Its name and directory may be another's by now.
        if wasGone { return nil }
        sandbox.endStranger()
        closeWayOut(of: sandbox)
        var held: HeldNamespaces?
        if let running {
            held = HeldNamespaces(of: running.process, sandbox.record.spec)
            if running.isLarge { running.process.allStandBack() }
            running.kill()
            running.channel.abandon(.disconnected)
            _ = running.process.ended(within: 5000)
            running.filling?.end()
            running.groups.remove()
        }
        do throws(SnapshotTreeError) { try store.discard(sandbox.directory, holding: held) } catch {
            let failure = error.message
            sandbox.with { $0.isGone = false }
            note(sandbox) { record in
                record.state = .dead
                record.process = nil
                record.reason = "it was ended, and its files could not be removed: \(failure.description)"
            }
            return failure
        }
        forget(sandbox)
        return nil
    }

    /// Removes a sandbox; a running one only by `force`. Its snapshots stay.
    public func remove(_ name: String, force: Bool) throws(ErrorMessage) {
        let start = monotonicNanoseconds()
        let sandbox = try find(name)
        try sandbox.exclusively { () throws(ErrorMessage) in
            sandbox.noticeDeath()
            if !force, sandbox.record.state == .running {
                throw ErrorMessage(
                    .inUse, "sandbox \(name) is running", hint: "ckpt rm -f \(name) ends its processes too")
            }
            sandbox.twins?.awaitWriting()
            if let failure = end(sandbox) { throw failure }
            telemetry.emit(.removed) { event in
                (event.sandbox, event.durationMs) = (name, milliseconds(since: start))
            }
        }
    }

    /// Ends the processes of a sandbox, or sends them a signal.
    public func kill(_ name: String, _ request: KillRequest) throws(ErrorMessage) -> SandboxInfo {
        let sandbox = try find(name)
        if let signal = request.signal {
            guard (1...64).contains(signal) else {
                throw ErrorMessage(.badValue, "\(signal) is no signal", hint: "1 to 64")
            }
            let running = try sandbox.running(for: "signal")
            do throws(CommandError) {
                let deadline = monotonicNanoseconds() + Self.commandPatience
                try running.channel.killAll(signal: signal, deadline: deadline)
            } catch {
                throw error.message
            }
            return sandbox.info()
        }
        return try sandbox.exclusively { () throws(ErrorMessage) in
            if sandbox.with({ $0.stranger }) != nil {
                closeWayOut(of: sandbox)
                sandbox.endStranger()
                try sandbox.update { ($0.state, $0.process) = (.stopped, nil) }
                return sandbox.info()
            }
            let running = try sandbox.running(for: "kill", evenPaused: true)
            sandbox.twins?.awaitWriting()
            stop(sandbox, running, by: "kill")
            return sandbox.info()
        }
    }

    /// Ends the processes and keeps the files; leaves the sandbox stopped.
    func stop(
        _ sandbox: LiveSandbox, _ running: LiveSandbox.Running, by operation: String
    ) {
        sandbox.noticeKills()
        sandbox.with { $0.isEnding = true }
        defer { sandbox.with { $0.isEnding = false } }
        running.kill()
        running.channel.abandon(.disconnected)
        _ = running.process.ended(within: 5000)
        running.filling?.end()
        closeWayOut(of: sandbox)
        running.groups.remove()
        sandbox.with { $0.running = nil }
        telemetry.emit(.exited) { event in
            (event.sandbox, event.snapshot) = (sandbox.name, sandbox.record.position)
            (event.operation, event.signal, event.exitCode) = (operation, SIGKILL, 128 + SIGKILL)
        }
        note(sandbox) { record in
            record.state = .stopped
            record.process = nil
        }
    }

    /// Notes in the record what has happened already, and cannot fail any more for a record that cannot be written: it is
    /// tried twice, told, and made good with the next change.
    @discardableResult
    func note(_ sandbox: LiveSandbox, _ change: (inout SandboxRecord) -> Void) -> String? {
        do throws(ErrorMessage) {
            try sandbox.update(change)
            return nil
        } catch {
            report("sandbox \(sandbox.name): \(error.description)")
        }
        do throws(ErrorMessage) {
            try sandbox.update(change)
            return nil
        } catch {
            sandbox.with { change(&$0.record) }
            return "\(error.message): a server that starts before its next change sees it as it was"
        }
    }

    /// Rolls a sandbox back to its base: no processes, an empty writable layer.
    public func reset(_ name: String) throws(ErrorMessage) -> RestoreResult {
        let start = monotonicNanoseconds()
        let sandbox = try find(name)
        return try sandbox.exclusively { () throws(ErrorMessage) in
            sandbox.twins?.awaitWriting()
            let ground = sandbox.record.ground
            if ground.initID != initProgram.currentID {
                try sandbox.update { $0.ground.initID = initProgram.currentID }
            }
            try startFresh(sandbox, position: nil)
            try makeWorkingDirectory(of: sandbox)
            let timings = Timings(totalMs: milliseconds(since: start))
            telemetry.emit(.reset) { ($0.sandbox, $0.durationMs) = (name, timings.totalMs) }
            return RestoreResult(sandbox: sandbox.info(), snapshot: nil, timings: timings)
        }
    }

    public func sandboxes() throws(ErrorMessage) -> SandboxList {
        SandboxList(sandboxes: all.map { $0.infoWithUsage() })
    }

    public func sandbox(_ name: String) throws(ErrorMessage) -> SandboxInfo { try find(name).infoWithUsage() }

    public func logs(_ name: String) throws(ErrorMessage) -> LogList {
        LogList(records: try find(name).log.records())
    }
}
