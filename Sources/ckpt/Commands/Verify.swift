import Client
import CommandInterface
import Messages

extension Command {
    static let verify = Command(
        CommandDescription(
            "verify", "find out whether what is stored is still what was saved",
            discussion: [
                "Reads every file of the snapshots, of all where none is named, and compares it with the digests "
                    + "that were made when it was saved: contents, sizes, types, modes, owners, attributes, and "
                    + "whether anything is missing or does not belong there. A line for each damage: where, what, "
                    + "and the snapshots it hurts."
            ],
            operands: [OperandDescription("SNAPSHOT", .snapshot, .optionalMany)],
            examples: [
                Example("ckpt verify", "All snapshots and the store itself"),
                Example("ckpt verify ready", "One snapshot"),
                Example("ckpt verify --json | jq -r '.damage[].snapshots[]' | sort -u", "What is hurt"),
            ],
            exitCodes: [ExitCode("1", "something is damaged")],
            triedAs: ["fsck", "scrub"])
    ) { call in
        let client = call.client()
        let report = try call.waiting("verifying", .operation("verify"), interrupted: .nothing) {
            try client.verify(call.words.operands("SNAPSHOT"))
        }
        let style = call.console.outStyle
        try call.console.print(report, lines: report.damage.map { line(of: $0, style) })
        let count = report.snapshots.count
        let read = "\(report.files) files, \(sizeText(bytes: report.bytes))"
        let verdict = report.damage.isEmpty ? "nothing is damaged" : "\(report.damage.count) damaged"
        let what = "\(count) \(count == 1 ? "snapshot" : "snapshots"), \(read)"
        call.console.note("\(verdict): \(what) in \(millisecondsText(report.durationMs))")
        return report.damage.isEmpty ? 0 : 1
    }

    private static func line(of damage: Damage, _ style: Style) -> String {
        let line = "\(style.paint(style.clean(damage.path), .bad)) \(style.clean(damage.problem))"
        if damage.snapshots.isEmpty { return line }
        return "\(line): hurts \(damage.snapshots.joined(separator: " "))"
    }
}
