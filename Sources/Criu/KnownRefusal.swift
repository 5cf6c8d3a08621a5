/// A reason for which a tree cannot be saved or restored, and what to tell people about it.
///
/// docs/refusals.md is this table; a test holds the two together.
public struct KnownRefusal: Sendable {
    /// What fails for this reason.
    public enum Stage: String, Sendable, CaseIterable {
        case save, restore
    }

    /// A word of its own, stable, for programs.
    public let id: String
    public let stage: Stage
    /// What follows the process in the sentence. `{place}` is its descriptor, ` (fd 9)`; other names stand for what CRIU's
    /// line tells.
    public let what: String
    /// Why that is so.
    public let why: String
    /// What to do about it.
    public let hint: String
    /// Whether `ckpt check` finds it without a save.
    public let isFoundBeforehand: Bool
    /// The lines CRIU 4.2 writes about it.
    let lines: [LinePattern]

    init(
        _ id: String, _ what: String, why: String, hint: String, stage: Stage = .save,
        beforehand: Bool = false,
        lines: [String]
    ) {
        self.id = id
        self.stage = stage
        self.what = what
        self.why = why
        self.hint = hint
        isFoundBeforehand = beforehand
        self.lines = lines.map { LinePattern($0) }
    }

    /// All of them, in the order in which a log is searched.
    public static let all = files + sockets + processes + mappings + restores + machine

    /// The one of that id, which must be there.
    static func known(_ id: String) -> KnownRefusal { all.first { $0.id == id }! }

    /// Those of anonymous inodes, by the kind that /proc/PID/fd shows for them.
    static let anonymous: [String: String] = [
        "io_uring": "io-uring", "perf_event": "perf-event", "userfaultfd": "userfaultfd",
        "bpf-map": "bpf-map", "bpf-prog": "bpf-program", "bpf_link": "bpf-program", "bpf-link": "bpf-program",
        "fscontext": "mount-context", "landlock-ruleset": "landlock-ruleset",
        "seccomp notify": "seccomp-notifier",
    ]
    /// The kinds of anonymous inodes that CRIU 4.2 saves (criu/files.c, `dump_one_file`).
    static let savedAnonymous: Set<String> = [
        "eventfd", "eventpoll", "inotify", "fanotify", "signalfd", "timerfd", "pidfd",
    ]
}
