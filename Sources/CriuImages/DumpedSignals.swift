import CCriuImages
import CProtobufC
import Glibc

/// The signals that waited for a process when CRIU looked at them, which is before it looks at its timers.
///
/// In between, while everything stands still, timers go off: CRIU 4.2 reads the queues first, then descriptors and memory,
/// and then the timers (criu/cr-dump.c, `dump_one_task`). A timer that goes off in between is in neither: alarm(2), or
/// the `timeout` of coreutils, would never end.
public struct DumpedSignals: Equatable, Sendable {
    public struct Queue: Equatable, Sendable {
        /// Signal N is bit N - 1.
        public let signals: UInt64
        /// How many there are; those that come later come behind them.
        public let count: Int
    }

    /// Its id in the sandbox.
    public let process: Int32
    /// For the process as a whole.
    public internal(set) var shared: Queue
    /// For each of its threads, by their ids in the sandbox, the first one's first.
    public internal(set) var threads: [(thread: Int32, queue: Queue)]
    /// Whether timer_create(2) has made timers, which may signal one thread, and with a signal that waits already.
    public internal(set) var hasTimers: Bool
    /// Whether alarm(2) or setitimer(2) has set the timer of real time.
    public internal(set) var hasAlarm: Bool

    /// Whether signals of its timers may come at any time.
    public var isTimed: Bool { hasTimers || hasAlarm }

    public static func == (one: Self, other: Self) -> Bool {
        one.process == other.process && one.shared == other.shared && one.hasTimers == other.hasTimers
            && one.hasAlarm == other.hasAlarm && one.threads.elementsEqual(other.threads, by: ==)
    }

    /// Whether a queue may have grown in which `now` waits; a bit each.
    public func mayHaveGrown(_ queue: Queue, to now: UInt64) -> Bool {
        now != 0 && (hasTimers || now & ~queue.signals != 0)
    }
}

/// What /proc tells of a thread that stands still.
public struct TaskStatus: Sendable {
    /// On the host, and in its sandbox.
    public let hostID: Int32
    public let id: Int32
    /// The signals that wait for it, and for its process as a whole; signal N is bit N - 1.
    public let pending: UInt64
    public let shared: UInt64

    /// nil where the thread is gone.
    public init?(of thread: Int32) {
        guard let status = ProcText("/proc/\(thread)/status"), let inner = status.numbers("NSpid:").last,
            let pending = status.numbers("SigPnd:", radix: 16).first,
            let shared = status.numbers("ShdPnd:", radix: 16).first
        else { return nil }
        (hostID, id, self.pending, self.shared) = (thread, Int32(truncatingIfNeeded: inner), pending, shared)
    }
}

/// Signals that came to one queue after CRIU had read it.
public struct LaterSignals: Equatable, Sendable {
    /// By their ids in the sandbox; the queue of the process as a whole has no thread.
    public let process: Int32
    public let thread: Int32?
    /// In their order, each a `siginfo_t` (sigaction(2)) of 128 bytes.
    public let signals: [[UInt8]]

    public init(process: Int32, thread: Int32?, signals: [[UInt8]]) {
        (self.process, self.thread, self.signals) = (process, thread, signals)
    }
}

extension ImageDirectory {
    /// Has these signals wait after a restore as well.
    ///
    /// One is left out whose timer goes off again, for it was dumped with time left.
    public func add(_ later: [LaterSignals]) throws(CriuImageError) {
        for queue in later {
            var timers: [TimerState] = []
            try file("core-\(queue.process).img", .core).decodeOnly(
                core_entry__unpack, core_entry__free_unpacked
            ) { timers = TimerState.all(of: $0.pointee) }
            let kept = queue.signals.filter { signal in
                !timers.contains { $0.goesOffAgain && $0.sends(signal) }
            }
            if kept.isEmpty { continue }
            var file = try file("core-\(queue.thread ?? queue.process).img", .core)
            _ = try file.onlyEntry()
            try file.edit(0, core_entry__unpack, core_entry__free_unpacked) { entry in
                func extend(_ place: inout UnsafeMutablePointer<SignalQueueEntry>?) {
                    let known = messages(place?.pointee.signals, place?.pointee.n_signals ?? 0).map {
                        $0.pointee.siginfo.bytes
                    }
                    signal_queue_entry__free_unpacked(place, nil)
                    place = allocated(known + kept)
                }
                if queue.thread == nil {
                    if let task = entry.pointee.tc { extend(&task.pointee.signals_s) }
                } else if let thread = entry.pointee.thread_core {
                    extend(&thread.pointee.signals_p)
                }
            }
            try replace(file)
        }
    }
}

/// A timer as it was dumped.
private struct TimerState {
    /// si_code of sigaction(2): the kernel's own, and of a timer that timer_create(2) made, whose id follows.
    private static let (kernel, timer): (Int32, Int32) = (0x80, -2)

    /// nil for alarm(2) and setitimer(2) by real time.
    let id: UInt32?
    /// Whether the signal came after CRIU had read the timer: a periodic one that went off before has most of its
    /// interval left.
    let goesOffAgain: Bool

    private init(id: UInt32?, left: Double, interval: Double) {
        self.id = id
        goesOffAgain = left > 0 && (interval == 0 || left < interval / 2)
    }

    static func all(of entry: CoreEntry) -> [Self] {
        guard let timers = entry.tc?.pointee.timers?.pointee else { return [] }
        let posix = messages(timers.posix, timers.n_posix).map { timer in
            let timer = timer.pointee
            return Self(
                id: timer.it_id, left: Double(timer.vsec) + Double(timer.vnsec) / 1e9,
                interval: Double(timer.isec) + Double(timer.insec) / 1e9)
        }
        guard let real = timers.real?.pointee else { return posix }
        return posix + [
            Self(
                id: nil, left: Double(real.vsec) + Double(real.vusec) / 1e6,
                interval: Double(real.isec) + Double(real.iusec) / 1e6)
        ]
    }

    func sends(_ signal: [UInt8]) -> Bool {
        guard signal.count >= 20 else { return false }
        func word(_ offset: Int) -> Int32 {
            signal.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: Int32.self) }
        }
        if let id { return word(8) == Self.timer && UInt32(bitPattern: word(16)) == id }
        return word(0) == SIGALRM && word(8) == Self.kernel
    }
}

/// A message that `…__free_unpacked` takes apart: protobuf-c's own allocator is malloc(3).
private func allocated(_ signals: [[UInt8]]) -> UnsafeMutablePointer<SignalQueueEntry> {
    func room<Message>(_ count: Int = 1, of: Message.Type) -> UnsafeMutablePointer<Message> {
        calloc(max(count, 1), MemoryLayout<Message>.stride)!.bindMemory(
            to: Message.self, capacity: max(count, 1))
    }
    let queue = room(of: SignalQueueEntry.self)
    signal_queue_entry__init(queue)
    if signals.isEmpty { return queue }
    queue.pointee.n_signals = signals.count
    queue.pointee.signals = room(signals.count, of: UnsafeMutablePointer<SiginfoEntry>?.self)
    for (index, signal) in signals.enumerated() {
        let entry = room(of: SiginfoEntry.self)
        siginfo_entry__init(entry)
        let bytes = room(signal.count, of: UInt8.self)
        bytes.update(from: signal, count: signal.count)
        entry.pointee.siginfo = ProtobufCBinaryData(len: signal.count, data: bytes)
        queue.pointee.signals[index] = entry
    }
    return queue
}
