import Glibc
import LinuxSystem
public import Messages
import SandboxRuntime
import Telemetry

extension CheckpointManager {
    public func stats(
        _ name: String, interval: Double, cancelled: Cancellation
    ) throws(ErrorMessage) -> SandboxStatistics {
        guard (0...10).contains(interval) else {
            throw ErrorMessage(.badValue, "an interval of \(interval) s", hint: "0 to 10 seconds")
        }
        let sandbox = try find(name)
        var running = try sandbox.running(for: "look at what it uses", evenPaused: true)
        var sample = ResourceSample(of: running.process, in: running.groups)
        if interval > 0 {
            try pause(seconds: interval, cancelled)
            running = try sandbox.running(for: "look at what it uses", evenPaused: true)
            sample = ResourceSample(of: running.process, in: running.groups).since(sample)
        }
        return SandboxStatistics(
            sandbox: name, state: running.isPaused ? .paused : .running, time: secondsSince1970(),
            cpu: sample.cpu, memory: sample.memory, pids: sample.pids, io: sample.io,
            pressure: running.groups.pressure)
    }

    /// Waits, unless the caller goes away.
    func pause(seconds: Double, _ cancelled: Cancellation) throws(ErrorMessage) {
        let deadline = monotonicNanoseconds() + UInt64(seconds * 1e9)
        while true {
            let now = monotonicNanoseconds()
            if now >= deadline { return }
            usleep(UInt32(min(deadline - now, 100_000_000) / 1000) + 1)
            try cancelled.check()
        }
    }

    public func reclaim(_ name: String, _ request: ReclaimRequest) throws(ErrorMessage) -> ReclaimResult {
        if let bytes = request.bytes, bytes <= 0 {
            throw ErrorMessage(.badValue, "\(bytes) bytes cannot be given back", hint: "1 or more, as 64m")
        }
        let running = try find(name).running(for: "take memory from it", evenPaused: true)
        let used = { ResourceSample(of: running.process, in: running.groups).memory.currentBytes }
        let before = used()
        running.process.reclaim(request.bytes, in: running.groups)
        return ReclaimResult(beforeBytes: before, afterBytes: used())
    }

    public func pause(_ name: String) throws(ErrorMessage) -> SandboxInfo {
        let sandbox = try find(name)
        return try sandbox.exclusively { () throws(ErrorMessage) in
            var running = try sandbox.running(for: "pause it", evenPaused: true)
            if running.isPaused { return sandbox.info() }
            // A copy that stands still has to run for that.
            sandbox.twins?.awaitWriting()
            try freeze(sandbox, &running)
            running.channel.revokeLoans()
            running.isPaused = true
            sandbox.with { $0.running = running }
            telemetry.emit(.paused) { $0.sandbox = name }
            return sandbox.info()
        }
    }

    /// The line to PID 1 is closed meanwhile, so that whoever follows a command waits, and a save finds a closed world.
    private func freeze(_ sandbox: LiveSandbox, _ running: inout LiveSandbox.Running) throws(ErrorMessage) {
        let before = running.groups
        do throws(RuntimeError) {
            let name = groupName(of: sandbox, sandbox.record.incarnation)
            running.groups = try control.makeFreezer(named: name, besides: before)
        } catch { throw error.message }
        if running.groups != before {
            do throws(SystemError) { try running.groups.placeAll(of: running.process) } catch {
                throw ErrorMessage(
                    "sandbox \(sandbox.name) cannot be moved into a cgroup that freezes", error)
            }
            sandbox.with { $0.running?.groups = running.groups }
        }
        let deadline = monotonicNanoseconds() + Self.commandPatience
        do throws(CommandError) { try running.channel.quiesce(deadline: deadline) } catch {
            throw error.message
        }
        do throws(RuntimeError) { try running.groups.freeze() } catch {
            _ = try? running.channel.resume(pid: running.process.pid, deadline: deadline)
            throw error.message
        }
    }

    public func unpause(_ name: String) throws(ErrorMessage) -> SandboxInfo {
        let sandbox = try find(name)
        return try sandbox.exclusively { () throws(ErrorMessage) in
            var running = try sandbox.running(for: "unpause it", evenPaused: true)
            if !running.isPaused { return sandbox.info() }
            running.groups.thaw()
            running.isPaused = false
            sandbox.with { $0.running = running }
            let deadline = monotonicNanoseconds() + Self.commandPatience
            do throws(CommandError) {
                try running.channel.resume(pid: running.process.pid, deadline: deadline)
            } catch { throw error.message }
            telemetry.emit(.unpaused) { $0.sandbox = name }
            return sandbox.info()
        }
    }

    /// Throws for more CPUs than this machine has: the limit would be none, and who sets it thinks otherwise.
    static func checkProcessors(_ limits: ResourceLimits) throws(ErrorMessage) {
        guard let cpus = limits.cpus else { return }
        let count = sysconf(Int32(_SC_NPROCESSORS_ONLN))
        if cpus.quota <= cpus.period * Int64(count) { return }
        throw ErrorMessage(
            .badValue,
            "--cpus \(cpus): the range of CPUs is from 0.01 to \(count), as there are only \(count) here",
            hint: "leave it out for no limit")
    }

    public func update(_ name: String, _ request: UpdateRequest) throws(ErrorMessage) -> SandboxInfo {
        let sandbox = try find(name)
        let lifted = Set(request.lift ?? [])
        var limits = sandbox.record.spec.limits
        limits.lift(lifted)
        limits.merge(request.limits)
        try Self.checkProcessors(request.limits)
        var spec = sandbox.record.spec
        spec.limits = limits
        try spec.check()
        return try sandbox.exclusively { () throws(ErrorMessage) in
            let running = try sandbox.running(for: "change its limits", evenPaused: true)
            let before = sandbox.record.spec.limits
            var warnings: [String] = []
            do throws(RuntimeError) {
                try running.groups.lift(lifted, of: before, in: control)
                warnings = try extend(sandbox, running, to: limits).apply(limits, in: control)
            } catch {
                _ = try? running.groups.apply(before, in: control)
                throw error.message
            }
            sandbox.with { $0.warnings = warnings }
            try sandbox.update { record in
                record.spec.limits = limits
                record.warnings = warnings
            }
            return sandbox.info()
        }
    }

    /// The sandbox's groups, with one for every controller that the limits need.
    private func extend(
        _ sandbox: LiveSandbox, _ running: LiveSandbox.Running, to limits: ResourceLimits
    ) throws(RuntimeError) -> SandboxGroups {
        let name = running.groups.name ?? groupName(of: sandbox, sandbox.record.incarnation)
        let groups = try control.makeGroups(named: name, for: limits).joined(with: running.groups)
        if groups != running.groups {
            do throws(SystemError) { try groups.placeAll(of: running.process) } catch { throw .system(error) }
            sandbox.with { $0.running?.groups = groups }
        }
        return groups
    }

    /// Removes groups that no sandbox has.
    func sweepGroups() {
        control.sweep(keeping: Set(all.compactMap { $0.with { $0.running?.groups.name } }))
    }
}

extension LiveSandbox {
    /// What the API tells of it, with what it uses now.
    func infoWithUsage() -> SandboxInfo {
        var info = info()
        guard let running = with({ $0.running }) else { return info }
        let sample = ResourceSample(of: running.process, in: running.groups)
        let shown = with { state in
            let before = state.lastSample
            if before.map({ sample.time - $0.time > 1_000_000_000 }) ?? true { state.lastSample = sample }
            return before.map { sample.since($0) } ?? sample
        }
        info.usage = SandboxUsage(
            cpuPercent: shown.cpu.percent, memoryBytes: shown.memory.currentBytes,
            pids: shown.pids.current - (running.channel.hasSpareShell ? 1 : 0))
        return info
    }
}
