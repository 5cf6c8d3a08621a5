import LinuxSystem
import Messages
import Telemetry

/// What a server found at its start, and what it did about it: a crash, of it or of the machine, may lie before.
struct PutRight {
    /// Sandboxes that run on, by name.
    var runningOn: [String] = []
    /// Sandboxes that are dead, each with why and with its last snapshot.
    var died: [String] = []
    /// Everything else, one sentence each.
    var mended: [String] = []
    /// Whether snapshots were among it that are gone or damaged.
    var hasLost = false

    /// Names or sentences that are told of one kind at most.
    private static let most = 8

    /// What `ckpt doctor` says of it.
    var check: DoctorCheck {
        var parts: [String] = []
        if !runningOn.isEmpty {
            let count = runningOn.count
            parts.append(count == 1 ? "1 sandbox runs on" : "\(count) sandboxes run on")
        }
        parts += Self.bounded(died) + Self.bounded(mended)
        let start = "when this server started: "
        guard died.isEmpty else {
            return DoctorCheck(
                name: "recovery", status: .warning, detail: start + parts.joined(separator: "; "),
                hint: "ckpt restore NAME takes a dead sandbox back to its last snapshot")
        }
        if mended.isEmpty { parts.append("nothing to put right") }
        return DoctorCheck(
            name: "recovery", status: hasLost ? .warning : .ok, detail: start + parts.joined(separator: "; "),
            hint: hasLost ? "ckpt verify names all damage; ckpt gc removes what cannot be read" : nil)
    }

    private static func bounded(_ sentences: [String]) -> [String] {
        guard sentences.count > most else { return sentences }
        return sentences.prefix(most) + ["and \(sentences.count - most) more, see server.log"]
    }
}

extension CheckpointManager {
    /// Tells, and keeps for `ckpt doctor`, that something a crash left was mended.
    func mended(_ sentence: String, sandbox: String? = nil, count: Int? = nil, bytes: Int64? = nil) {
        putRight.with { $0.mended.append(sentence) }
        telemetry.emit(.recovered) { event in
            (event.sandbox, event.message) = (sandbox, sentence)
            (event.count, event.bytes) = (count, bytes)
        }
    }

    /// The same of a sandbox that was taken up.
    func runsOn(_ sandbox: LiveSandbox, _ pid: Int32, isPaused: Bool) {
        putRight.with { $0.runningOn.append(sandbox.name) }
        telemetry.emit(.recovered) { event in
            event.sandbox = sandbox.name
            event.message =
                "sandbox \(sandbox.name) runs on as process \(pid)\(isPaused ? ", paused" : "")"
        }
    }

    /// The same of a sandbox that could not be.
    func foundDead(_ sandbox: LiveSandbox, _ reason: String) {
        let position = sandbox.record.position
        let last = position.map { "its last snapshot is \($0)" } ?? "it has no snapshot"
        let sentence = "sandbox \(sandbox.name) is dead: \(reason); \(last)"
        putRight.with { $0.died.append(sentence) }
        telemetry.emit(.died) { event in
            (event.sandbox, event.snapshot, event.message) = (sandbox.name, position, sentence)
        }
    }
}
