import CLinux
import Glibc
import LinuxSystem
import Messages

/// Makes two servers on one root impossible: ROOT/server.pid, held with flock(2) and naming the holder.
///
/// The lock goes with the process, however it ends.
final class RootLock: Sendable {
    private static let name = "server.pid"
    private let directory: Descriptor
    private let file: Descriptor
    private let isHeld = Monitor(true)

    /// Takes the lock; throws `inUse`, naming the holder, when another server has it.
    init(in directory: borrowing Descriptor, path: String) throws(ErrorMessage) {
        file = try RootLock.lock(in: directory, path)
        do throws(SystemError) {
            self.directory = try directory.duplicate()
        } catch {
            throw ErrorMessage(.internal, "the server's lock cannot be kept", cause: "\(error)")
        }
    }

    private static func lock(
        in directory: borrowing Descriptor, _ path: String
    ) throws(ErrorMessage) -> Descriptor {
        var file = try RootLock.open(directory)
        let deadline = monotonicNanoseconds() + patience
        while true {
            guard flock(file.raw, LOCK_EX | LOCK_NB) == 0 else {
                let holder = holder(of: file)
                // A process that a server which was killed was just starting holds the lock too, until its execve(2).
                if let holder, !isRunning(holder), monotonicNanoseconds() < deadline {
                    usleep(pause)
                    continue
                }
                throw RootLock.held(holder, path)
            }
            if RootLock.isNamed(file.raw, directory) { break }
            // A server that ended meanwhile took the name away: this lock is on nobody's file.
            file = try RootLock.open(directory)
        }
        do throws(SystemError) {
            try retrying("ftruncate") { ftruncate(file.raw, 0) }
            try file.writeAll(Array("\(getpid())\n".utf8))
        } catch {
            throw ErrorMessage(.internal, "\(path)/server.pid cannot be written", cause: "\(error)")
        }
        return file
    }

    /// Takes the file away and lets the lock go; once, for the name may be another server's afterwards.
    func release() {
        isHeld.with { isHeld in
            guard isHeld else { return }
            unlinkat(directory.raw, RootLock.name, 0)
            _ = flock(file.raw, LOCK_UN)
            isHeld = false
        }
    }

    deinit { release() }

    private static func open(_ directory: borrowing Descriptor) throws(ErrorMessage) -> Descriptor {
        do throws(SystemError) {
            return try Descriptor.open(name, below: directory, O_RDWR | O_CREAT | O_NOFOLLOW, mode: 0o600)
        } catch {
            throw ErrorMessage(.internal, "the server's lock cannot be opened", cause: "\(error)")
        }
    }

    /// Longest that the lock of a server that has ended is waited for, in nanoseconds, and how often it is tried, in
    /// microseconds.
    private static let (patience, pause): (UInt64, UInt32) = (5_000_000_000, 5000)

    /// Whom the file names; nil where that is nobody yet.
    private static func holder(of file: borrowing Descriptor) -> Int32? {
        var bytes = [UInt8](repeating: 0, count: 32)
        let count = pread(file.raw, &bytes, bytes.count, 0)
        let text = String(decoding: bytes.prefix(max(count, 0)), as: UTF8.self)
        return text.split(separator: "\n").first.flatMap { Int32($0) }
    }

    /// A zombie does not.
    private static func isRunning(_ pid: Int32) -> Bool {
        let process = clinux_pidfd_open(pid)
        guard process >= 0 else { return false }
        defer { close(process) }
        var ended = pollfd(fd: process, events: Int16(POLLIN), revents: 0)
        return poll(&ended, 1, 0) == 0
    }

    private static func held(_ pid: Int32?, _ path: String) -> ErrorMessage {
        ErrorMessage(
            .inUse, "another server (\(pid.map { "pid \($0)" } ?? "just starting")) has \(path)",
            hint: "use that one, or end it with ckpt serve --stop")
    }

    private static func isNamed(_ file: Int32, _ directory: borrowing Descriptor) -> Bool {
        var own = stat()
        var named = stat()
        return fstat(file, &own) == 0 && fstatat(directory.raw, name, &named, AT_SYMLINK_NOFOLLOW) == 0
            && own.st_ino == named.st_ino && own.st_dev == named.st_dev
    }
}
