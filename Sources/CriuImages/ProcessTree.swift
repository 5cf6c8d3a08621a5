import CCriuImages

/// One process of a dumped tree, by the ids it has inside the sandbox.
public struct ImageProcess: Equatable, Sendable {
    /// What a process was doing when it was dumped.
    public enum State: Equatable, Sendable {
        case alive
        /// Dead and not yet waited for.
        case zombie
        /// Stopped by a signal.
        case stopped
        /// A number that CRIU 4.2 does not write.
        case unknown(UInt32)
    }

    public let pid: Int32
    /// 0 for the root of the tree.
    public let parent: Int32
    public let group: Int32
    public let session: Int32
    /// Thread ids, the process's own first.
    public let threads: [Int32]
    public let state: State
    /// The command name, at most 15 bytes (proc_pid_comm(5)).
    public let command: String
}

extension ImageDirectory {
    /// The processes of the tree, parents before their children; threads are counted within their process.
    ///
    /// Reads `pstree.img` and one `core-PID.img` a process.
    public func processes() throws(CriuImageError) -> [ImageProcess] {
        let tree = try file("pstree.img", .processTree)
        var processes: [ImageProcess] = []
        for index in tree.entries.indices {
            let process = try tree.decode(index, pstree_entry__unpack, pstree_entry__free_unpacked) {
                entry throws(CriuImageError) in
                let entry = entry.pointee
                guard let pid = Int32(exactly: entry.pid), pid > 0 else {
                    throw CriuImageError(tree.name, entry: index, "names the impossible pid \(entry.pid)")
                }
                let (state, command) = try stateAndCommand(of: pid)
                let threads = UnsafeBufferPointer(start: entry.threads, count: entry.n_threads)
                return ImageProcess(
                    pid: pid, parent: Int32(truncatingIfNeeded: entry.ppid),
                    group: Int32(truncatingIfNeeded: entry.pgid),
                    session: Int32(truncatingIfNeeded: entry.sid),
                    threads: threads.map { Int32(truncatingIfNeeded: $0) }, state: state, command: command)
            }
            processes.append(process)
        }
        return processes
    }

    /// How many processes the tree has.
    public func processCount() throws(CriuImageError) -> Int {
        try file("pstree.img", .processTree).entries.count
    }

    private func stateAndCommand(of pid: Int32) throws(CriuImageError) -> (ImageProcess.State, String) {
        let core = try file("core-\(pid).img", .core)
        _ = try core.onlyEntry()
        return try core.decode(0, core_entry__unpack, core_entry__free_unpacked) {
            entry throws(CriuImageError) in
            guard let task = entry.pointee.tc?.pointee, let command = task.comm else {
                throw CriuImageError(core.name, entry: 0, "does not describe a process")
            }
            let state: ImageProcess.State =
                switch task.task_state {
                case 1: .alive
                case 2: .zombie
                case 3: .stopped
                default: .unknown(task.task_state)
                }
            return (state, String(cString: command))
        }
    }
}
