import CLinux
import Glibc
public import LinuxSystem

/// The files of one sandbox, seen from outside and resolved inside.
///
/// Every path is opened with openat2(2) below the root of PID 1, with RESOLVE_IN_ROOT and RESOLVE_NO_MAGICLINKS: an
/// absolute symbolic link means the sandbox's root, `..` stops there, and /proc/PID/root leads nowhere. What is found
/// is opened without any right first (O_PATH), and for real only once it is known to be no FIFO and no device.
public struct SandboxFiles: ~Copyable, Sendable {
    private let root: Descriptor

    /// The files of the sandbox of PID 1 `pid`.
    public init(inSandboxOf pid: Int32) throws(SystemError) {
        root = try Descriptor.open("/proc/\(pid)/root", O_PATH | O_DIRECTORY)
    }

    /// A handle on what is at `path`, without the right to read or write it (open(2), O_PATH).
    public func find(_ path: String, follow: Bool = true) throws(SystemError) -> Descriptor {
        try open(path, O_PATH | (follow ? 0 : O_NOFOLLOW))
    }

    /// Opens a regular file for reading.
    public func read(_ path: String) throws(SystemError) -> Descriptor {
        let handle = try find(path)
        try Self.requireRegular(handle, path)
        return try Self.reopen(handle, O_RDONLY | O_NONBLOCK, path)
    }

    /// A handle on a directory that files may be made in.
    public func place(_ path: String) throws(SystemError) -> Descriptor {
        let directory = try open(path, O_PATH | O_DIRECTORY)
        try Self.requireOrdinary(directory, path)
        return directory
    }

    /// Opens a directory for listing.
    public func list(_ path: String) throws(SystemError) -> Descriptor {
        try open(path, O_RDONLY | O_DIRECTORY)
    }

    /// Opens a regular file for writing, made where it is missing; `flags` is O_APPEND or nothing.
    /// Says whether it was made.
    public func write(
        _ path: String, _ flags: Int32, mode: UInt32
    ) throws(SystemError) -> (raw: Int32, isNew: Bool) {
        // Twice where somebody inside makes or removes it at the same time.
        for _ in 0..<16 {
            do throws(SystemError) {
                let handle = try find(path)
                try Self.requireRegular(handle, path)
                try Self.requireOrdinary(handle, path)
                return (try Self.reopen(handle, O_WRONLY | O_NONBLOCK | flags, path).release(), false)
            } catch  where error.code == ENOENT {}
            _ = try directory(of: path)
            do throws(SystemError) {
                let created = try open(path, O_WRONLY | O_CREAT | O_EXCL, mode: mode)
                return (created.release(), true)
            } catch  where error.code == EEXIST {}
        }
        throw SystemError(call: "openat2", code: ELOOP, subject: path)
    }

    /// A handle on the directory that holds `path`, fit to make a file in it.
    public func directory(of path: String) throws(SystemError) -> Descriptor {
        try place(Self.parent(of: path))
    }

    /// Makes the directories above `path` that are missing, mode 0755.
    public func makeParents(of path: String) throws(SystemError) {
        let parent = Self.parent(of: path)
        do throws(SystemError) {
            _ = try open(parent, O_PATH | O_DIRECTORY)
            return
        } catch  where error.code == ENOENT {}
        try makeParents(of: parent)
        let above = try directory(of: parent)
        let number = above.raw
        do throws(SystemError) {
            try retrying("mkdirat", parent) { mkdirat(number, Self.name(of: parent), 0o755) }
        } catch  where error.code == EEXIST {}
    }

    /// The path without its last part.
    static func parent(of path: String) -> String {
        let parts = path.split(separator: "/")
        return "/" + parts.dropLast().joined(separator: "/")
    }

    /// The last part of a path; `.` for the root.
    public static func name(of path: String) -> String {
        path.split(separator: "/").last.map(String.init) ?? "."
    }

    private func open(_ path: String, _ flags: Int32, mode: UInt32 = 0) throws(SystemError) -> Descriptor {
        let number = root.raw
        return Descriptor(
            owning: try retrying("openat2", path) {
                clinux_create_in_root(number, path, flags | O_CLOEXEC, mode)
            })
    }

    private static func requireRegular(_ handle: borrowing Descriptor, _ path: String) throws(SystemError) {
        var status = stat()
        let number = handle.raw
        try retrying("fstat", path) { fstat(number, &status) }
        if status.st_mode & S_IFMT == S_IFDIR { throw SystemError(call: "open", code: EISDIR, subject: path) }
        // What a FIFO or a device would do when it is opened is nobody's wish.
        if status.st_mode & S_IFMT != S_IFREG { throw SystemError(call: "open", code: ENXIO, subject: path) }
    }

    /// Refuses what is no storage: a write to /proc or /sys acts on the kernel, with rights the sandbox has not.
    private static func requireOrdinary(_ handle: borrowing Descriptor, _ path: String) throws(SystemError) {
        if clinux_is_kernel_view(handle.raw) == 1 {
            throw SystemError(call: "open", code: EROFS, subject: path)
        }
    }

    /// Opens the very file of a handle (proc(5), /proc/PID/fd: the server's own).
    private static func reopen(
        _ handle: borrowing Descriptor, _ flags: Int32, _ path: String
    ) throws(SystemError) -> Descriptor {
        let link = "/proc/self/fd/\(handle.raw)"
        return Descriptor(
            owning: try retrying("open", path) { Glibc.open(link, flags | O_CLOEXEC | O_NOCTTY) })
    }
}
