import Client
import CommandInterface
import Messages

extension Command {
    static let version = Command(
        CommandDescription(
            "version", "print the versions of ckpt and of its server, if one runs",
            discussion: ["No server is started for it."],
            examples: [
                Example("ckpt version", "Both versions"),
                Example("ckpt version --json | jq -r .client.version", "The version of this program"),
            ])
    ) { call in
        let server = try call.clientOfRunningServer()?.version()
        if call.console.json {
            try call.console.printJSON(Versions(server: server))
            return 0
        }
        var lines = ["ckpt \(Product.version) (store format \(Product.storeFormat), API \(Product.api))"]
        if let server {
            lines.append(
                "server \(server.version) (store format \(server.format), API \(server.api), pid \(server.pid), "
                    + "durability \((server.durability ?? .standard).rawValue))"
            )
        } else {
            lines.append("no server runs for \(call.root)")
        }
        try call.console.printLines(lines)
        return 0
    }
}

/// What `ckpt version --json` prints.
private struct Versions: Encodable {
    struct Own: Encodable {
        let version = Product.version
        let format = Product.storeFormat
        let api = Product.api
    }
    let client = Own()
    let server: VersionInfo?
}
