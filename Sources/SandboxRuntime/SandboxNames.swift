import CLinux
import Glibc
public import LinuxSystem

/// What the UTS and IPC namespaces of a sandbox hold.
///
/// A thread of its own looks: it enters them, and ends there.
public struct SandboxNames: Sendable {
    public let hostname: String
    public let domainname: String
    /// Whether there is shared memory, a semaphore set or a message queue of System V (sysvipc(7)).
    public let hasObjects: Bool

    /// Begins to look at those of process `pid`.
    public static func look(at pid: Int32) -> Meanwhile<SandboxNames, SystemError> {
        Meanwhile { () throws(SystemError) in
            var names = clinux_names()
            let code = clinux_enter_names(pid, &names)
            guard code == 0 else {
                throw SystemError(call: "setns", code: code, subject: "UTS and IPC namespaces")
            }
            func text<Characters>(_ characters: Characters) -> String {
                withUnsafeBytes(of: characters) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
            }
            return SandboxNames(
                hostname: text(names.hostname), domainname: text(names.domainname),
                hasObjects: names.objects > 0)
        }
    }

    /// The settings of a fresh IPC namespace, by their paths below /proc/sys; nil where they cannot be read.
    ///
    /// A sandbox has them too, unless it may write to /proc/sys.
    public static let freshSettings: [String: [UInt64]]? = {
        let reading = Meanwhile { () throws(SystemError) -> [String: [UInt64]] in
            let code = clinux_unshare_ipc()
            if code != 0 { throw SystemError(call: "unshare", code: code, subject: "IPC namespace") }
            var settings: [String: [UInt64]] = [:]
            for path in Self.watched {
                guard let bytes = try? Files.read("/proc/sys/\(path)") else { continue }
                settings[path] = String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isWhitespace)
                    .compactMap { UInt64($0) }
            }
            return settings
        }
        return try? reading.wait()
    }()

    private static let watched = [
        "kernel/sem", "kernel/msgmax", "kernel/msgmnb", "kernel/msgmni", "kernel/auto_msgmni",
        "kernel/shmmax",
        "kernel/shmall", "kernel/shmmni", "kernel/shm_rmid_forced", "fs/mqueue/queues_max",
        "fs/mqueue/msg_max",
        "fs/mqueue/msgsize_max", "fs/mqueue/msg_default", "fs/mqueue/msgsize_default",
    ]
}
