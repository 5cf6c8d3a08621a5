import Client
import CommandInterface
import Messages

extension Command {
    static let inspect = Command(
        CommandDescription(
            "inspect", "look into a snapshot: its processes, files, sockets, memory, timers, mounts",
            discussion: [
                "The processes as a tree, by the pids they have inside the sandbox, with what each of them holds: "
                    + "credentials, limits, threads and the system call each is in, signals, timers, open "
                    + "descriptors with who holds the other end of each pipe and socket, and memory.",
                "Without an option for a part the page shows everything but each mapping, the environment and the "
                    + "registers; --json has everything then, in the form of docs/inspect.schema.json. With "
                    + "such options, only those parts.",
            ],
            operands: [OperandDescription("SNAPSHOT", .snapshot)],
            options: [
                OptionDescription(
                    "pid", short: "p", value: "PID", .number(1...Int(Int32.max)), "Only this process"),
                OptionDescription("files", "The open descriptors"),
                OptionDescription("memory", "Each mapping, and where its pages are"),
                OptionDescription("sockets", "The open sockets, with both ends"),
                OptionDescription("env", "The environment of each process as it is in its memory"),
                OptionDescription("regs", "The registers of each thread"),
            ],
            examples: [
                Example("ckpt inspect main", "Where the sandbox main was when it was last saved"),
                Example(
                    "ckpt inspect ready --pid 14 --env --files",
                    "One process, its environment and descriptors"),
                Example("ckpt inspect ready --sockets", "Who is connected to whom"),
                Example("ckpt inspect ready --json | jq '.processes[].arguments'", "All command lines"),
            ],
            triedAs: ["look", "dissect", "lsof", "pstree"])
    ) { call in
        let words = call.words
        let request = InspectRequest(
            pid: words.number("pid"), files: words.has("files"), sockets: words.has("sockets"),
            memory: words.has("memory"), environment: words.has("env"), registers: words.has("regs"))
        let narrowed = [
            request.files, request.sockets, request.memory, request.environment, request.registers,
        ]
        .contains(true)
        var parts = InspectionPage.Parts()
        if narrowed {
            (parts.surroundings, parts.summary) = (false, false)
            parts.files = request.files || request.sockets
            (parts.regions, parts.environment, parts.registers) = (
                request.memory, request.environment, request.registers
            )
        } else {
            parts.surroundings = request.pid == nil
        }
        // What the page does not show need not be read.
        var asked = request
        if !narrowed, !call.console.json { asked.files = true }
        let client = call.client()
        let wanted = asked
        let inspection = try call.waiting("reading the images", interrupted: .nothing) {
            try client.inspect(words.operand("SNAPSHOT"), wanted)
        }
        let style = call.console.outStyle
        try call.console.print(
            inspection, lines: InspectionPage(inspection, parts: parts, style: style).lines())
        return 0
    }
}
