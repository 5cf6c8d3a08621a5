import Checkpointing
import Client
import CommandInterface
import Messages

extension Command {
    static let doctor = Command(
        CommandDescription(
            "doctor", "check whether this machine has what ckpt needs",
            discussion: [
                "One line a check: ok, warning (something is slower, smaller or missing) or failed, with what to do. "
                    + "Looked at are the kernel, CRIU and what it finds of the kernel, rights, namespaces, cgroups, "
                    + "overlayfs, the store's filesystem and room, limits, seccomp, Landlock, nftables, the network "
                    + "helper and gdb.",
                "The line recovery says what the server found when it started, and what it put right: a crash may lie "
                    + "before that.",
                "At the end a sandbox is made, saved, restored and forked, what is in its memory and files is looked "
                    + "at each time, and all of it is removed again; --quick leaves that out. Where no server can be "
                    + "started the rest is checked all the same.",
            ],
            options: [OptionDescription("quick", aliases: ["no-self-test"], "Look, and make no sandbox")],
            examples: [
                Example("ckpt doctor", "Check everything"),
                Example(
                    "ckpt doctor --json | jq '.checks[] | select(.status != \"ok\")'", "Only what is amiss"),
            ],
            exitCodes: [ExitCode("1", "a check failed")],
            triedAs: ["diagnose", "health"])
    ) { call in
        let report: DoctorReport = call.waiting("checking", interrupted: .nothing) { examine(call) }
        try call.console.print(report, lines: report.checks.flatMap { lines(of: $0, call.console.outStyle) })
        return report.healthy ? 0 : 1
    }

    private static func examine(_ call: Invocation) -> DoctorReport {
        do throws(ErrorMessage) {
            return try call.client().doctor(selfTest: !call.words.has("quick"))
        } catch {
            let server = DoctorCheck(
                name: "server", status: .failed, detail: "no server can be had: \(error.description)",
                hint: error.hint ?? "see \(call.root)/server.log")
            return DoctorReport(checks: MachineCheckup.withoutServer(root: call.root).checks + [server])
        }
    }

    private static func lines(of check: DoctorCheck, _ style: Style) -> [String] {
        let role: Style.Role =
            switch check.status {
            case .ok: .good
            case .warning: .warning
            case .failed: .bad
            }
        let status = check.status.rawValue
        let fill = String(repeating: " ", count: 7 - status.count)
        let first =
            "\(style.paint(status, role))\(fill)  \(style.clean(check.name)): \(style.clean(check.detail))"
        guard let hint = check.hint, check.status != .ok else { return [first] }
        return [first, "         hint: \(style.clean(hint))"]
    }
}
