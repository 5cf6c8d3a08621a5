import Glibc
import LinuxSystem
import Messages
import SandboxRuntime
import SnapshotTree

extension CheckpointManager {
    /// Saves a sandbox one of whose processes stands still because it is about to die, and lets that go on.
    ///
    /// A sandbox that was just restored to, or forked from, such a snapshot is not saved again.
    func saveCrash(_ crash: CrashInfo, of sandbox: LiveSandbox) {
        let isNew = sandbox.with { !$0.isDebugged && $0.crashing.insert(crash.pid).inserted }
        guard isNew else { return }
        defer { sandbox.with { _ = $0.crashing.remove(crash.pid) } }
        // Where it is being restored, to what is known when that is over.
        let wasSaved = (try? sandbox.exclusively { isSaved(crash, of: sandbox) }) ?? true
        if !wasSaved {
            do throws(ErrorMessage) {
                let request = SaveRequest(tag: crashTag(crash, of: sandbox), message: crash.sentence)
                let info = try save(sandbox.name, request, crash: crash, cancelled: .never)
                tellCrash(
                    crash, of: sandbox, "\(crash.sentence); saved as \(info.tags.first ?? info.id)", info.id)
            } catch {
                tellCrash(crash, of: sandbox, "\(crash.sentence); it could not be saved", nil, error)
            }
        }
        sandbox.with { $0.running }?.channel.finishCrash(of: crash.pid)
    }

    private func isSaved(_ crash: CrashInfo, of sandbox: LiveSandbox) -> Bool {
        guard let position = sandbox.record.position, let record = try? store.resolve(reference: position)
        else {
            return false
        }
        return record.manifest.crash == crash
    }

    /// `crash-NAME-PID`, or with a number after it the first that is free.
    private func crashTag(_ crash: CrashInfo, of sandbox: LiveSandbox) -> String {
        let plain = "crash-\(sandbox.name.prefix(40))-\(crash.pid)"
        var (tag, number) = (plain, 2)
        while (try? store.checkTagFree(tag)) == nil {
            tag = "\(plain)-\(number)"
            number += 1
        }
        return tag
    }
}

extension CrashInfo {
    /// What happened, in words: `process 14 (app) got signal 11 (Segmentation fault) at 0x1000`.
    var sentence: String {
        let name = String(cString: strsignal(Int32(clamping: signal)))
        // Those that tell of an address.
        let place = [SIGSEGV, SIGBUS, SIGILL, SIGFPE].contains(Int32(clamping: signal)) && code > 0
        return "process \(pid) (\(command)) got signal \(signal) (\(name))"
            + (place ? " at 0x" + String(address, radix: 16) : "")
    }
}
