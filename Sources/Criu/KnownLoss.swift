import Glibc
public import LinuxSystem

/// What CRIU 4.2 leaves out of a dump with no more than a warning in its log.
public enum KnownLoss {
    /// One sentence for each loss that the log of a dump in its work directory tells, naming
    /// the process where it can be found.
    ///
    /// `tree` is looked through in /proc for who holds what the log names by its inode; it may have gone on.
    public static func losses(in work: borrowing Descriptor, tree: TreeOfTasks) -> [String] {
        let warnings = CriuLog(CriuWorker.dumpLog, in: work, level: .warning).errors.map(\.text)
        if warnings.isEmpty { return [] }
        var losses: [String] = []
        for text in warnings {
            // criu/sk-inet.c, `can_dump_inet_sk`.
            if let inode = text.number(after: "Read queue is dropped for socket ", radix: 16) {
                losses.append(
                    holder(in: tree) { $0.target == "socket:[\(inode)]" }
                        + " loses the datagrams that wait in its socket")
            }
            // criu/fsnotify.c; which of them it is the line does not tell.
            for kind in ["inotify", "fanotify"] where text.hasSuffix("\(kind) events will be dropped") {
                losses.append(
                    holder(in: tree) {
                        $0.target.hasSuffix("anon_inode:\(kind)") || $0.target.hasSuffix("[\(kind)]")
                    }
                        + " may lose the events that wait in its \(kind) descriptor")
            }
        }
        return losses.reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
    }

    private static func holder(
        in tree: TreeOfTasks, where isMeant: (ObservedProcess.OpenFile) -> Bool
    ) -> String {
        for pid in tree.processes {
            let process = ObservedProcess(pid: pid)
            if let file = process.openFiles.first(where: isMeant) {
                return "process \(process.nameOrNumber) (fd \(file.number))"
            }
        }
        return "a process"
    }
}
