public import Glibc

/// An open file descriptor that is owned: it closes when its owner goes.
public struct Descriptor: ~Copyable, Sendable {
    /// The number the kernel knows it by; valid while this value lives.
    public let raw: Int32

    /// Takes ownership of an open descriptor.
    public init(owning raw: Int32) {
        precondition(raw >= 0, "a descriptor is not negative")
        self.raw = raw
    }

    deinit { _ = Glibc.close(raw) }

    /// Gives ownership away; the caller closes it.
    public consuming func release() -> Int32 {
        let number = raw
        discard self
        return number
    }

    /// Opens `path` close-on-exec (open(2)).
    public static func open(
        _ path: String, _ flags: Int32, mode: mode_t = 0o600
    ) throws(SystemError) -> Descriptor {
        Descriptor(owning: try retrying("open", path) { Glibc.open(path, flags | O_CLOEXEC, mode) })
    }

    /// Opens `path` below `directory` close-on-exec (openat(2)).
    public static func open(
        _ path: String, below directory: borrowing Descriptor, _ flags: Int32, mode: mode_t = 0o600
    ) throws(SystemError) -> Descriptor {
        let at = directory.raw
        return Descriptor(owning: try retrying("openat", path) { openat(at, path, flags | O_CLOEXEC, mode) })
    }

    /// A second descriptor of the same open file, close-on-exec.
    public func duplicate() throws(SystemError) -> Descriptor {
        Descriptor(owning: try retrying("fcntl(F_DUPFD_CLOEXEC)") { fcntl(raw, F_DUPFD_CLOEXEC, 3) })
    }

    /// Writes all of `bytes`, however many calls it takes (write(2)).
    public func writeAll(_ bytes: [UInt8]) throws(SystemError) {
        try bytes.withUnsafeBufferPointer { (buffer) throws(SystemError) in
            try writeAll(UnsafeRawBufferPointer(buffer))
        }
    }

    /// The same for bytes that lie anywhere in memory.
    public func writeAll(_ bytes: UnsafeRawBufferPointer) throws(SystemError) {
        var sent = 0
        while sent < bytes.count {
            let from = sent
            sent += try retrying("write") {
                Glibc.write(raw, bytes.baseAddress! + from, bytes.count - from)
            }
        }
    }

    /// Reads at most `limit` bytes; an empty array is the end of the file (read(2)).
    public func read(upTo limit: Int) throws(SystemError) -> [UInt8] {
        var failure: SystemError?
        let bytes = [UInt8](unsafeUninitializedCapacity: limit) { buffer, count in
            while true {
                let got = Glibc.read(raw, buffer.baseAddress, limit)
                if got >= 0 {
                    count = got
                    return
                }
                if errno == EINTR { continue }
                failure = .last("read")
                return
            }
        }
        if let failure { throw failure }
        return bytes
    }

    /// Reads to the end of the file.
    public func readAll() throws(SystemError) -> [UInt8] {
        var all: [UInt8] = []
        while true {
            let part = try read(upTo: 65536)
            if part.isEmpty { return all }
            all += part
        }
    }

    /// Makes the file's data and metadata durable (fsync(2)).
    public func synchronize() throws(SystemError) {
        try retrying("fsync") { fsync(raw) }
    }
}
