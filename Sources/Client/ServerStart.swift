import CLinux
import FoundationEssentials
import Glibc
import LinuxSystem
import Messages

/// Starts a server and connects to it; many at once start one.
struct ServerStart {
    private static let pause: UInt32 = 5_000
    private let endpoint: Endpoint
    private let launch: ServerLaunch
    private let deadline: UInt64

    init(endpoint: Endpoint, launch: ServerLaunch) {
        self.endpoint = endpoint
        self.launch = launch
        deadline = monotonicNanoseconds() + endpoint.patience * 1_000_000
    }

    /// Takes the start lock, looks again, starts a server and waits until it listens.
    ///
    /// A server that is just ending, or was started by hand and does not listen yet, holds its own lock: ours
    /// then says `inUse`, and we wait for the one or for the other's end.
    func run() throws(ErrorMessage) -> Descriptor {
        let lock = try takeLock()
        defer { _ = flock(lock.raw, LOCK_UN) }
        var last = ErrorMessage(.internal, "the server did not listen in time")
        repeat {
            if let socket = try endpoint.connectOnce() { return socket }
            do throws(ErrorMessage) {
                try start()
                if let socket = try endpoint.connectOnce() { return socket }
            } catch {
                guard error.code == .inUse else { throw error }
                last = error
            }
            usleep(ServerStart.pause)
        } while monotonicNanoseconds() < deadline
        throw last
    }

    /// Starts a server although one may run, whose place it is to take; returns when it serves.
    func replace() throws(ErrorMessage) {
        let lock = try takeLock()
        defer { _ = flock(lock.raw, LOCK_UN) }
        try start()
    }

    private func takeLock() throws(ErrorMessage) -> Descriptor {
        let path = "\(endpoint.root)/server.start"
        let lock: Descriptor
        do throws(SystemError) {
            try Files.makeDirectory(endpoint.root)
            lock = try Descriptor.open(path, O_RDWR | O_CREAT | O_NOFOLLOW)
        } catch {
            throw ErrorMessage(
                error.code == EACCES || error.code == EPERM ? .notPermitted : .internal,
                "cannot start a server in \(endpoint.root)",
                hint: "choose another root with --root or CKPT_ROOT", cause: "\(error)")
        }
        while flock(lock.raw, LOCK_EX | LOCK_NB) != 0 {
            guard monotonicNanoseconds() < deadline else {
                throw ErrorMessage(
                    .inUse, "another process has been starting a server in \(endpoint.root) for too long")
            }
            usleep(ServerStart.pause)
        }
        return lock
    }

    /// Spawns the server and waits for its report.
    private func start() throws(ErrorMessage) {
        let log = try openLog()
        let pipe = try makePipe()
        let reading = Descriptor(owning: pipe.reading)
        let logEnd = lseek(log.raw, 0, SEEK_END)
        let status = spawn(log: log.raw, ready: pipe.writing)
        _ = close(pipe.writing)
        guard status == 0 else {
            let error = SystemError(call: "execve", code: status, subject: launch.executable)
            throw ErrorMessage(.internal, "cannot start a server", cause: "\(error)")
        }
        let report = try readReport(reading)
        if report.first == UInt8(ascii: "+") { return }
        if let error = try? JSONDecoder().decode(ErrorMessage.self, from: Data(report)) { throw error }
        throw ErrorMessage(
            .internal, "the server ended before it listened", hint: "see \(endpoint.root)/server.log",
            cause: logLines(after: logEnd))
    }

    private func spawn(log: Int32, ready: Int32) -> Int32 {
        let arguments = ["ckpt"] + launch.arguments + ["--ready-fd", "3"]
        var pointers = arguments.map { strdup($0) } + [nil]
        defer { pointers.forEach { free($0) } }
        return clinux_spawn_detached(launch.executable, &pointers, environ, log, ready)
    }

    /// Reads the pipe to its end or the deadline.
    private func readReport(_ pipe: borrowing Descriptor) throws(ErrorMessage) -> [UInt8] {
        var report: [UInt8] = []
        while true {
            let now = monotonicNanoseconds()
            var entry = pollfd(fd: pipe.raw, events: Int16(POLLIN), revents: 0)
            let wait = now < deadline ? Int32(clamping: (deadline - now) / 1_000_000 + 1) : 0
            let ready = poll(&entry, 1, wait)
            if ready < 0 && errno == EINTR { continue }
            guard ready > 0 else {
                throw ErrorMessage(
                    .internal, "the server did not listen within \(endpoint.patience / 1000) s",
                    hint: "see \(endpoint.root)/server.log")
            }
            guard let bytes = try? pipe.read(upTo: 4096), !bytes.isEmpty else { return report }
            report += bytes
            if report.first == UInt8(ascii: "+") { return report }
        }
    }

    /// The last lines that this start wrote to the log.
    private func logLines(after offset: Int) -> String? {
        guard let file = try? Descriptor.open("\(endpoint.root)/server.log", O_RDONLY) else { return nil }
        let end = lseek(file.raw, 0, SEEK_END)
        lseek(file.raw, max(offset, end - 4096), SEEK_SET)
        guard let bytes = try? file.readAll(), !bytes.isEmpty else { return nil }
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n").suffix(10)
            .joined(separator: "\n")
    }

    private func openLog() throws(ErrorMessage) -> Descriptor {
        do throws(SystemError) {
            return try Descriptor.open(
                "\(endpoint.root)/server.log", O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW)
        } catch {
            throw ErrorMessage(.internal, "cannot start a server", cause: "\(error)")
        }
    }

    private func makePipe() throws(ErrorMessage) -> (reading: Int32, writing: Int32) {
        var ends: [Int32] = [-1, -1]
        guard pipe2(&ends, O_CLOEXEC) == 0 else {
            throw ErrorMessage(.internal, "cannot start a server", cause: "\(SystemError.last("pipe2"))")
        }
        return (ends[0], ends[1])
    }
}
