import Client
import CommandInterface
import Messages

extension Command {
    static let create = Command(
        CommandDescription(
            "create", "make a new sandbox and start it",
            discussion: [
                "The sandbox has its own processes, users, network and files. Its files start as those of the "
                    + "base, which it never changes; with the host base it sees this machine's programs and "
                    + "not its data. The name is printed."
            ],
            operands: [OperandDescription("NAME", .newSandbox)],
            options: SpecOptions.all,
            examples: [
                Example("ckpt create main", "A sandbox with this machine's programs"),
                Example(
                    "ckpt create web --base /srv/rootfs --workdir /app", "One that starts from a directory"),
                Example("ckpt create agent --env SEED=7 --env LANG=C.UTF-8", "One with variables of its own"),
            ],
            triedAs: ["new", "make", "init", "start", "up"], foreign: DockerOptions.foreign)
    ) { call in
        let request = CreateRequest(name: call.words.operand("NAME"), spec: try SpecOptions.spec(call.words))
        let client = call.client()
        let sandbox = try call.waiting("making \(call.words.operand("NAME"))", interrupted: .goesOn) {
            try client.create(request)
        }
        sandbox.warnings.forEach { call.console.note("warning: \($0)") }
        try call.console.print(sandbox, lines: [sandbox.name])
        return 0
    }
}
