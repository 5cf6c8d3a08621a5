import CCriuImages
import Messages

/// Makes what is told of a thread and of a task out of `core-TID.img`.
struct CoreDescriptions {
    let includesRegisters: Bool
    /// For each seccomp filter the one before it, by its place in `seccomp.img`.
    private let filtersBefore: [UInt32?]
    /// For each whether it is there for every thread of its process, though only the leader's image names it
    /// (criu/seccomp.c, `try_use_tsync`).
    private let forAllThreads: [Bool]

    init(_ images: borrowing ImageDirectory, includesRegisters: Bool) throws(CriuImageError) {
        self.includesRegisters = includesRegisters
        guard let file = try images.fileIfPresent("seccomp.img", .seccomp) else {
            (filtersBefore, forAllThreads) = ([], [])
            return
        }
        (filtersBefore, forAllThreads) = try file.decodeOnly(
            seccomp_entry__unpack, seccomp_entry__free_unpacked
        ) { entry in
            let filters = messages(entry.pointee.seccomp_filters, entry.pointee.n_seccomp_filters)
            // SECCOMP_FILTER_FLAG_TSYNC is 1.
            return (
                filters.map { $0.pointee.has_prev != 0 ? $0.pointee.prev : nil },
                filters.map { $0.pointee.has_flags != 0 && $0.pointee.flags & 1 != 0 }
            )
        }
    }

    /// Whether the filters of the process's first thread are those of all others as well.
    func sharesFilters(_ leader: CoreEntry) -> Bool {
        guard let own = leader.thread_core?.pointee, own.has_seccomp_filter != 0 else { return false }
        return forAllThreads.indices.contains(Int(own.seccomp_filter))
            && forAllThreads[Int(own.seccomp_filter)]
    }

    /// How many filters a thread has whose last one is `last`; a circle counts once.
    private func filterCount(_ last: UInt32?) -> Int {
        var (count, next) = (0, last)
        while let filter = next, Int(filter) < filtersBefore.count, count < filtersBefore.count {
            count += 1
            next = filtersBefore[Int(filter)]
        }
        return count
    }

    /// What is told of the thread `tid`.
    func thread(_ tid: Int32, _ core: CoreEntry, processName: String) -> InspectedThread {
        let own = core.thread_core?.pointee
        let mode = own?.has_seccomp_mode != 0 ? own?.seccomp_mode : nil
        let blocked =
            own.flatMap { $0.has_blk_sigset != 0 ? $0.blk_sigset : nil } ?? core.tc?.pointee.blk_sigset
        let registers = core.thread_info?.pointee.gpregs?.pointee
        let call = registers.flatMap { Self.systemCall($0) }
        let floating = includesRegisters ? core.thread_info?.pointee.fpregs?.pointee : nil
        return InspectedThread(
            tid: Int(tid), name: text(own?.comm) ?? processName, systemCall: call,
            systemCallName: call.flatMap { SystemCalls.name($0) },
            nice: own.map { $0.has_sched_nice != 0 ? Int($0.sched_nice) : 0 } ?? 0,
            policy: Names.policy(own.map { $0.has_sched_policy != 0 ? $0.sched_policy : 0 } ?? 0),
            priority: own.map { $0.has_sched_prio != 0 ? Int($0.sched_prio) : 0 } ?? 0,
            seccomp: mode == SECCOMP_MODE__filter
                ? "filter" : mode == SECCOMP_MODE__strict ? "strict" : "disabled",
            seccompFilters: filterCount(own.flatMap { $0.has_seccomp_filter != 0 ? $0.seccomp_filter : nil }),
            blockedSignals: Names.signals(blocked ?? 0), pendingSignals: Self.queued(own?.signals_p),
            registers: includesRegisters ? registers.map(RegisterNames.general) : nil,
            floatingPoint: floating.map(RegisterNames.floatingPoint))
    }

    /// The number of the call that a thread was in: the kernel puts -1 there for one that was in none.
    private static func systemCall(_ registers: UserX86RegsEntry) -> Int? {
        registers.orig_ax <= UInt64(Int32.max) ? Int(registers.orig_ax) : nil
    }

    /// The signals of a queue.
    static func queued(_ queue: UnsafeMutablePointer<SignalQueueEntry>?) -> [String] {
        messages(queue?.pointee.signals, queue?.pointee.n_signals ?? 0).compactMap { entry in
            let information = entry.pointee.siginfo
            guard information.len >= 4, let bytes = information.data else { return nil }
            return Names.signal(Int(UnsafeRawPointer(bytes).loadUnaligned(as: Int32.self)))
        }
    }

    /// Signals that do not do what they do by default.
    static func handlers(_ task: TaskCoreEntry) -> [InspectedHandler] {
        zip(SignalNumbers.withActions, messages(task.sigactions, task.n_sigactions)).compactMap {
            signal, action in
            switch action.pointee.sigaction {
            case 0: nil
            case 1: InspectedHandler(signal: Names.signal(signal), action: "ignore")
            case let address:
                InspectedHandler(
                    signal: Names.signal(signal), action: "handler", address: hexadecimal(address))
            }
        }
    }

    /// Interval timers that are armed, and POSIX timers.
    static func timers(_ task: TaskCoreEntry) -> [InspectedTimer] {
        guard let timers = task.timers?.pointee else { return [] }
        let interval = [
            ("real", timers.real?.pointee, "SIGALRM"), ("virtual", timers.virt?.pointee, "SIGVTALRM"),
            ("profiling", timers.prof?.pointee, "SIGPROF"),
        ].compactMap { (kind, timer, signal) -> InspectedTimer? in
            guard let timer, timer.vsec != 0 || timer.vusec != 0 else { return nil }
            return InspectedTimer(
                kind: kind, signal: signal,
                remainingSeconds: Double(timer.vsec) + Double(timer.vusec) / 1e6,
                intervalSeconds: Double(timer.isec) + Double(timer.iusec) / 1e6)
        }
        let posix = messages(timers.posix, timers.n_posix).map { timer in
            let timer = timer.pointee
            // SIGEV_NONE is 1 (<bits/sigevent-consts.h>).
            return InspectedTimer(
                kind: "posix", id: Int(timer.it_id), clock: Names.clock(timer.clock_id),
                signal: timer.it_sigev_notify == 1 ? nil : Names.signal(Int(timer.si_signo)),
                remainingSeconds: seconds(timer.vsec, nanoseconds: timer.vnsec),
                intervalSeconds: seconds(timer.isec, nanoseconds: timer.insec))
        }
        return interval + posix
    }

    static func limits(_ task: TaskCoreEntry) -> [InspectedLimit] {
        let limits = task.rlimits?.pointee
        return zip(Names.limits, messages(limits?.rlimits, limits?.n_rlimits ?? 0)).map { name, limit in
            let (soft, hard) = (limit.pointee.cur, limit.pointee.max)
            return InspectedLimit(
                name: name, soft: soft == .max ? nil : soft, hard: hard == .max ? nil : hard)
        }
    }

    static func credentials(_ entry: CredsEntry) -> InspectedCredentials {
        func mask(_ first: UnsafeMutablePointer<UInt32>?, _ count: Int) -> String {
            hexadecimal(numbers(first, count).prefix(2).reversed().reduce(0) { $0 << 32 | UInt64($1) })
        }
        return InspectedCredentials(
            uid: Int(entry.uid), effectiveUID: Int(entry.euid), savedUID: Int(entry.suid),
            filesystemUID: Int(entry.fsuid), gid: Int(entry.gid), effectiveGID: Int(entry.egid),
            savedGID: Int(entry.sgid), filesystemGID: Int(entry.fsgid),
            groups: numbers(entry.groups, entry.n_groups).map { Int($0) },
            effectiveCapabilities: mask(entry.cap_eff, entry.n_cap_eff),
            permittedCapabilities: mask(entry.cap_prm, entry.n_cap_prm),
            inheritableCapabilities: mask(entry.cap_inh, entry.n_cap_inh),
            boundingCapabilities: mask(entry.cap_bnd, entry.n_cap_bnd),
            ambientCapabilities: mask(entry.cap_amb, entry.n_cap_amb),
            noNewPrivileges: entry.has_no_new_privs != 0 && entry.no_new_privs != 0)
    }
}
