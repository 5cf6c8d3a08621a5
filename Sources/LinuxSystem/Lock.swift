import Glibc

/// A mutex and a condition variable around one value (pthread_mutex(3), pthread_cond(3)).
///
/// `Synchronization.Mutex` has no condition to wait on; this is the one place that supplies it.
public final class Monitor<Value>: @unchecked Sendable {
    // Sendable because `value` is only reached with `mutex` held, and the two pthread objects live at
    // addresses that do not move between init and deinit.
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let condition: UnsafeMutablePointer<pthread_cond_t>
    private var value: Value

    /// Guards `value`.
    public init(_ value: sending Value) {
        self.value = value
        mutex = .allocate(capacity: 1)
        condition = .allocate(capacity: 1)
        var attributes = pthread_condattr_t()
        pthread_condattr_init(&attributes)
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        pthread_mutex_init(mutex, nil)
        pthread_cond_init(condition, &attributes)
        pthread_condattr_destroy(&attributes)
    }

    deinit {
        pthread_cond_destroy(condition)
        pthread_mutex_destroy(mutex)
        condition.deallocate()
        mutex.deallocate()
    }

    /// Runs `body` alone on the value, and wakes every waiter afterwards when `wake` is set.
    @discardableResult
    public func with<Result, Failure: Error>(
        wake: Bool = false, _ body: (inout Value) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        pthread_mutex_lock(mutex)
        defer {
            if wake { pthread_cond_broadcast(condition) }
            pthread_mutex_unlock(mutex)
        }
        return try body(&value)
    }

    /// Waits until `body` gives a result, asking again after each wake; nil when `deadline` passes first.
    ///
    /// `deadline` is in nanoseconds of CLOCK_MONOTONIC; nil waits for ever.
    @discardableResult
    public func wait<Result>(until deadline: UInt64? = nil, _ body: (inout Value) -> Result?) -> Result? {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        while true {
            if let result = body(&value) { return result }
            guard let deadline else {
                pthread_cond_wait(condition, mutex)
                continue
            }
            var at = timespec(tv_sec: Int(deadline / 1_000_000_000), tv_nsec: Int(deadline % 1_000_000_000))
            if pthread_cond_timedwait(condition, mutex, &at) == ETIMEDOUT { return body(&value) }
        }
    }
}

/// Nanoseconds of CLOCK_MONOTONIC.
public func monotonicNanoseconds() -> UInt64 {
    var now = timespec()
    clock_gettime(CLOCK_MONOTONIC, &now)
    return UInt64(now.tv_sec) * 1_000_000_000 + UInt64(now.tv_nsec)
}

/// Runs `body` on a thread of its own, which nobody joins (pthread_create(3)).
///
/// Where there is none to be had (EAGAIN: the limit on threads, no memory) it waits for one, for ten seconds at most.
public func startThread(_ body: @escaping @Sendable () -> Void) {
    final class Box: Sendable {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
    var thread = pthread_t()
    var attributes = pthread_attr_t()
    pthread_attr_init(&attributes)
    pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
    let box = Unmanaged.passRetained(Box(body))
    let start: @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? = { argument in
        Unmanaged<Box>.fromOpaque(argument!).takeRetainedValue().body()
        return nil
    }
    var status = pthread_create(&thread, &attributes, start, box.toOpaque())
    // Others end, and what they leave is enough: to die would break off what everybody else does.
    let patience = monotonicNanoseconds() + 30_000_000_000
    while status == EAGAIN, monotonicNanoseconds() < patience {
        usleep(10_000)
        status = pthread_create(&thread, &attributes, start, box.toOpaque())
    }
    pthread_attr_destroy(&attributes)
    precondition(status == 0, "pthread_create: \(String(cString: strerror(status)))")
}
