import Client
import CommandInterface

extension Command {
    static let metrics = Command(
        CommandDescription(
            "metrics", "print what the server counts, for Prometheus",
            discussion: [
                "In Prometheus's text format: operations by kind and result, how long they took, how long saves let "
                    + "sandboxes stand still, sandboxes, snapshots and their bytes, errors, and what the server itself "
                    + "uses. docs/operations.md has the list. With --json, one string."
            ],
            examples: [
                Example("ckpt metrics", "All numbers"),
                Example("ckpt metrics | grep ckpt_sandboxes", "How many sandboxes there are"),
                Example(
                    "ckpt metrics > /var/lib/node_exporter/ckpt.prom",
                    "Hand them to node_exporter's textfile collector"
                ),
            ],
            triedAs: ["prometheus", "counters"])
    ) { call in
        let text = try call.client().metrics()
        if call.console.json {
            try call.console.printJSON(["metrics": text])
        } else {
            try writeAll(text, to: 1)
        }
        return 0
    }
}
