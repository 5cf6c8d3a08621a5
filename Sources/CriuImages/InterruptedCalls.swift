import CCriuImages
import CTwin
import Glibc

/// A thread that a dump broke off inside a system call, which it leaves with EINTR unless that is mended.
///
/// A process that is stopped inside poll, nanosleep and the like leaves the call with EINTR (signal(7), "Interruption of
/// system calls … by stop signals"), where programs without signal handlers never met EINTR: `tail -F` ends. CRIU 4.2
/// restarts those calls that the kernel would restart from their beginning; it lets those end that the kernel would
/// go on with for the rest of their time (compel/arch/x86/src/lib/infect.c, `ERESTART_RESTARTBLOCK`), in the images and
/// in the tree that runs on alike.
public struct InterruptedCall: Equatable, Sendable {
    /// The process and the thread, by their ids in the sandbox.
    public let process: Int32
    public let thread: Int32
    /// The call's number (arch/x86/entry/syscalls/syscall_64.tbl); nil when the kernel had gone on with it before and
    /// calls it restart_syscall(2).
    public var number: UInt64?
    /// Where the thread goes on: right after the `syscall` instruction.
    public let instruction: UInt64
    /// Whether the kernel keeps the time at which the call ends, for the thread that made it.
    public let hasKeptTime: Bool
}

/// A thread that begins a system call in which it was broken off.
///
/// That is what the kernel would do, unless a signal's handler is to run first: then the call may end with EINTR.
/// CRIU does not ask for that (compel/arch/x86/src/lib/infect.c): a signal that comes while everything stands still
/// would be handled, and `pause` go on.
public struct RestartedCall: Equatable, Sendable {
    /// The process and the thread, by their ids in the sandbox.
    public let process: Int32
    public let thread: Int32
    /// The call's number (arch/x86/entry/syscalls/syscall_64.tbl).
    public let number: UInt64
    /// Where the thread goes on when the call has ended, right after the `syscall` instruction.
    public let instruction: UInt64
    /// CALL_ERESTARTNOHAND where any handler ends it, CALL_ERESTARTSYS where only those without SA_RESTART do.
    public let restart: Int32
    /// The signals that do not reach the thread; signal N is bit N - 1.
    public let blocked: UInt64
    /// Whether a signal waits whose handler ends the call.
    public let ends: Bool
}

/// What the images tell of threads that has to be known while everything still stands still.
public struct DumpedThreads: Sendable {
    /// As they are in the tree, PID 1 first.
    public var processes: [ImageProcess] = []
    /// The calls that the threads would leave with EINTR.
    ///
    /// One stays interrupted, and is not among them, when a signal waits that will be handled: its handler's program
    /// expects EINTR.
    public var interrupted: [InterruptedCall] = []
    /// The calls that the threads begin again and that signals can end; PID 1's are left out.
    public var restarted: [RestartedCall] = []
    /// Of each process but PID 1.
    public var signals: [DumpedSignals] = []

    public init() {}
}

extension ImageDirectory {
    /// Reads what is known of each thread, once.
    public func dumpedThreads() throws(CriuImageError) -> DumpedThreads {
        func queue(_ queue: UnsafeMutablePointer<SignalQueueEntry>?) -> DumpedSignals.Queue {
            DumpedSignals.Queue(signals: SignalNumbers(queue).bits, count: queue?.pointee.n_signals ?? 0)
        }
        var dumped = DumpedThreads()
        dumped.processes = try processes()
        for process in dumped.processes where process.state != .zombie {
            var signals = DumpedSignals(
                process: process.pid, shared: queue(nil), threads: [], hasTimers: false, hasAlarm: false)
            var handlers = Handlers()
            for thread in process.threads {
                let found = try core(of: thread) { entry in
                    if thread == process.pid, let task = entry.tc?.pointee {
                        signals.shared = queue(task.signals_s)
                        (signals.hasTimers, signals.hasAlarm) = (entry.hasTimers, entry.hasAlarm)
                        handlers = Handlers(task)
                    }
                    let own = queue(entry.thread_core?.pointee.signals_p)
                    signals.threads.append((thread, own))
                    let waiting = signals.shared.signals | own.signals
                    if process.pid != 1,
                        let call = entry.restartedCall(process.pid, thread, waiting, handlers)
                    {
                        dumped.restarted.append(call)
                    }
                    return entry.interruptedCall(pending: waiting)
                }
                guard let (registers, number) = found else { continue }
                dumped.interrupted.append(
                    InterruptedCall(
                        process: process.pid, thread: thread,
                        number: number == Registers.restart ? nil : number,
                        instruction: registers, hasKeptTime: Registers.withKeptTime.contains(number)))
            }
            if process.pid != 1 { dumped.signals.append(signals) }
        }
        return dumped
    }

    /// The calls that the threads of processes with timers begin again after a restore, and that signals can end.
    public func timedCalls() throws(CriuImageError) -> [RestartedCall] {
        var calls: [RestartedCall] = []
        for process in try processes() where process.state != .zombie && process.pid != 1 {
            var isTimed = false
            for thread in process.threads where thread == process.pid || isTimed {
                let call = try core(of: thread) { entry in
                    if thread == process.pid { isTimed = entry.hasTimers || entry.hasAlarm }
                    return isTimed ? entry.restartedCall(process.pid, thread, 0, Handlers()) : nil
                }
                if let call { calls.append(call) }
            }
        }
        return calls
    }

    /// Makes each of these calls start again in the restored process; a relative time limit counts from the restore.
    ///
    /// The instruction pointer goes back to the system call. A call without a number stays interrupted. Call it once.
    public func restart(_ calls: [InterruptedCall]) throws(CriuImageError) {
        for call in calls {
            guard let number = call.number else { continue }
            try set(
                call.thread, call: number, result: number,
                next: call.instruction - Registers.instructionLength)
        }
    }

    /// Has those of these calls end with EINTR that a signal ends which waits.
    public func end(_ calls: [RestartedCall]) throws(CriuImageError) {
        for call in calls where call.ends {
            try set(call.thread, call: call.number, result: Registers.interrupted, next: call.instruction)
        }
    }

    private func set(
        _ thread: Int32, call: UInt64, result: UInt64, next instruction: UInt64
    ) throws(CriuImageError) {
        var file = try file("core-\(thread).img", .core)
        _ = try file.onlyEntry()
        try file.edit(0, core_entry__unpack, core_entry__free_unpacked) { entry in
            guard let registers = entry.pointee.thread_info?.pointee.gpregs else { return }
            registers.pointee.orig_ax = call
            registers.pointee.ax = result
            registers.pointee.ip = instruction
        }
        try replace(file)
    }

    private func core<Result>(
        of thread: Int32, _ body: (CoreEntry) -> Result
    ) throws(CriuImageError) -> Result {
        let file = try file("core-\(thread).img", .core)
        _ = try file.onlyEntry()
        return try file.decode(0, core_entry__unpack, core_entry__free_unpacked) { body($0.pointee) }
    }
}

extension CoreEntry {
    /// Where the thread goes on and the call that it is just leaving with EINTR; nil when it is not, or when the call is
    /// none that waits for a time.
    fileprivate func interruptedCall(
        pending: UInt64
    ) -> (instruction: UInt64, number: UInt64)? {
        guard let registers = thread_info?.pointee.gpregs?.pointee, registers.cs == Registers.native64,
            registers.ax == Registers.interrupted, Registers.timedCalls.contains(registers.orig_ax),
            pending & ~blocked == 0
        else { return nil }
        return (registers.ip, registers.orig_ax)
    }

    /// The call that the thread begins again; nil when it is none that a signal ends.
    fileprivate func restartedCall(
        _ process: Int32, _ thread: Int32, _ pending: UInt64, _ handlers: Handlers
    ) -> RestartedCall? {
        // The instruction leaves in rcx where it ends: a call that has ended with its own number as its result goes on
        // there.
        guard let registers = thread_info?.pointee.gpregs?.pointee, registers.cs == Registers.native64,
            registers.ax == registers.orig_ax, registers.cx == registers.ip + Registers.instructionLength
        else { return nil }
        let restart = call_restart(registers.ax)
        if restart == 0 { return nil }
        let blocked = blocked
        let handled =
            pending & ~blocked & (restart == CALL_ERESTARTNOHAND ? handlers.all : handlers.ending)
        return RestartedCall(
            process: process, thread: thread, number: registers.ax, instruction: registers.cx,
            restart: restart, blocked: blocked, ends: handled != 0)
    }

    /// Whether timer_create(2) has made timers.
    fileprivate var hasTimers: Bool { (tc?.pointee.timers?.pointee.n_posix ?? 0) > 0 }

    /// Whether alarm(2) or setitimer(2) has set the timer of real time.
    fileprivate var hasAlarm: Bool {
        guard let left = tc?.pointee.timers?.pointee.real?.pointee else { return false }
        return left.vsec != 0 || left.vusec != 0
    }

    private var blocked: UInt64 {
        let thread = thread_core?.pointee
        return (thread?.has_blk_sigset == 1 ? thread?.blk_sigset : tc?.pointee.blk_sigset) ?? 0
    }
}

/// The signals that a process handles; signal N is bit N - 1.
private struct Handlers {
    private(set) var all: UInt64 = 0
    /// Those that end a call which the kernel could begin again: they have no SA_RESTART.
    private(set) var ending: UInt64 = 0

    init() {}

    init(_ task: TaskCoreEntry) {
        for (signal, action) in zip(SignalNumbers.withActions, messages(task.sigactions, task.n_sigactions))
        where action.pointee.sigaction > 1 {
            let bit: UInt64 = 1 << UInt64(signal - 1)
            all |= bit
            if action.pointee.flags & UInt64(SA_RESTART) == 0 { ending |= bit }
        }
    }
}

private enum Registers {
    /// The code segment of 64-bit programs (__USER_CS, arch/x86/include/asm/segment.h).
    static let native64: UInt64 = 0x33
    static let interrupted = UInt64(bitPattern: Int64(-EINTR))
    /// `syscall` is 0f 05.
    static let instructionLength: UInt64 = 2
    /// The calls that end with EINTR after a stop, by their x86-64 numbers (arch/x86/entry/syscalls/syscall_64.tbl):
    /// those that wait for a time, and those on sockets, which do once SO_RCVTIMEO or SO_SNDTIMEO is set. None of
    /// them has done anything when it returns EINTR. connect is not among them: it goes on by itself.
    static let timedCalls: Set<UInt64> = [
        0, 1, 19, 20,  // read, write, readv, writev: sockets with a time limit, inotify
        7, 271,  // poll, ppoll
        23, 270,  // select, pselect6
        232, 281, 441,  // epoll_wait, epoll_pwait, epoll_pwait2
        35, 230,  // nanosleep, clock_nanosleep
        202, 449, 455,  // futex, futex_waitv, futex_wait
        128,  // rt_sigtimedwait
        43, 288,  // accept, accept4
        44, 45, 46, 47, 299, 307,  // sendto, recvfrom, sendmsg, recvmsg, recvmmsg, sendmmsg
        65, 220,  // semop, semtimedop
        208, 333,  // io_getevents, io_pgetevents
        242, 243,  // mq_timedsend, mq_timedreceive
        restart,
    ]
    /// restart_syscall: one of the next four that was stopped before and goes on.
    static let restart: UInt64 = 219
    /// poll, nanosleep, clock_nanosleep and futex, which return ERESTART_RESTARTBLOCK (fs/select.c, kernel/time,
    /// kernel/futex/waitwake.c).
    static let withKeptTime: Set<UInt64> = [7, 35, 230, 202, restart]
}

/// A set of signals, one bit each.
struct SignalNumbers {
    /// Those of which an image has an action each, in this order: CRIU leaves out the two that cannot be handled
    /// (criu/sigact.c).
    static let withActions = (1...64).filter { $0 != Int(SIGKILL) && $0 != Int(SIGSTOP) }

    let bits: UInt64

    /// The numbers of the signals that wait in a queue.
    init(_ queue: UnsafeMutablePointer<SignalQueueEntry>?) {
        var bits: UInt64 = 0
        let entries = UnsafeBufferPointer(start: queue?.pointee.signals, count: queue?.pointee.n_signals ?? 0)
        for entry in entries {
            guard let information = entry?.pointee.siginfo, information.len >= 4, let bytes = information.data
            else { continue }
            let number = UnsafeRawPointer(bytes).loadUnaligned(as: Int32.self)
            if (1...64).contains(number) { bits |= 1 << UInt64(number - 1) }
        }
        self.bits = bits
    }
}
