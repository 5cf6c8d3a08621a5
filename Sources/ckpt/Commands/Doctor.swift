import Client
import CommandInterface
import Messages

extension Command {
    static let doctor = Command(
        CommandDescription(
            "doctor", "check whether this machine has what ckpt needs",
            discussion: ["One line a check, with what to do where something is amiss."],
            examples: [
                Example("ckpt doctor", "Check everything"),
                Example(
                    "ckpt doctor --json | jq '.checks[] | select(.status != \"ok\")'", "Only what is amiss"),
            ],
            exitCodes: [ExitCode("125", "a check failed, or the checks could not be made")],
            triedAs: ["diagnose", "health"])
    ) { call in
        let client = call.client()
        let report = try call.waiting("checking") { try client.doctor() }
        try call.console.print(report, lines: report.checks.flatMap { lines(of: $0, call.console.outStyle) })
        return report.healthy ? 0 : ExitStatus.failure
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
