import Glibc
import LinuxSystem
public import Messages
import SandboxRuntime

extension CheckpointManager {
    public func wait(
        _ name: String, seconds: Double, cancelled: Cancellation
    ) throws(ErrorMessage) -> WaitResult {
        guard (0...30).contains(seconds) else {
            throw ErrorMessage(.badValue, "a wait of \(seconds) s", hint: "0 to 30 seconds at a time")
        }
        let deadline = monotonicNanoseconds() + UInt64(seconds * 1e9)
        let sandbox = try find(name)
        while true {
            let (process, isGone) = sandbox.with { ($0.running?.process, $0.isGone) }
            if isGone { return WaitResult(ended: true, state: nil, exitCode: 137) }
            guard let process else { break }
            if process.isAlive {
                if monotonicNanoseconds() >= deadline { return WaitResult(ended: false, state: .running) }
                try cancelled.check()
                _ = process.ended(within: 200)
                continue
            }
            // Whoever ends it on purpose writes down why; a restore puts another in its place.
            _ = try? sandbox.exclusively { () throws(ErrorMessage) in sandbox.noticeDeath() }
        }
        let record = sandbox.record
        return WaitResult(ended: true, state: record.state, exitCode: 137, reason: record.reason)
    }

    public func top(
        _ name: String, interval: Double, cancelled: Cancellation
    ) throws(ErrorMessage) -> ProcessTable {
        guard (0...10).contains(interval) else {
            throw ErrorMessage(.badValue, "an interval of \(interval) s", hint: "0 to 10 seconds")
        }
        let sandbox = try find(name)
        let first = ProcessSample(
            of: try sandbox.running(for: "look at its processes", evenPaused: true).process)
        if interval == 0 { return first.table() }
        let deadline = monotonicNanoseconds() + UInt64(interval * 1e9)
        while true {
            let now = monotonicNanoseconds()
            if now >= deadline { break }
            usleep(UInt32(min(deadline - now, 100_000_000) / 1000) + 1)
            try cancelled.check()
        }
        let process = try sandbox.running(for: "look at its processes", evenPaused: true).process
        return ProcessSample(of: process).table(since: first)
    }
}
