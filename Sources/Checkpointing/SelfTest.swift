import LinuxSystem
import Messages

extension CheckpointManager {
    /// Makes sandboxes of its own, and looks whether they keep what they must.
    func selfTests() -> [DoctorCheck] {
        let name = "doctor-\(String(UInt32.random(in: 0 ... .max), radix: 36))"
        return [roundTrip(name), portWall("\(name)-wall")]
    }

    /// A variable in memory and a file over a save, a restore and a fork.
    private func roundTrip(_ name: String) -> DoctorCheck {
        var snapshot: String?
        var step = "create"
        var times: [String] = []
        defer { clear(sandboxesOf: name, snapshot) }
        do throws(ErrorMessage) {
            func timed<Result>(
                _ what: String, _ body: () throws(ErrorMessage) -> Result
            ) throws(ErrorMessage) -> Result {
                step = what
                let began = monotonicNanoseconds()
                let result = try body()
                times.append("\(what) \(Int(milliseconds(since: began).rounded(.up))) ms")
                return result
            }
            _ = try timed("create") { () throws(ErrorMessage) in
                try create(CreateRequest(name: name, spec: SandboxSpec()))
            }
            try expect("1", of: name, "n=1; echo $n | tee /root/kept")
            let saved = try timed("save") { () throws(ErrorMessage) in
                try save(name, SaveRequest(), cancelled: .never)
            }
            snapshot = saved.id
            // The next line shows that it ran on, and leaves what must not be there afterwards.
            try expect("2", of: name, "n=$((n + 1)); echo $n | tee /root/kept")
            _ = try timed("restore") { () throws(ErrorMessage) in try restore(name, RestoreRequest()) }
            try expect("1 1", of: name, "echo $n $(cat /root/kept)")
            let forked = try timed("fork") { () throws(ErrorMessage) in
                try fork(ForkRequest(source: saved.id, prefix: "\(name)-fork"), cancelled: .never)
            }
            step = "look into the fork"
            try expect("2 1", of: forked.sandboxes[0].name, "n=$((n + 1)); echo $n $(cat /root/kept)")
            step = "remove"
            try remove(forked.sandboxes[0].name, force: true)
            try remove(name, force: true)
            _ = try delete(saved.id, subtree: false, keepingChildren: false)
            snapshot = nil
            return DoctorCheck(
                name: "self-test", status: .ok,
                detail: "memory and files are right after a save, a restore and in a fork: "
                    + times.joined(separator: ", "))
        } catch {
            return DoctorCheck(
                name: "self-test", status: .failed, detail: "\(step): \(error.description)",
                hint: error.hint ?? "see what failed above, and \(root)/server.log")
        }
    }

    /// The wall around ports takes nftables in the kernel.
    private func portWall(_ name: String) -> DoctorCheck {
        var spec = SandboxSpec()
        spec.security.allowPorts = [443]
        defer { clear(sandboxesOf: name, nil) }
        do throws(ErrorMessage) {
            _ = try create(CreateRequest(name: name, spec: spec))
            return DoctorCheck(
                name: "nftables", status: .ok, detail: "ports can be walled off (--allow-port)")
        } catch {
            return DoctorCheck(
                name: "nftables", status: .warning,
                detail: "--allow-port cannot be had: \(error.description)",
                hint: error.hint ?? "modprobe nf_tables")
        }
    }

    private func expect(_ answer: String, of name: String, _ text: String) throws(ErrorMessage) {
        var request = ExecRequest(argv: [text])
        request.session = "doctor"
        request.timeout = 20
        let result = try exec(name, request, cancelled: .never)
        let said = (result.stdout ?? "").split(separator: "\n").joined(separator: " ")
        guard result.exitCode == 0, said == answer else {
            throw ErrorMessage(
                .internal, "its bash says \"\(said)\" (exit code \(result.exitCode)) and not \"\(answer)\"",
                cause: result.stderr)
        }
    }

    /// Takes away what a failure left.
    private func clear(sandboxesOf name: String, _ snapshot: String?) {
        for sandbox in all where sandbox.name == name || sandbox.name.hasPrefix("\(name)-fork") {
            try? remove(sandbox.name, force: true)
        }
        if let snapshot { _ = try? delete(snapshot, subtree: true, keepingChildren: false) }
    }
}
