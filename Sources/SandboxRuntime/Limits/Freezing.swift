import Glibc
public import LinuxSystem
import Messages

extension SandboxGroups {
    /// Whether its processes are kept from running.
    public var isFrozen: Bool {
        guard let file = freezer else { return false }
        let text = (try? Files.read(file.path)) ?? []
        return file.isUnified ? text.first == UInt8(ascii: "1") : text.starts(with: Array("FR".utf8))
    }

    /// The group that `freeze` stops; nil where there is none.
    public var frozenDirectory: String? { unified ?? legacy["freezer"] }

    /// Stops every process in the groups until `thaw`; returns when all stand still, 5 s at most.
    public func freeze() throws(RuntimeError) {
        guard let file = freezer else { return }
        do throws(SystemError) {
            try Files.put(file.isUnified ? "1" : "FROZEN", to: file.path)
            let deadline = monotonicNanoseconds() + 5_000_000_000
            while !standsStill(file) {
                guard monotonicNanoseconds() < deadline else {
                    try thaw(file)
                    throw SystemError(call: "freeze", code: ETIMEDOUT, subject: file.path)
                }
                // v1 forgets who was forked meanwhile, unless asked again (cgroup-v1/freezer-subsystem.rst).
                if !file.isUnified { try Files.put("FROZEN", to: file.path) }
                usleep(500)
            }
        } catch {
            throw .limit(
                ErrorMessage(
                    RuntimeError.kind(error.code), "its processes cannot be stopped", hint: "try again",
                    cause: error.description))
        }
    }

    /// Lets them run on. Harmless when they do.
    public func thaw() {
        if let file = freezer { try? thaw(file) }
    }

    private var freezer: (path: String, isUnified: Bool)? {
        if let unified { return ("\(unified)/cgroup.freeze", true) }
        return legacy["freezer"].map { ("\($0)/freezer.state", false) }
    }

    private func thaw(_ file: (path: String, isUnified: Bool)) throws(SystemError) {
        try Files.put(file.isUnified ? "0" : "THAWED", to: file.path)
    }

    private func standsStill(_ file: (path: String, isUnified: Bool)) -> Bool {
        if file.isUnified {
            let events = (try? Files.read("\(unified!)/cgroup.events")) ?? []
            return String(decoding: events, as: UTF8.self).contains("frozen 1")
        }
        return ((try? Files.read(file.path)) ?? []).starts(with: Array("FROZEN".utf8))
    }

    /// Moves every process of a sandbox into the groups, however fast they are made.
    public func placeAll(of process: SandboxProcess) throws(SystemError) {
        var placed: Set<Int32> = []
        while true {
            // Who is forked by one that was moved is born in the group.
            let left = process.hostPids().filter { !placed.contains($0) }
            if left.isEmpty { return }
            for pid in left {
                do throws(SystemError) { try place(pid) } catch {
                    if error.code != ESRCH { throw error }
                }
                placed.insert(pid)
            }
        }
    }
}
