import Client
import CommandInterface
import Glibc
import Messages

extension Command {
    static let events = Command(
        CommandDescription(
            "events", "tell what happened to sandboxes and snapshots",
            discussion: [
                "Prints what the server still keeps, the last 4,096 events since it started. With --follow it prints "
                    + "what happens from now on, until Ctrl-C; --since ID begins after that event in either case, so "
                    + "that who comes back with the last number misses nothing. A reader who did miss something is "
                    + "told so by an event `missed`.",
                "Progress of long operations is left out unless --kind progress asks for it.",
                "With --json an event is a line with its number, its time, its kind and what is known of it.",
            ],
            options: [
                OptionDescription(
                    "follow", short: "f", "Go on until Ctrl-C, also when the server is started anew"),
                OptionDescription(
                    "since", value: "ID", .number(0...Int.max), "Begin after the event with this number"),
                OptionDescription("sandbox", value: "NAME", .sandbox, "Only what is about this sandbox"),
                OptionDescription(
                    "kind", value: "KIND", .choice(EventKind.allCases.map(\.rawValue)), repeats: true,
                    "Only events of this kind"),
            ],
            examples: [
                Example("ckpt events", "What happened so far"),
                Example("ckpt events --follow --sandbox main", "Watch one sandbox"),
                Example("ckpt events --kind oom --kind died --json | jq .message", "What went wrong"),
                Example("ckpt events --json | tail -1 | jq .id", "A number to come back with"),
            ],
            triedAs: ["event", "watch", "history", "audit"])
    ) { call in
        var filter = EventFilter(sandbox: call.words.value("sandbox"))
        filter.kinds = Set(call.words.values("kind").compactMap(EventKind.init))
        if filter.kinds.isEmpty { filter.kinds = Set(EventKind.allCases).subtracting([.progress]) }
        let since = call.words.value("since").flatMap { UInt64($0) }
        let show = { (event: Event) in
            try call.console.print(event, lines: [line(of: event, call.console.outStyle)])
        }
        if call.words.has("follow") {
            // Ctrl-C is how this ends, and gives nothing up.
            signal(SIGINT, SIG_DFL)
            try follow(call, since, filter, show)
        } else {
            try read(call.client(), since ?? 0, filter, follows: false) { try show($0) }
        }
        return 0
    }

    /// Reads events; what `show` throws ends the reading and is thrown again.
    private static func read(
        _ client: Client, _ since: UInt64?, _ filter: EventFilter, follows: Bool,
        _ show: (Event) throws -> Void
    ) throws {
        var failure: (any Error)?
        try client.events(since: since, filter: filter, follow: follows) { (event) throws(ErrorMessage) in
            do { try show(event) } catch { failure = error }
            return failure == nil
        }
        if let failure { throw failure }
    }

    /// Goes on with the next server where this one ends; the first is started if need be.
    private static func follow(
        _ call: Invocation, _ since: UInt64?, _ filter: EventFilter, _ show: (Event) throws -> Void
    ) throws {
        // Numbers grow from server to server; without one there is nothing to come back to.
        var last = since
        var client = call.client()
        if last == nil {
            try read(client, 0, EventFilter(), follows: false) { last = $0.id }
        }
        while true {
            try read(client, last, filter, follows: true) { event in
                last = event.id
                try show(event)
            }
            call.console.note("the server has ended; waiting for the next")
            while try call.clientOfRunningServer() == nil { usleep(200_000) }
            client = Client(root: call.root, launch: nil)
        }
    }

    private static func line(of event: Event, _ style: Style) -> String {
        var words = [momentText(event.time), style.paint(event.kind.rawValue, role(of: event.kind))]
        words += [event.sandbox, event.snapshot].compactMap { $0.map(style.clean) }
        if let operation = event.operation { words.append("(\(operation))") }
        if let milliseconds = event.durationMs { words.append(millisecondsText(milliseconds)) }
        if let names = event.names { words.append(style.clean(names.joined(separator: ", "))) }
        if let bytes = event.bytes { words.append(sizeText(bytes: bytes)) }
        if event.kind == .exited || event.kind == .died, let code = event.exitCode {
            words.append("code \(code)")
        }
        if let progress = event.progress { words.append(progressText(progress, style: style)) }
        if let message = event.message { words.append(style.clean(message)) }
        if let error = event.error { words.append(style.clean(error.description)) }
        return words.joined(separator: "  ")
    }

    private static func role(of kind: EventKind) -> Style.Role {
        switch kind {
        case .died, .oom, .crashed, .failed: .bad
        case .missed, .recovered: .warning
        case .created, .saved, .restored, .forked: .good
        default: .plain
        }
    }
}
