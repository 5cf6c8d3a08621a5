import CCriuImages
import Glibc

extension ImageDirectory {
    /// Makes every timed system call that the dump broke off start again in the restored process.
    ///
    /// A process that is stopped inside poll, nanosleep and the like leaves the call with EINTR (signal(7),
    /// "Interruption of system calls … by stop signals"), and CRIU restores it so, where programs without signal
    /// handlers never met EINTR: `tail -F` ends. Of the calls that the kernel would restart by itself CRIU 4.2
    /// restores those without a time limit only (compel/arch/x86/src/lib/infect.c, `ERESTART_RESTARTBLOCK`).
    /// So the instruction pointer goes back to the system call; a relative time limit counts from the restore.
    ///
    /// A call stays interrupted when a signal waits that will be handled: its handler's program expects EINTR.
    /// Call it once; the second time there is nothing to do. Returns how many calls will start again.
    @discardableResult
    public func restartInterruptedCalls() throws(CriuImageError) -> Int {
        var restarted = 0
        for process in try processes() where process.state != .zombie {
            let pendingForAll = try pendingSignals(of: process.pid)
            for thread in process.threads {
                var file = try file("core-\(thread).img", .core)
                _ = try file.onlyEntry()
                var changed = false
                try file.edit(0, core_entry__unpack, core_entry__free_unpacked) { entry in
                    changed = entry.pointee.restartCall(pendingForAll: pendingForAll)
                }
                guard changed else { continue }
                try replace(file)
                restarted += 1
            }
        }
        return restarted
    }

    private func pendingSignals(of pid: Int32) throws(CriuImageError) -> SignalNumbers {
        let file = try file("core-\(pid).img", .core)
        _ = try file.onlyEntry()
        return try file.decode(0, core_entry__unpack, core_entry__free_unpacked) { entry in
            SignalNumbers(entry.pointee.tc?.pointee.signals_s)
        }
    }
}

extension CoreEntry {
    /// Moves the thread back to the system call that it is just leaving with EINTR; false when it is not, or when
    /// the call is none that waits for a time.
    fileprivate func restartCall(pendingForAll: SignalNumbers) -> Bool {
        guard let registers = thread_info?.pointee.gpregs, registers.pointee.cs == Registers.native64,
            registers.pointee.ax == Registers.interrupted,
            Registers.timedCalls.contains(registers.pointee.orig_ax)
        else { return false }
        let thread = thread_core?.pointee
        let blocked = thread?.has_blk_sigset == 1 ? thread?.blk_sigset : tc?.pointee.blk_sigset
        let pending = pendingForAll.union(SignalNumbers(thread?.signals_p))
        guard pending.subtracting(SignalNumbers(mask: blocked ?? 0)).isEmpty else { return false }
        registers.pointee.ax = registers.pointee.orig_ax
        registers.pointee.ip -= Registers.instructionLength
        return true
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
    ]
}

/// A set of signals, one bit each.
private struct SignalNumbers {
    private let bits: UInt64

    /// As the kernel keeps it: signal N is bit N - 1.
    init(mask: UInt64) { bits = mask }

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

    var isEmpty: Bool { bits == 0 }
    func union(_ other: SignalNumbers) -> SignalNumbers { SignalNumbers(mask: bits | other.bits) }
    func subtracting(_ other: SignalNumbers) -> SignalNumbers { SignalNumbers(mask: bits & ~other.bits) }
}
