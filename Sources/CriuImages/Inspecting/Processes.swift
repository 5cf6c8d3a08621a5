import CCriuImages
import Glibc
import Messages

/// What is needed to tell of one process.
struct ProcessContext {
    let process: ImageProcess
    /// The number of its table of descriptors; nil for a zombie.
    let table: UInt32?
    let open: OpenFiles
    let cores: CoreDescriptions
    let scope: InspectionScope
    let files: any MappedFiles
}

extension ImageDirectory {
    /// What is told of one process.
    func inspected(_ context: ProcessContext) throws(CriuImageError) -> InspectedProcess {
        let process = context.process
        var told = InspectedProcess(
            pid: Int(process.pid), parent: Int(process.parent), group: Int(process.group),
            session: Int(process.session), state: process.state.name, command: process.command, limits: [],
            threads: [], pendingSignals: [], handlers: [], timers: [])
        let core = try file("core-\(process.pid).img", .core)
        try core.decodeOnly(core_entry__unpack, core_entry__free_unpacked) { entry in
            if let task = entry.pointee.tc?.pointee { told.add(task, isZombie: process.state == .zombie) }
            told.credentials = (entry.pointee.thread_core?.pointee.creds?.pointee).map(
                CoreDescriptions.credentials)
        }
        guard process.state != .zombie else { return told }
        var sharesFilters = false
        for tid in process.threads {
            let core = try file("core-\(tid).img", .core)
            var thread = try core.decodeOnly(core_entry__unpack, core_entry__free_unpacked) {
                if tid == process.pid { sharesFilters = context.cores.sharesFilters($0.pointee) }
                return context.cores.thread(tid, $0.pointee, processName: process.command)
            }
            if sharesFilters, let leader = told.threads.first {
                (thread.seccomp, thread.seccompFilters) = (leader.seccomp, leader.seccompFilters)
            }
            told.threads.append(thread)
        }
        try addPlaces(context, &told)
        if context.scope.files, let table = context.table {
            let held = try OpenFiles.descriptors(table: table, self)
            let all = held.map { context.open.inspected($0) }
            told.files = context.scope.onlySockets ? all.filter { $0.socket != nil } : all
        }
        try addMemory(context, &told)
        return told
    }

    private func addPlaces(_ context: ProcessContext, _ told: inout InspectedProcess) throws(CriuImageError) {
        guard let file = try fileIfPresent("fs-\(context.process.pid).img", .taskDirectories) else { return }
        try file.decodeOnly(fs_entry__unpack, fs_entry__free_unpacked) { entry in
            let entry = entry.pointee
            told.workingDirectory = context.open.path(entry.cwd_id)
            told.rootDirectory = context.open.path(entry.root_id)
            told.umask = entry.has_umask != 0 ? Int(entry.umask) : nil
        }
    }

    private func addMemory(_ context: ProcessContext, _ told: inout InspectedProcess) throws(CriuImageError) {
        let memory = try ProcessMemory(of: context.process.pid, in: self, files: context.files)
        told.executable = context.open.path(memory.map.executable)
        told.arguments = try memory.strings(in: memory.map.arguments)
        if context.scope.environment { told.environment = try memory.strings(in: memory.map.environment) }
        told.memory = try memory.inspected(regions: context.scope.regions)
    }
}

extension InspectedProcess {
    /// Adds what stands in the core of the process.
    fileprivate mutating func add(_ task: TaskCoreEntry, isZombie: Bool) {
        if isZombie { exitStatus = Int(task.exit_code) }
        oomScoreAdjustment = task.has_oom_score_adj != 0 ? Int(task.oom_score_adj) : nil
        limits = CoreDescriptions.limits(task)
        pendingSignals = CoreDescriptions.queued(task.signals_s)
        handlers = CoreDescriptions.handlers(task)
        timers = CoreDescriptions.timers(task)
    }
}

extension ImageProcess.State {
    /// As messages call it.
    var name: String {
        switch self {
        case .alive: "alive"
        case .zombie: "zombie"
        case .stopped: "stopped"
        case .unknown: "unknown"
        }
    }
}
