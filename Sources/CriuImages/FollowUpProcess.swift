import CCriuImages
import CLinux
import CTwin
import Glibc

extension FollowUp {
    /// Users, groups and capabilities are those it had: what runs in a sandbox seldom changes its own.
    private static func hasSame(_ one: Compared, _ core: CoreEntry) -> Bool {
        let status = one.live.status
        let users = status.numbers("Uid:"), groups = status.numbers("Gid:"),
            others = status.numbers("Groups:")
        let sets = (
            status.numbers("CapInh:", radix: 16).first, status.numbers("CapPrm:", radix: 16).first,
            status.numbers("CapEff:", radix: 16).first, status.numbers("CapBnd:", radix: 16).first,
            status.numbers("CapAmb:", radix: 16).first
        )
        let confined = status.numbers("NoNewPrivs:").first ?? 0
        let securebits = UInt32(bitPattern: one.note.told.securebits)
        guard let known = core.thread_core?.pointee.creds?.pointee else { return false }
        func set(_ first: UnsafeMutablePointer<UInt32>?, _ count: Int) -> UInt64 {
            numbers(first, count).reversed().reduce(0) { $0 << 32 | UInt64($1) }
        }
        let knownUsers = [known.uid, known.euid, known.suid, known.fsuid].map(UInt64.init)
        let knownGroups = [known.gid, known.egid, known.sgid, known.fsgid].map(UInt64.init)
        return users == knownUsers && groups == knownGroups
            && others == numbers(known.groups, known.n_groups).map(UInt64.init)
            && sets.0 == set(known.cap_inh, known.n_cap_inh) && sets.1 == set(known.cap_prm, known.n_cap_prm)
            && sets.2 == set(known.cap_eff, known.n_cap_eff) && sets.3 == set(known.cap_bnd, known.n_cap_bnd)
            && sets.4 == set(known.cap_amb, known.n_cap_amb) && securebits == known.secbits
            && confined == UInt64(known.has_no_new_privs == 0 ? 0 : known.no_new_privs)
    }

    /// Whether one that is new can be written down like the process that it is compared with: of the same rights, without timers
    /// and signals to come.
    static func isLike(_ one: Compared) throws(FollowUpRefusal) -> Bool {
        try core(one) { core in
            hasSame(one, core) && core.tc?.pointee.timers?.pointee.n_posix == 0
                && core.tc?.pointee.signals_s?.pointee.n_signals ?? 0 == 0
                && core.thread_core?.pointee.signals_p?.pointee.n_signals ?? 0 == 0
        }
    }

    /// Filters can be added, and another process can have taken the pid.
    func compareFilters(_ one: Compared) throws(FollowUpRefusal) {
        guard try Self.hasSameFilters(one, before, notes) else {
            throw one.refusal("has another seccomp mode, or other filters")
        }
    }

    static func hasSameFilters(
        _ one: Compared, _ before: Predecessor, _ notes: TaskNotes
    ) throws(FollowUpRefusal) -> Bool {
        let mode = one.live.status.numbers("Seccomp:").first ?? 0
        let last: Int?? = try core(one) { core in
            guard let thread = core.thread_core?.pointee,
                mode == UInt64(thread.has_seccomp_mode == 0 ? 0 : thread.seccomp_mode.rawValue)
            else { return .none }
            return .some(thread.has_seccomp_filter == 0 ? nil : Int(thread.seccomp_filter))
        }
        guard let last else { return false }
        // SECCOMP_MODE_FILTER
        let known = mode == 2 ? before.filters(upTo: last) : []
        let live = notes.filters(of: one.note)
        return known.count == live.count && live.count == Int(one.note.filter_count)
            && zip(known, live).allSatisfy {
                $0.flags & ~forAllThreads == $1.flags && $0.code.elementsEqual($1.code)
            }
    }

    /// SECCOMP_FILTER_FLAG_TSYNC, which CRIU adds and the kernel does not tell (criu/seccomp.c).
    private static let forAllThreads: UInt32 = 1

    private static func core<Result>(
        _ one: Compared, _ body: (CoreEntry) throws(CriuImageError) -> Result
    ) throws(FollowUpRefusal) -> Result {
        try understanding { () throws(CriuImageError) in
            try one.process.core.decodeOnly(core_entry__unpack, core_entry__free_unpacked) {
                entry throws(CriuImageError) in try body(entry.pointee)
            }
        }
    }

    /// core-PID.img: registers, signals, timers and attributes as they are now.
    func core(_ one: Compared) throws(FollowUpRefusal) -> ImageFile {
        guard let flags = one.live.field(9), let oom = one.live.outOfMemoryScore,
            let personality = one.live.personality
        else { throw one.refusal("does not tell its attributes") }
        let login = one.live.loginUser
        // Of shadow stacks only CRIU knows.
        if let features = one.live.status.line("x86_Thread_features:"), !words(in: features).isEmpty {
            throw one.refusal("has a shadow stack")
        }
        var file = one.process.core
        try understanding { () throws(CriuImageError) in
            try file.edit(0, core_entry__unpack, core_entry__free_unpacked) { entry throws(CriuImageError) in
                func strange(_ what: String) -> CriuImageError { CriuImageError(one.process.core.name, what) }
                guard let task = entry.pointee.tc, let thread = entry.pointee.thread_core,
                    let machine = entry.pointee.thread_info, let registers = machine.pointee.gpregs,
                    let vectors = machine.pointee.fpregs, task.pointee.task_state == 1
                else { throw strange("is not of a process that runs") }
                guard Self.hasSame(one, entry.pointee) else { throw strange("has other rights") }
                if one.isNew {
                    // The kernel tells it with escapes, and in pieces where it is cut short.
                    guard let name = one.live.command, isWhole(name), !name.contains("\\") else {
                        throw strange("has an odd name")
                    }
                    // The message frees what it holds.
                    for own in [task.pointee.comm, thread.pointee.comm] { free(own) }
                    (task.pointee.comm, thread.pointee.comm) = (strdup(name), strdup(name))
                    thread.makeSequences(one.note.sequence_pointer != 0)
                }
                guard areSame(text(task.pointee.comm), one.live.command),
                    areSame(text(thread.pointee.comm), one.live.command)
                else { throw strange("has another name") }
                guard thread.pointee.signals_p?.pointee.n_signals ?? 0 == 0,
                    task.pointee.signals_s?.pointee.n_signals ?? 0 == 0
                else { throw strange("had a signal to come") }
                let known = (
                    machine.pointee.clear_tid_addr, thread.pointee.futex_rla, thread.pointee.futex_rla_len
                )
                // The C library has both where its thread's own memory is.
                let moved = one.note.threadBase &- registers.pointee.fs_base
                // PF_FORKNOEXEC (<linux/sched.h>) a twin has of its own.
                let own: UInt32 = notes.areOfTwins ? 0x40 : 0
                task.pointee.flags = UInt32(truncatingIfNeeded: flags) & ~own | task.pointee.flags & own
                task.pointee.personality = UInt32(truncatingIfNeeded: personality)
                task.pointee.oom_score_adj = oom
                if let login { task.pointee.loginuid = UInt32(truncatingIfNeeded: login) }
                try one.note.write(to: task, strange)
                try one.note.write(to: thread, strange)
                machine.pointee.clear_tid_addr = one.note.told.clear_at
                if notes.areOfTwins, one.pid == 1 {
                    (machine.pointee.clear_tid_addr, thread.pointee.futex_rla, thread.pointee.futex_rla_len) =
                        (known.0 &+ moved, known.1 &+ moved, known.2)
                }
                one.note.write(to: registers)
                try one.note.write(to: vectors, strange)
            }
        }
        return file
    }
}

private enum Restart {
    static let calls = Set(
        [CALL_ERESTARTSYS, CALL_ERESTARTNOINTR, CALL_ERESTARTNOHAND].map { Int64($0) })
    static let block = Int64(CALL_ERESTART_RESTARTBLOCK)
    /// restart_syscall(2): a call that was stopped before and goes on.
    static let goesOn: UInt64 = 219
}

extension cnote {
    fileprivate var threadBase: UInt64 { registers.21 }

    /// Calls that were broken off are begun again, with all of their time where they wait for a time: that is what becomes
    /// of them after a dump by CRIU too (`InterruptedCall`).
    fileprivate func write(to entry: UnsafeMutablePointer<UserX86RegsEntry>) {
        let own = registers
        entry.pointee.r15 = own.0
        entry.pointee.r14 = own.1
        entry.pointee.r13 = own.2
        entry.pointee.r12 = own.3
        entry.pointee.bp = own.4
        entry.pointee.bx = own.5
        entry.pointee.r11 = own.6
        entry.pointee.r10 = own.7
        entry.pointee.r9 = own.8
        entry.pointee.r8 = own.9
        entry.pointee.ax = own.10
        entry.pointee.cx = own.11
        entry.pointee.dx = own.12
        entry.pointee.si = own.13
        entry.pointee.di = own.14
        entry.pointee.orig_ax = own.15
        entry.pointee.ip = own.16
        entry.pointee.cs = own.17
        entry.pointee.flags = own.18
        entry.pointee.sp = own.19
        entry.pointee.ss = own.20
        entry.pointee.fs_base = own.21
        entry.pointee.gs_base = own.22
        entry.pointee.ds = own.23
        entry.pointee.es = own.24
        entry.pointee.fs = own.25
        entry.pointee.gs = own.26
        guard Int64(bitPattern: own.15) >= 0 else { return }
        let result = Int64(bitPattern: own.10)
        if Restart.calls.contains(result) {
            entry.pointee.ax = own.15
            entry.pointee.ip = own.16 - 2
        } else if result == Restart.block {
            let number = own.15 == Restart.goesOn ? numberBefore(own.16) : own.15
            entry.pointee.ax = number ?? UInt64(bitPattern: Int64(-EINTR))
            if let number { (entry.pointee.orig_ax, entry.pointee.ip) = (number, own.16 - 2) }
        }
    }

    /// The number of the system call that ends at an instruction, where the code tells it: that of a call which was stopped
    /// before and goes on is known to the program alone. C libraries put it into eax right before: `b8 NN NN NN NN 0f 05`.
    private func numberBefore(_ instruction: UInt64) -> UInt64? {
        var code = [UInt8](repeating: 0, count: 7)
        guard instruction > 7, clinux_read_memory(pid, UInt(instruction - 7), &code, 7) == 0,
            code[0] == 0xb8, code[5] == 0x0f, code[6] == 0x05
        else { return nil }
        return code[1...4].reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }

    /// The FXSAVE area and what lies behind it.
    fileprivate func write(
        to entry: UnsafeMutablePointer<UserX86FpregsEntry>, _ strange: (String) -> CriuImageError
    ) throws(CriuImageError) {
        let isWhole = withUnsafeBytes(of: legacy) { area in
            entry.pointee.cwd = UInt32(area.loadUnaligned(fromByteOffset: 0, as: UInt16.self))
            entry.pointee.swd = UInt32(area.loadUnaligned(fromByteOffset: 2, as: UInt16.self))
            entry.pointee.twd = UInt32(area.loadUnaligned(fromByteOffset: 4, as: UInt16.self))
            entry.pointee.fop = UInt32(area.loadUnaligned(fromByteOffset: 6, as: UInt16.self))
            entry.pointee.rip = area.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
            entry.pointee.rdp = area.loadUnaligned(fromByteOffset: 16, as: UInt64.self)
            entry.pointee.mxcsr = area.loadUnaligned(fromByteOffset: 24, as: UInt32.self)
            entry.pointee.mxcsr_mask = area.loadUnaligned(fromByteOffset: 28, as: UInt32.self)
            return fill(entry.pointee.st_space, entry.pointee.n_st_space, area[32..<160])
                && fill(entry.pointee.xmm_space, entry.pointee.n_xmm_space, area[160..<416])
        }
        guard isWhole, let xsave = entry.pointee.xsave else { throw strange("has no vectors") }
        xsave.pointee.xstate_bv = components
        let isExtended =
            withUnsafeBytes(of: upper_halves) {
                fill(xsave.pointee.ymmh_space, xsave.pointee.n_ymmh_space, $0[...])
            }
            && withUnsafeBytes(of: opmasks) {
                fill(xsave.pointee.opmask_reg, xsave.pointee.n_opmask_reg, $0[...])
            }
            && withUnsafeBytes(of: upper_zmm) {
                fill(xsave.pointee.zmm_upper, xsave.pointee.n_zmm_upper, $0[...])
            }
            && withUnsafeBytes(of: high_zmm) {
                fill(xsave.pointee.hi16_zmm, xsave.pointee.n_hi16_zmm, $0[...])
            }
            && withUnsafeBytes(of: protection_keys) {
                fill(xsave.pointee.pkru, xsave.pointee.n_pkru, $0[...])
            }
        guard isExtended else { throw strange("has vectors of another length") }
    }

    fileprivate func write(
        to task: UnsafeMutablePointer<TaskCoreEntry>, _ strange: (String) -> CriuImageError
    ) throws(CriuImageError) {
        task.pointee.blk_sigset = mask
        if task.pointee.has_blk_sigset_extended != 0 { throw strange("has more signals than there are") }
        (task.pointee.has_child_subreaper, task.pointee.child_subreaper) = (1, told.is_subreaper)
        task.pointee.has_membarrier_registration_mask = told.barriers == 0 ? 0 : 1
        task.pointee.membarrier_registration_mask = UInt32(bitPattern: told.barriers)
        guard let timers = task.pointee.timers, timers.pointee.n_posix == 0 else {
            throw strange("had timers")
        }
        let intervals = told.timers
        for (timer, own) in [
            (timers.pointee.real, intervals.0), (timers.pointee.virt, intervals.1),
            (timers.pointee.prof, intervals.2),
        ] {
            guard let timer else { throw strange("has no timers") }
            (timer.pointee.isec, timer.pointee.iusec) = (UInt64(own.0), UInt64(own.1))
            (timer.pointee.vsec, timer.pointee.vusec) = (UInt64(own.2), UInt64(own.3))
        }
        try withUnsafeBytes(of: told.actions) { (bytes) throws(CriuImageError) in
            let own = bytes.bindMemory(to: cnote_action.self)
            // SIGKILL and SIGSTOP have none.
            let numbers = SignalNumbers.withActions
            guard task.pointee.n_sigactions == numbers.count else {
                throw strange("has no 62 signal actions")
            }
            for (entry, number) in zip(messages(task.pointee.sigactions, numbers.count), numbers) {
                let action = own[number - 1]
                (entry.pointee.sigaction, entry.pointee.flags) = (action.handler, action.flags)
                (entry.pointee.restorer, entry.pointee.mask) = (action.restorer, action.mask)
            }
        }
        guard let limits = task.pointee.rlimits else { throw strange("has no limits") }
        try withUnsafeBytes(of: self.limits) { (bytes) throws(CriuImageError) in
            let own = bytes.bindMemory(to: UInt64.self)
            guard limits.pointee.n_rlimits * 2 == own.count else { throw strange("has other limits") }
            for (index, entry) in messages(limits.pointee.rlimits, own.count / 2).enumerated() {
                (entry.pointee.cur, entry.pointee.max) = (own[index * 2], own[index * 2 + 1])
            }
        }
    }

    fileprivate func write(
        to thread: UnsafeMutablePointer<ThreadCoreEntry>, _ strange: (String) -> CriuImageError
    ) throws(CriuImageError) {
        (thread.pointee.futex_rla, thread.pointee.futex_rla_len) = (robust_list, UInt32(robust_size))
        guard thread.pointee.has_sched_policy != 0, thread.pointee.sched_policy == UInt32(bitPattern: policy),
            thread.pointee.has_sched_prio == 0
                ? priority == 0 : thread.pointee.sched_prio == UInt32(bitPattern: priority)
        else { throw strange("is scheduled otherwise") }
        (thread.pointee.has_sched_nice, thread.pointee.sched_nice) = (1, nice)
        if thread.pointee.has_blk_sigset != 0 { thread.pointee.blk_sigset = mask }
        guard let stack = thread.pointee.sas else { throw strange("has no alternate stack") }
        (stack.pointee.ss_sp, stack.pointee.ss_size) = (told.stack_start, told.stack_size)
        stack.pointee.ss_flags = told.stack_flags
        (thread.pointee.has_pdeath_sig, thread.pointee.pdeath_sig) = (
            told.death_signal == 0 ? 0 : 1, UInt32(bitPattern: told.death_signal)
        )
        if let sequence = thread.pointee.rseq_entry {
            sequence.pointee.rseq_abi_pointer = sequence_pointer
            (sequence.pointee.rseq_abi_size, sequence.pointee.signature) = (sequence_size, sequence_signature)
            // It was in none when it was noted.
            sequence.pointee.rseq_cs_pointer = 0
        } else if sequence_pointer != 0 {
            throw strange("had no restartable sequences")
        }
    }
}

extension UnsafeMutablePointer<ThreadCoreEntry> {
    /// Gives it restartable sequences (rseq(2)) or takes them away, with what malloc(3) makes.
    fileprivate func makeSequences(_ areWanted: Bool) {
        guard areWanted != (pointee.rseq_entry != nil) else { return }
        if areWanted {
            let entry = malloc(MemoryLayout<RseqEntry>.size)?.assumingMemoryBound(to: RseqEntry.self)
            if let entry { rseq_entry__init(entry) }
            pointee.rseq_entry = entry
        } else {
            rseq_entry__free_unpacked(pointee.rseq_entry, nil)
            pointee.rseq_entry = nil
        }
    }
}

/// Fills an array of a message from bytes of the same length; an array that is missing wants zeros.
private func fill<Number>(
    _ array: UnsafeMutablePointer<Number>?, _ count: Int, _ bytes: Slice<UnsafeRawBufferPointer>
) -> Bool {
    guard let array, count > 0 else { return bytes.allSatisfy { $0 == 0 } }
    guard count * MemoryLayout<Number>.stride == bytes.count else { return false }
    UnsafeMutableRawBufferPointer(start: array, count: bytes.count).copyBytes(from: bytes)
    return true
}
