import CLinux
import CTwin
import Glibc
public import LinuxSystem

/// The tasks that a CRIU worker holds stopped, reached through the worker.
///
/// A task has one tracer, and that is the worker until it lets the tree go, which it does in the same breath as the
/// tasks run on. While the worker waits for the answer to a notification, it is made to ask ptrace(2) for what we want
/// to know or change. All calls must come from the thread that made the value.
public struct HeldTasks: ~Copyable {
    private let worker: Int32
    private let borrowed: OpaquePointer

    /// Stops the worker of a notification that has not been answered yet.
    public init(of worker: Int32) throws(SystemError) {
        var code: Int32 = 0
        guard let borrowed = clinux_borrow(worker, &code) else {
            throw SystemError(call: "ptrace", code: code, subject: "CRIU")
        }
        self.worker = worker
        self.borrowed = borrowed
    }

    deinit { clinux_give_back(borrowed) }

    /// The requests of <linux/ptrace.h> that are used here.
    private enum Request: UInt {
        case pokeUser = 6
        case singleStep = 9
        case getRegisters = 12
        case setRegisters = 13
        case peekSignals = 0x4209
        case getSignalMask = 0x420a
        case setSignalMask = 0x420b
    }

    /// Numbers of system calls (arch/x86/entry/syscalls/syscall_64.tbl).
    private enum Call: Int {
        case wait4 = 61
        case ptrace = 101
    }

    /// __WALL of wait4(2).
    private static let anyThread: UInt = 0x4000_0000

    /// Where a register lies in the kernel's `struct user_regs_struct` of x86-64 (<sys/user.h>).
    private enum Offset: UInt {
        case rax = 80
    }

    /// Has a thread leave a system call as if it had just been interrupted: whether it begins again is the kernel's to
    /// say when the thread goes on, for a signal may come until then.
    ///
    /// `instruction` is where the thread goes on, right after `syscall`; `restart` is CALL_ERESTARTSYS or
    /// CALL_ERESTARTNOHAND (ccalls.h), what the kernel leaves in rax for that.
    public func interrupt(
        _ thread: Int32, call: UInt64, instruction: UInt64, _ restart: Int32
    ) throws(SystemError) {
        // In one step: with one of the three alone the call would have a result that it never gives.
        let memory = UInt(clinux_borrowed_memory(borrowed))
        try ptrace(.getRegisters, thread, 0, memory)
        var registers = try read(memory, as: user_regs_struct.self)
        registers.orig_rax = call
        registers.rax = UInt64(bitPattern: Int64(restart))
        registers.rip = instruction
        try write(registers, at: memory)
        try ptrace(.setRegisters, thread, 0, memory)
    }

    /// Has the kernel go on with the call that a thread is leaving, for what is left of its time.
    ///
    /// That is what ERESTART_RESTARTBLOCK asks for, which CRIU 4.2 made EINTR of (compel/arch/x86/src/lib/infect.c).
    /// The kernel still knows when the call ends, unless the thread went through rt_sigreturn(2) since, as CRIU makes
    /// the first thread of a process do.
    public func resumeBlockedCall(_ thread: Int32) throws(SystemError) {
        try poke(thread, .rax, UInt64(bitPattern: Int64(CALL_ERESTART_RESTARTBLOCK)))
    }

    /// Has a thread make a system call, `arguments` of which may be six, and returns what the kernel answered.
    ///
    /// The thread must stand outside any system call and be left as it was: so all registers and signals are.
    /// `instruction` is where its memory holds a `syscall`.
    public func call(
        _ thread: Int32, _ number: UInt64, _ arguments: [UInt64], instruction: UInt64
    ) throws(SystemError) -> Int {
        let memory = UInt(clinux_borrowed_memory(borrowed))
        let mask = memory + UInt(MemoryLayout<user_regs_struct>.size)
        try ptrace(.getSignalMask, thread, 8, mask)
        let blocked = try read(mask, as: UInt64.self)
        try ptrace(.getRegisters, thread, 0, memory)
        let before = try read(memory, as: user_regs_struct.self)
        // A signal would come before the step. The step's own is not blocked: the kernel would take away its handler
        // (force_sig_info_to_task in kernel/signal.c).
        try write(~(UInt64(1) << UInt64(SIGTRAP - 1)), at: mask)
        try ptrace(.setSignalMask, thread, 8, mask)
        var made = before
        made.rip = instruction
        made.rax = number
        made.orig_rax = .max
        let six = arguments + Array(repeating: 0, count: 6 - arguments.count)
        (made.rdi, made.rsi, made.rdx, made.r10, made.r8, made.r9) =
            (six[0], six[1], six[2], six[3], six[4], six[5])
        try write(made, at: memory)
        try ptrace(.setRegisters, thread, 0, memory)
        try ptrace(.singleStep, thread, 0, 0)
        try remote(.wait4, UInt(thread), 0, Self.anyThread)
        try ptrace(.getRegisters, thread, 0, memory)
        let after = try read(memory, as: user_regs_struct.self)
        try write(before, at: memory)
        try ptrace(.setRegisters, thread, 0, memory)
        try write(blocked, at: mask)
        try ptrace(.setSignalMask, thread, 8, mask)
        return Int(Int64(bitPattern: after.rax))
    }

    /// The signals that wait for a thread, or with `shared` for its process, from the one with index `start` on; in the
    /// order they came, each a `siginfo_t`.
    public func pendingSignals(of thread: Int32, shared: Bool, from start: Int) throws(SystemError)
        -> [[UInt8]]
    {
        let size = MemoryLayout<siginfo_t>.size
        let arguments = UInt(clinux_borrowed_memory(borrowed))
        let room = arguments + UInt(MemoryLayout<PeekArguments>.size)
        let most = (Int(clinux_borrowed_size) - MemoryLayout<PeekArguments>.size) / size
        var signals: [[UInt8]] = []
        while true {
            try write(
                PeekArguments(
                    offset: UInt64(start + signals.count), flags: shared ? 1 : 0, count: Int32(most)),
                at: arguments)
            let count = try remote(.ptrace, Request.peekSignals.rawValue, UInt(thread), arguments, room)
            if count == 0 { return signals }
            var bytes = [UInt8](repeating: 0, count: count * size)
            let code = clinux_read_memory(worker, room, &bytes, UInt(bytes.count))
            guard code == 0 else { throw SystemError(call: "process_vm_readv", code: code) }
            signals += stride(from: 0, to: bytes.count, by: size).map { Array(bytes[$0..<$0 + size]) }
        }
    }

    /// `struct ptrace_peeksiginfo_args` of <linux/ptrace.h>; flag 1 is PTRACE_PEEKSIGINFO_SHARED.
    private struct PeekArguments: BitwiseCopyable {
        let offset: UInt64
        let flags: UInt32
        let count: Int32
    }

    private func poke(_ thread: Int32, _ offset: Offset, _ value: UInt64) throws(SystemError) {
        try ptrace(.pokeUser, thread, offset.rawValue, UInt(value))
    }

    private func ptrace(
        _ request: Request, _ thread: Int32, _ address: UInt, _ data: UInt
    ) throws(SystemError) {
        try remote(.ptrace, request.rawValue, UInt(thread), address, data)
    }

    @discardableResult
    private func remote(_ number: Call, _ arguments: UInt...) throws(SystemError) -> Int {
        let six = arguments + Array(repeating: 0, count: 6 - arguments.count)
        let result = clinux_borrowed_call(borrowed, number.rawValue, six)
        // The kernel's negative errnos (include/linux/err.h, MAX_ERRNO).
        if (-4095..<0).contains(result) {
            throw SystemError(call: "ptrace", code: Int32(-result), subject: "a task that CRIU holds")
        }
        return result
    }

    private func read<Value: BitwiseCopyable>(_ address: UInt, as: Value.Type) throws(SystemError) -> Value {
        let size = MemoryLayout<Value>.size
        let bytes = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 16)
        defer { bytes.deallocate() }
        let code = clinux_read_memory(worker, address, bytes, UInt(size))
        guard code == 0 else { throw SystemError(call: "process_vm_readv", code: code) }
        return bytes.load(as: Value.self)
    }

    private func write<Value: BitwiseCopyable>(_ value: Value, at address: UInt) throws(SystemError) {
        let code = withUnsafeBytes(of: value) {
            clinux_write_memory(worker, address, $0.baseAddress, UInt($0.count))
        }
        guard code == 0 else { throw SystemError(call: "process_vm_writev", code: code) }
    }
}
