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
                "Every other command starts a server when none runs; this one runs it in the foreground, until Ctrl-C.",
                "Sandboxes go on running when their server ends; the next one takes them up.",
            ],
            options: [
                OptionDescription("stop", "end the server that runs, and wait until it has ended"),
                OptionDescription("ready-fd", value: "FD", .number(0...1_048_576), ""),
            ],
            examples: [
                Example("ckpt serve --root /srv/ckpt", "Serve another root, in the foreground"),
                Example("ckpt serve --stop", "End the server; its sandboxes run on"),
            ],
            triedAs: ["server", "daemon", "start"])
    ) { call in
        let root = call.root
        if call.words.has("stop") {
            guard let client = try call.clientOfRunningServer() else {
                throw ErrorMessage(.notFound, "no server runs for \(root)")
            }
            try client.shutdown()
            return 0
        }
        let ready = ReadyReport(descriptor: call.words.value("ready-fd").flatMap { Int32($0) })
        try Server.serve(root: root, ready: ready) { () throws(ErrorMessage) in
            do throws(SystemError) { try Workplace.enter(root: root) } catch {
                throw ErrorMessage(
                    error.code == EPERM ? .notPermitted : .internal,
                    "the server cannot have mounts of its own",
                    hint: error.code == EPERM ? "run ckpt as root" : nil, cause: error.description)
            }
            return try CheckpointManager(root: root, executable: executablePath()) { line in
                let text = line + "\n"
                _ = write(STDERR_FILENO, text, text.utf8.count)
            }
        }
        return 0
    }
}

/// Where this program lies.
private func executablePath() -> String {
    (try? Files.canonical("/proc/self/exe")) ?? CommandLine.arguments[0]
}
