import CLinux
import Checkpointing
import Client
import CommandInterface
import Glibc
import LinuxSystem
import Messages
import Server
import Telemetry

extension Command {
    static let serve = Command(
        CommandDescription(
            "serve", "run the server of a root, or stop it",
            discussion: [
                "Every other command starts a server when none runs; this one runs it in the foreground, until "
                    + "Ctrl-C. Sandboxes go on running when their server ends; the next one takes them up.",
                "--durability: with none nothing is flushed to the disk; with deferred a snapshot is flushed moments "
                    + "after its save has returned; with snapshot before; with always every other change is too. At "
                    + "every level a crash of the server loses nothing, and a power cut leaves a snapshot whole or "
                    + "takes it whole.",
                "--store-size makes ROOT/pool.img on the first start, a sparse file with XFS or btrfs in it, and mounts "
                    + "it for the server alone; a larger size grows it. Later servers find it without the option.",
                "--replace and --upgrade let the server that runs finish its operations, and take over its socket, on "
                    + "which callers wait meanwhile. Under systemd, systemctl restart does the same.",
                "One that was started by another command logs to server.log in its root, of 8 MiB at most and as "
                    + "much again in server.log.old. In the foreground it logs to stderr, or to systemd's journal "
                    + "where stderr leads there.",
            ],
            options: [
                OptionDescription(
                    "stop", "End the server that runs, if one does, and wait until it has ended"),
                OptionDescription(
                    "durability", value: "LEVEL", .choice(Durability.allCases.map(\.rawValue)),
                    "What survives a power cut; kept for later servers of the root (default: deferred)"),
                OptionDescription(
                    "engine", value: "ENGINE", .choice(Engine.allCases.map(\.rawValue)),
                    "What makes a snapshot where save does not say: criu, or twin, an experiment (default: CKPT_ENGINE, "
                        + "else criu)"),
                OptionDescription(
                    "store-size", value: "SIZE", .spec(.size),
                    "Keep the store in a filesystem of its own with reflinks, of this size at most; also "
                        + "CKPT_STORE_SIZE"),
                OptionDescription(
                    "log-level", value: "LEVEL", .choice(LogLevel.allCases.map(\.rawValue)),
                    "Log from this level on: debug has every request; default: info"),
                OptionDescription(
                    "log-format", value: "FORMAT", .choice(LogFormat.allCases.map(\.rawValue)),
                    "Log key=value words or JSON; default: text"),
                OptionDescription(
                    "log-to", value: "PLACE", .choice(LogOptions.Destination.allCases.map(\.rawValue)),
                    "Log elsewhere"),
                OptionDescription(
                    "metrics-listen", value: "ADDRESS:PORT", .text,
                    "Serve /metrics, and nothing else, to whoever reaches this TCP port"),
                OptionDescription(
                    "replace",
                    "Take the place of the server that runs: nobody who calls meanwhile is turned away"),
                OptionDescription(
                    "upgrade", "The same in the background; returns when the new server serves"),
                OptionDescription(
                    "group", value: "NAME", .text,
                    "Admit the members of a group too: each of them may do what root may"),
                OptionDescription("ready-fd", value: "FD", .number(0...1_048_576), ""),
            ],
            examples: [
                Example("ckpt serve --root /srv/ckpt", "Serve another root, in the foreground"),
                Example("ckpt serve --durability snapshot", "Every save is on the disk when it returns"),
                Example(
                    "ckpt serve --store-size 20g", "Save large files in no time where the root lies on ext4"),
                Example(
                    "ckpt serve --metrics-listen 127.0.0.1:9464", "Let a Prometheus on this machine scrape it"
                ),
                Example("ckpt serve --stop", "End the server; its sandboxes run on"),
                Example("ckpt serve --upgrade", "Let this version of ckpt serve from now on"),
            ],
            triedAs: ["server", "daemon", "start"])
    ) { call in
        let root = call.root
        if call.words.has("stop") { return try stop(call) }
        if call.words.has("upgrade") {
            return try Replacing.inBackground(call, options: backgroundOptions(call.words))
        }
        DescriptorLimit.raise()
        clinux_give_back_large_pieces()
        let engine = try chosenEngine(call.words)
        let ready = ReadyReport(descriptor: call.words.value("ready-fd").flatMap { Int32($0) })
        let access = try call.words.value("group").map { try Access(group: $0) } ?? .owner
        var manager: CheckpointManager?
        let logging = logOptions(call.words)
        let port = call.words.value("metrics-listen")
        let inherited = try inheritedSocket(call, ready)
        try Server.serve(
            root: root, access: access, inherited: inherited, ready: ready, logging: logging, metrics: port
        ) { (telemetry) throws(ErrorMessage) in
            let size = try storeSize(call.words)
            let store = try Workplace.enter { () throws(ErrorMessage) in
                try StorePool.place(root: root, size: size)
            }
            let durability = call.words.value("durability").flatMap(Durability.init(rawValue:))
            let made = try CheckpointManager(
                root: store, servedAs: root, executable: executablePath(), durability: durability,
                engine: engine, telemetry: telemetry)
            manager = made
            return made
        }
        manager?.finish()
        return 0
    }
}

/// The socket of the server whose place this one takes, or the one that systemd gave; nil makes one.
private func inheritedSocket(_ call: Invocation, _ ready: ReadyReport) throws -> InheritedSocket? {
    guard call.words.has("replace") else { return try InheritedSocket(fromEnvironment: ()) }
    do {
        return try Replacing.takeSocket(
            call, executable: executablePath(), metrics: call.words.value("metrics-listen"))
    } catch {
        ready.failed(errorMessage(error))
        throw error
    }
}

/// The options that a server in the background is to have as well.
private func backgroundOptions(_ words: ParsedWords) -> [String] {
    let names = [
        "durability", "engine", "store-size", "log-level", "log-format", "log-to", "metrics-listen", "group",
    ]
    return names.flatMap { name in
        words.value(name).map { ["--\(name)", $0] } ?? []
    }
}

/// What makes snapshots where the caller does not say.
private func chosenEngine(_ words: ParsedWords) throws -> Engine {
    guard let word = words.value("engine") ?? getenv("CKPT_ENGINE").map({ String(cString: $0) }) else {
        return .criu
    }
    guard let engine = Engine(rawValue: word) else {
        throw ErrorMessage(.badValue, "CKPT_ENGINE is no engine: \(word)", hint: "criu or twin")
    }
    return engine
}

/// How large a pool the store is to have.
private func storeSize(_ words: ParsedWords) throws(ErrorMessage) -> ByteSize? {
    if let size = words.value("store-size") { return try ByteSize(size) }
    guard let size = environmentValue("CKPT_STORE_SIZE"), !size.isEmpty else { return nil }
    do throws(ErrorMessage) { return try ByteSize(size) } catch {
        throw ErrorMessage(.badValue, "CKPT_STORE_SIZE is \(size)", hint: error.hint, cause: error.message)
    }
}

/// How the server logs; one that was started by another command has nobody to read its stderr.
private func logOptions(_ words: ParsedWords) -> LogOptions {
    var options = LogOptions(destination: words.has("ready-fd") ? .file : LogOptions.foreground)
    options.level = words.value("log-level").flatMap(LogLevel.init) ?? options.level
    options.format = words.value("log-format").flatMap(LogFormat.init) ?? options.format
    options.destination =
        words.value("log-to").flatMap(LogOptions.Destination.init) ?? options.destination
    return options
}

/// Ends the server and waits for it.
private func stop(_ call: Invocation) throws -> Int32 {
    guard let client = try call.clientOfRunningServer() else {
        call.console.note("no server runs for \(call.root)")
        return 0
    }
    let pid = try client.version().pid
    let number = clinux_pidfd_open(pid)
    try client.shutdown()
    // It may be gone already.
    guard number >= 0 else { return 0 }
    let server = Descriptor(owning: number)
    try call.waiting("ending the server", interrupted: .goesOn) {
        try Replacing.waitForEnd(of: server, pid, milliseconds: 60_000, root: call.root)
    }
    return 0
}

/// Where this program lies.
private func executablePath() -> String {
    (try? Files.canonical("/proc/self/exe")) ?? CommandLine.arguments[0]
}
