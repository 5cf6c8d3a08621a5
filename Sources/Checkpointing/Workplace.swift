import CLinux
import Glibc
import LinuxSystem
public import Messages
import SandboxRuntime

/// The server's own view of the mounts: what it mounts nobody else sees, and it goes with the server.
public enum Workplace {
    /// Moves this process into a mount namespace of its own, has `findStore` mount what the store lies on and tell where
    /// that is, and mounts the server's tmpfs at `runtime` there. Returns the store's directory.
    ///
    /// Must be called before the process has a second thread (unshare(2), CLONE_NEWNS implies CLONE_FS, which is a
    /// thread's own affair). CRIU keeps what it probed of the kernel only on a tmpfs /run (criu/kerndat.c,
    /// `kerndat_save_cache`), so where /run is none it gets one that shows the same directories.
    public static func enter(
        findingStore findStore: () throws(ErrorMessage) -> String
    ) throws(ErrorMessage) -> String {
        try withOwnMounts { () throws(SystemError) in
            try retrying("unshare(CLONE_NEWNS)") { clinux_unshare_mounts() }
            try Mount.receiveOnly()
        }
        let store = try findStore()
        try withOwnMounts { () throws(SystemError) in
            let runtime = "\(store)/runtime"
            try Files.makeDirectory(runtime)
            try Mount.tmpfs(at: runtime)
            if !Mount.isTmpfs("/run") { try coverRun(staging: "\(runtime)/run") }
        }
        return store
    }

    private static func withOwnMounts(_ body: () throws(SystemError) -> Void) throws(ErrorMessage) {
        do throws(SystemError) { try body() } catch {
            throw ErrorMessage(
                error.code == EPERM ? .notPermitted : .internal,
                "the server cannot have mounts of its own",
                hint: error.code == EPERM ? "run ckpt as root" : nil, cause: error.description)
        }
    }

    private static func coverRun(staging: String) throws(SystemError) {
        try Files.makeDirectory(staging)
        try Mount.tmpfs(at: staging, size: "16m")
        try retrying("chmod", staging) { chmod(staging, 0o755) }
        for name in try Files.names(in: "/run") {
            let source = "/run/\(name)"
            guard let status = try? FileStatus(source, follow: false), status.isDirectory else { continue }
            try Files.makeDirectory("\(staging)/\(name)", mode: status.permissions)
            try Mount.bind(source, at: "\(staging)/\(name)")
        }
        try Mount.bind(staging, at: "/run")
        try Mount.detach(staging)
    }
}
