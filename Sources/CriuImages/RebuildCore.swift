import CCriuImages
import CTwin
import Glibc

/// What a rebuilt process gets once its memory is there: signals, timers and rights by its own calls, the rest as a note.
struct RebuildCore {
    private(set) var name: String
    private(set) var memoryScore: Int32
    private var note = cnote()
    private var actions: [[UInt64]] = []
    private var timers: [[UInt64]] = []
    private var stack: [UInt64]?
    private var clearAt: UInt64 = 0
    private var robust: (UInt64, UInt64) = (0, 0)
    private var sequences: (pointer: UInt64, size: UInt32, signature: UInt32)?
    private var deathSignal: UInt32 = 0
    private var isSubreaper = false
    private var barriers: UInt32 = 0
    private var users: [UInt32] = []
    private var groups: [UInt32] = []
    private var others: [UInt32] = []
    private var sets:
        (inheritable: UInt64, permitted: UInt64, effective: UInt64, bounding: UInt64, ambient: UInt64)
    private var isConfined = false
    private var isDumpable = true
    private var filters: [(flags: UInt32, code: [UInt8])] = []

    /// As struct cnote.
    var noteBytes: [UInt8] { withUnsafeBytes(of: note) { Array($0) } }

    init(_ process: Predecessor.Process, _ images: Predecessor) throws(CriuImageError) {
        let file = process.core.name
        func strange(_ what: String) -> CriuImageError { CriuImageError(file, what) }
        func set(_ first: UnsafeMutablePointer<UInt32>?, _ count: Int) -> UInt64 {
            numbers(first, count).reversed().reduce(0) { $0 << 32 | UInt64($1) }
        }
        sets = (0, 0, 0, 0, 0)
        var (name, score) = ("", Int32(0))
        var found = Self(empty: ())
        isDumpable = try process.map.decodeOnly(mm_entry__unpack, mm_entry__free_unpacked) {
            $0.pointee.has_dumpable == 0 || $0.pointee.dumpable == 1
        }
        found.isDumpable = isDumpable
        try process.core.decodeOnly(core_entry__unpack, core_entry__free_unpacked) {
            entry throws(CriuImageError) in
            guard let task = entry.pointee.tc?.pointee, let thread = entry.pointee.thread_core?.pointee,
                let machine = entry.pointee.thread_info?.pointee, let registers = machine.gpregs,
                let vectors = machine.fpregs, let own = thread.creds?.pointee,
                let limits = task.rlimits?.pointee,
                let intervals = task.timers?.pointee, task.task_state == 1, task.personality == 0
            else { throw strange("is not of a plain process") }
            guard thread.signals_p?.pointee.n_signals ?? 0 == 0, task.signals_s?.pointee.n_signals ?? 0 == 0,
                task.has_stop_signo == 0 || task.stop_signo == 0, intervals.n_posix == 0
            else { throw strange("has signals to come, or timers") }
            guard own.secbits == 0, own.apparmor_data.len == 0, own.lsm_profile == nil,
                own.lsm_sockcreate == nil,
                thread.has_sched_policy == 0 || thread.sched_policy == 0,
                task.has_loginuid == 0 || UInt64(task.loginuid) == Self.ownLogin
            else { throw strange("has rights of its own kind") }
            name = text(task.comm) ?? ""
            guard isWhole(name), areSame(text(thread.comm), name) || thread.comm == nil else {
                throw strange("has two names")
            }
            score = task.has_oom_score_adj == 0 ? 0 : task.oom_score_adj
            found.isConfined = own.has_no_new_privs != 0 && own.no_new_privs != 0
            found.users = [own.uid, own.euid, own.suid, own.fsuid]
            // Who has given up being root cannot take another one's, and is not told so.
            guard own.euid == 0 || [own.uid, own.euid, own.suid].contains(own.fsuid) else {
                throw strange("has a user for files alone")
            }
            found.groups = [own.gid, own.egid, own.sgid, own.fsgid]
            found.others = numbers(own.groups, own.n_groups)
            found.sets = (
                set(own.cap_inh, own.n_cap_inh), set(own.cap_prm, own.n_cap_prm),
                set(own.cap_eff, own.n_cap_eff), set(own.cap_bnd, own.n_cap_bnd),
                set(own.cap_amb, own.n_cap_amb)
            )
            if thread.has_seccomp_mode != 0, thread.seccomp_mode.rawValue != 0 {
                // SECCOMP_MODE_FILTER
                guard thread.seccomp_mode.rawValue == 2, thread.has_seccomp_filter != 0 else {
                    throw strange("is confined in another way")
                }
                found.filters = images.filters(upTo: Int(thread.seccomp_filter))
                if found.filters.isEmpty { throw strange("has no filters") }
            }
            (found.clearAt, found.robust) = (
                machine.clear_tid_addr, (thread.futex_rla, UInt64(thread.futex_rla_len))
            )
            if let sequence = thread.rseq_entry?.pointee, sequence.rseq_abi_pointer != 0 {
                guard sequence.has_rseq_cs_pointer == 0 || sequence.rseq_cs_pointer == 0 else {
                    throw strange("is in a restartable sequence")
                }
                found.sequences = (
                    sequence.rseq_abi_pointer, sequence.rseq_abi_size, sequence.signature
                )
            }
            // SS_DISABLE
            if let stack = thread.sas?.pointee, stack.ss_flags & 2 == 0 {
                // SS_ONSTACK is where it is, SS_AUTODISARM stays.
                found.stack = [stack.ss_sp, UInt64(stack.ss_flags & ~1), stack.ss_size]
            }
            found.deathSignal = thread.has_pdeath_sig == 0 ? 0 : thread.pdeath_sig
            found.isSubreaper = task.has_child_subreaper != 0 && task.child_subreaper != 0
            found.barriers =
                task.has_membarrier_registration_mask == 0 ? 0 : task.membarrier_registration_mask
            found.timers = [intervals.real, intervals.virt, intervals.prof].map { timer in
                guard let timer = timer?.pointee else { return [0, 0, 0, 0] }
                return [timer.isec, timer.iusec, timer.vsec, timer.vusec]
            }
            guard task.n_sigactions == 62, task.has_blk_sigset_extended == 0 else {
                throw strange("has no 62 signal actions")
            }
            found.actions = messages(task.sigactions, task.n_sigactions).map { action in
                [
                    action.pointee.sigaction, action.pointee.flags, action.pointee.restorer,
                    action.pointee.mask,
                ]
            }
            // The breakpoint at which it stands still would set that back (kernel/signal.c, force_sig_info_to_task).
            guard found.actions[Int(SIGTRAP) - 1][0] != 1 else { throw strange("ignores SIGTRAP") }
            found.note.inner = process.pid
            found.note.nice = thread.has_sched_nice == 0 ? 0 : thread.sched_nice
            found.note.mask = thread.has_blk_sigset != 0 ? thread.blk_sigset : task.blk_sigset
            guard limits.n_rlimits == 16 else { throw strange("has other limits") }
            let pairs = messages(limits.rlimits, limits.n_rlimits).flatMap {
                [$0.pointee.cur, $0.pointee.max]
            }
            withUnsafeMutableBytes(of: &found.note.limits) {
                $0.copyBytes(from: pairs.withUnsafeBytes { Array($0) })
            }
            guard registers.pointee.cs == 0x33,
                registers.pointee.has_mode == 0 || registers.pointee.mode == USER_X86_REGS_MODE__NATIVE
            else { throw strange("is of a 32-bit program") }
            found.note.read(registers)
            guard found.note.read(vectors) else { throw strange("has vectors of another length") }
        }
        self = found
        (self.name, self.memoryScore) = (name, score)
    }

    private init(empty: Void) {
        (name, memoryScore, sets) = ("", 0, (0, 0, 0, 0, 0))
    }

    private static let ownLogin: UInt64 = ProcText("/proc/self/loginuid")?.first() ?? UInt64(UInt32.max)

    /// The steps behind the stop at which memory is there.
    func write(to script: inout RebuildScript) {
        // SIGKILL and SIGSTOP have none.
        for (signal, action) in zip(SignalNumbers.withActions, actions) {
            let place = script.put(words: action)
            script.call(
                Call.rt_sigaction, [.number(UInt64(signal)), .data(place), 0, 8])
        }
        if let stack { script.call(Call.sigaltstack, [.data(script.put(words: stack)), 0]) }
        if let sequences {
            script.call(
                Call.rseq,
                [
                    .number(sequences.pointer), .number(UInt64(sequences.size)), 0,
                    .number(UInt64(sequences.signature)),
                ])
        }
        script.call(Call.set_tid_address, [.number(clearAt)])
        if robust.0 != 0 { script.call(Call.set_robust_list, [.number(robust.0), .number(robust.1)]) }
        if isSubreaper { script.call(Call.prctl, [.number(Control.subreaper), 1]) }
        for bit in UInt64(0)..<32 where barriers >> UInt32(bit) & 1 != 0 {
            script.call(Call.membarrier, [.number(UInt64(1) << bit), 0, 0])
        }
        writeRights(to: &script)
        // What a change of rights sets anew.
        script.call(Call.prctl, [.number(Control.dumpable), .number(isDumpable ? 1 : 0)])
        if deathSignal != 0 {
            script.call(Call.prctl, [.number(Control.deathSignal), .number(UInt64(deathSignal))])
        }
        for (which, timer) in timers.enumerated() where timer[2] != 0 || timer[3] != 0 {
            script.call(
                Call.setitimer, [.number(UInt64(which)), .data(script.put(words: timer)), 0])
        }
    }

    private func writeRights(to script: inout RebuildScript) {
        if isConfined {
            script.call(
                Call.prctl,
                [.number(Control.noNewPrivileges), 1, 0, 0, 0])
        }
        for filter in filters {
            let code = script.put(filter.code)
            // struct sock_fprog
            let program = script.put(words: [UInt64(filter.code.count / 8), 0])
            script.point(program + 8, to: code)
            // SECCOMP_SET_MODE_FILTER; there are no other threads.
            script.call(Call.seccomp, [1, .number(UInt64(filter.flags & ~1)), .data(program)])
        }
        // What is to be inherited must be in the bounding set, or have been there.
        if sets.inheritable & ~sets.bounding != 0 {
            let all = (UInt64(1) << (Self.lastCapability + 1)) - 1
            Self.setCapabilities(effective: all, permitted: all, inheritable: sets.inheritable, &script)
        }
        for capability in UInt64(0)...Self.lastCapability where sets.bounding >> capability & 1 == 0 {
            script.call(Call.prctl, [.number(Control.dropBounding), .number(capability)])
        }
        let list = others.withUnsafeBytes { script.put(Array($0)) }
        script.call(Call.setgroups, [.number(UInt64(others.count)), .data(list)])
        script.call(Call.prctl, [.number(Control.keepCapabilities), 1])
        func ids(_ numbers: ArraySlice<UInt32>) -> [RebuildScript.Value] {
            numbers.map { .number(UInt64($0)) }
        }
        script.call(Call.setresgid, ids(groups[..<3]))
        script.call(Call.setfsgid, ids(groups[3...]))
        script.call(Call.setresuid, ids(users[..<3]))
        script.call(Call.setfsuid, ids(users[3...]))
        script.call(Call.prctl, [.number(Control.keepCapabilities), 0])
        Self.setCapabilities(
            effective: sets.effective, permitted: sets.permitted, inheritable: sets.inheritable, &script)
        for capability in UInt64(0)...Self.lastCapability where sets.ambient >> capability & 1 != 0 {
            script.call(
                Call.prctl,
                [
                    .number(Control.ambient), .number(Control.raise), .number(capability), 0,
                    0,
                ])
        }
    }

    private static func setCapabilities(
        effective: UInt64, permitted: UInt64, inheritable: UInt64, _ script: inout RebuildScript
    ) {
        // _LINUX_CAPABILITY_VERSION_3
        let head = script.put(words: [0x2008_0522])
        let words = [effective, permitted, inheritable]
        let halves = words.map { $0 & 0xffff_ffff } + words.map { $0 >> 32 }
        let data = script.put(
            halves.flatMap { half in (0..<4).map { UInt8(truncatingIfNeeded: half >> ($0 * 8)) } })
        script.call(Call.capset, [.data(head), .data(data)])
    }

    /// /proc/sys/kernel/cap_last_cap
    private static let lastCapability: UInt64 = ProcText("/proc/sys/kernel/cap_last_cap")?.first() ?? 40
}

extension cnote {
    /// In the order of <sys/user.h>.
    fileprivate mutating func read(_ entry: UnsafeMutablePointer<UserX86RegsEntry>) {
        let own = entry.pointee
        registers = (
            own.r15, own.r14, own.r13, own.r12, own.bp, own.bx, own.r11, own.r10, own.r9, own.r8, own.ax,
            own.cx,
            own.dx, own.si, own.di, own.orig_ax, own.ip, own.cs, own.flags, own.sp, own.ss, own.fs_base,
            own.gs_base, own.ds, own.es, own.fs, own.gs
        )
    }

    /// The FXSAVE area and what lies behind it; false where an array is of another length.
    fileprivate mutating func read(_ entry: UnsafeMutablePointer<UserX86FpregsEntry>) -> Bool {
        let own = entry.pointee
        guard let xsave = own.xsave?.pointee, xsave.n_bndreg_state == 0, xsave.n_bndcsr_state == 0 else {
            return false
        }
        let isWhole = withUnsafeMutableBytes(of: &legacy) { area in
            area.storeBytes(of: UInt16(truncatingIfNeeded: own.cwd), toByteOffset: 0, as: UInt16.self)
            area.storeBytes(of: UInt16(truncatingIfNeeded: own.swd), toByteOffset: 2, as: UInt16.self)
            area.storeBytes(of: UInt16(truncatingIfNeeded: own.twd), toByteOffset: 4, as: UInt16.self)
            area.storeBytes(of: UInt16(truncatingIfNeeded: own.fop), toByteOffset: 6, as: UInt16.self)
            area.storeBytes(of: own.rip, toByteOffset: 8, as: UInt64.self)
            area.storeBytes(of: own.rdp, toByteOffset: 16, as: UInt64.self)
            area.storeBytes(of: own.mxcsr, toByteOffset: 24, as: UInt32.self)
            area.storeBytes(of: own.mxcsr_mask, toByteOffset: 28, as: UInt32.self)
            return take(own.st_space, own.n_st_space, area, 32..<160)
                && take(own.xmm_space, own.n_xmm_space, area, 160..<416)
        }
        components = xsave.xstate_bv
        return isWhole
            && withUnsafeMutableBytes(of: &upper_halves) {
                take(xsave.ymmh_space, xsave.n_ymmh_space, $0, nil)
            }
            && withUnsafeMutableBytes(of: &opmasks) { take(xsave.opmask_reg, xsave.n_opmask_reg, $0, nil) }
            && withUnsafeMutableBytes(of: &upper_zmm) { take(xsave.zmm_upper, xsave.n_zmm_upper, $0, nil) }
            && withUnsafeMutableBytes(of: &high_zmm) { take(xsave.hi16_zmm, xsave.n_hi16_zmm, $0, nil) }
            && withUnsafeMutableBytes(of: &protection_keys) { take(xsave.pkru, xsave.n_pkru, $0, nil) }
    }
}

/// Copies an array of a message to a part of some bytes, all of them by default; one that is missing leaves them as they are.
private func take<Number>(
    _ array: UnsafeMutablePointer<Number>?, _ count: Int, _ bytes: UnsafeMutableRawBufferPointer,
    _ part: Range<Int>?
) -> Bool {
    let part = part ?? 0..<bytes.count
    guard let array, count > 0 else { return true }
    guard count * MemoryLayout<Number>.stride == part.count else { return false }
    UnsafeMutableRawBufferPointer(rebasing: bytes[part]).copyMemory(
        from: UnsafeRawBufferPointer(start: array, count: part.count))
    return true
}
