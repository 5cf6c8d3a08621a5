import CLinux
import Checkpointing
import Client
import CommandInterface
import Glibc
import LinuxSystem
import Messages
import Server

extension Command {
    static let serve = Command(
        CommandDescription(
            "serve", "run the server of a root, or stop it",
            discussion: [
                "Every other command starts a server when none runs; this one runs it in the foreground, until "
                    + "Ctrl-C. Sandboxes go on running when their server ends; the next one takes them up."
            ],
            options: [
                OptionDescription(
                    "stop", "End the server that runs, if one does, and wait until it has ended"),
                OptionDescription("ready-fd", value: "FD", .number(0...1_048_576), ""),
            ],
            examples: [
                Example("ckpt serve --root /srv/ckpt", "Serve another root, in the foreground"),
                Example("ckpt serve --stop", "End the server; its sandboxes run on"),
            ],
            triedAs: ["server", "daemon", "start"])
    ) { call in
        let root = call.root
        if call.words.has("stop") { return try stop(call) }
        let ready = ReadyReport(descriptor: call.words.value("ready-fd").flatMap { Int32($0) })
        var manager: CheckpointManager?
        try Server.serve(root: root, ready: ready) { () throws(ErrorMessage) in
            do throws(SystemError) { try Workplace.enter(root: root) } catch {
                throw ErrorMessage(
                    error.code == EPERM ? .notPermitted : .internal,
                    "the server cannot have mounts of its own",
                    hint: error.code == EPERM ? "run ckpt as root" : nil, cause: error.description)
            }
            let made = try CheckpointManager(root: root, executable: executablePath()) { line in
                let text = line + "\n"
                _ = write(STDERR_FILENO, text, text.utf8.count)
            }
            manager = made
            return made
        }
        manager?.finish()
        return 0
    }
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
    try call.waiting("ending the server") {
        var ended = pollfd(fd: server.raw, events: Int16(POLLIN), revents: 0)
        guard try retrying("poll", nil, { poll(&ended, 1, 60_000) }) > 0 else {
            throw ErrorMessage(
                .inUse, "the server (pid \(pid)) has not ended within 60 s",
                hint: "see \(call.root)/server.log")
        }
    }
    return 0
}

/// Where this program lies.
private func executablePath() -> String {
    (try? Files.canonical("/proc/self/exe")) ?? CommandLine.arguments[0]
}
