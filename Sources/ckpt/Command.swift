import CommandInterface

/// A command of ckpt: what is known about it, and what it does.
struct Command: Sendable {
    let description: CommandDescription
    /// Does it and returns the exit code.
    let run: @Sendable (Invocation) throws -> Int32

    init(_ description: CommandDescription, run: @escaping @Sendable (Invocation) throws -> Int32) {
        self.description = description
        self.run = run
    }

    /// Every command, grouped as a reader meets them.
    static var groups: [(title: String, commands: [Command])] {
        [
            ("sandboxes", [create, run, ps, stats, top, update, reclaim, pause, unpause, wait, kill, rm]),
            ("commands and files", [exec, jobs, job, logs, cp, readFile, writeFile]),
            ("snapshots", [save, check, restore, reset, fork, tree, show, du, tag, delete, gc, verify]),
            ("snapshots elsewhere", [export, importArchive, objects]),
            ("inside a snapshot", [inspect, mem, diff, core, debug]),
            ("ckpt itself", [serve, events, metrics, doctor, bench, version, completion, help]),
        ]
    }

    static var descriptions: [CommandDescription] { groups.flatMap { $0.commands.map(\.description) } }
}
