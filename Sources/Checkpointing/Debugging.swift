import Glibc
import LinuxSystem
public import Messages
import SandboxRuntime
import SnapshotTree
import Telemetry

extension CheckpointManager {
    /// Restores a snapshot into a fresh sandbox, with every process but PID 1 stopped at the snapshot's instant.
    public func debug(_ request: DebugRequest) throws(ErrorMessage) -> DebugSession {
        let snapshot = try resolve(request.snapshot)
        guard snapshot.manifest.processes > 0 else {
            throw ErrorMessage(
                .notFound, "snapshot \(snapshot.id) holds files alone: there are no processes in it")
        }
        let ground = try Ground(manifest: snapshot.manifest)
        let sandbox = try register(named: "debug-" + String(UInt32.random(in: 0...0xff_ffff), radix: 36)) {
            SandboxRecord(name: $0, spec: snapshot.spec, created: secondsSince1970(), ground: ground)
        }
        do throws(ErrorMessage) {
            try leasing(snapshot) { () throws(ErrorMessage) in
                try checkBeforeUse(snapshot, thoroughly: false)
                try sandbox.exclusively { () throws(ErrorMessage) in
                    try makeDirectory(of: sandbox)
                    sandbox.with { $0.isDebugged = true }
                    var timings = Timings(totalMs: 0)
                    _ = try bringToLife(snapshot, in: sandbox, stopped: true, &timings)
                }
            }
            let table = ProcessSample(of: try sandbox.running(for: "debug").process).table()
            let processes = table.processes.filter { $0.pid != 1 }.map {
                DebuggedProcess(pid: Int($0.pid), hostPid: Int($0.hostPid), command: $0.command)
            }
            telemetry.emit(.forked) { event in
                (event.operation, event.snapshot) = ("debug", snapshot.id)
                (event.names, event.count) = ([sandbox.name], 1)
            }
            // Who was killed before it could hold the sandbox leaves it to nobody.
            startThread {
                sleep(10)
                if sandbox.with({ $0.isHeld }) { return }
                self.removeDebugged(sandbox)
            }
            return DebugSession(
                sandbox: sandbox.name, snapshot: snapshot.id, processes: processes,
                crash: snapshot.manifest.crash)
        } catch {
            try? sandbox.exclusively { () throws(ErrorMessage) in unregister(sandbox) }
            throw error
        }
    }

    /// Waits until the caller goes away, and removes the sandbox then.
    public func hold(_ name: String, cancelled: Cancellation) throws(ErrorMessage) {
        let sandbox = try find(name)
        sandbox.with { $0.isHeld = true }
        while !cancelled.isCancelled {
            if registry.with({ $0[name] !== sandbox }) { return }
            guard let descriptor = cancelled.descriptor else {
                throw ErrorMessage(.badRequest, "a sandbox is held only for a caller that can go away")
            }
            var entry = pollfd(fd: descriptor, events: Cancellation.events, revents: 0)
            _ = poll(&entry, 1, 250)
        }
        removeDebugged(sandbox)
    }

    /// Removes it, unless somebody else did.
    private func removeDebugged(_ sandbox: LiveSandbox) {
        try? sandbox.exclusively { () throws(ErrorMessage) in
            unregister(sandbox)
            telemetry.emit(.removed) { ($0.operation, $0.sandbox) = ("debug", sandbox.name) }
        }
    }
}
