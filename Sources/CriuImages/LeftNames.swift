import CCriuImages
import Glibc
import LinuxSystem

/// What a dump from inside a tree's UTS and IPC namespaces leaves out, for CRIU takes them for its own.
public struct LeftNames: Sendable {
    public let hostname: String
    public let domainname: String
    /// The settings of the IPC namespace, by their paths below /proc/sys. There is nothing else in it.
    public let settings: [String: [UInt64]]

    public init(hostname: String, domainname: String, settings: [String: [UInt64]]) {
        (self.hostname, self.domainname, self.settings) = (hostname, domainname, settings)
    }
}

/// The tree's namespaces, as CRIU numbers them.
struct NameNumbers {
    var hostname: UInt32 = 0
    var interprocess: UInt32 = 0
    var clocks: UInt32 = 0
}

extension ImageDirectory {
    /// Writes the files that a restore reads to make these namespaces.
    ///
    /// The clocks CRIU has written, as those of no namespace (criu/cr-dump.c, `dump_time_ns(0)`): it has read its own,
    /// which are the tree's.
    func write(_ names: LeftNames, _ numbers: NameNumbers) throws(CriuImageError) {
        let clocks = "timens-\(numbers.clocks).img"
        do throws(SystemError) {
            try retrying("renameat", clocks) {
                renameat(directory.raw, "timens-0.img", directory.raw, clocks)
            }
        } catch { throw CriuImageError(clocks, "was not written", cause: error) }
        try replace(ImageFile("utsns-\(numbers.hostname).img", .hostname, [Self.packedHostname(names)]))
        try replace(
            ImageFile(
                "ipcns-var-\(numbers.interprocess).img", .interprocess, [Self.packedSettings(names.settings)])
        )
    }

    static func packedHostname(_ names: LeftNames) -> [UInt8] {
        names.hostname.withCString { hostname in
            names.domainname.withCString { domainname in
                var entry = UtsnsEntry()
                utsns_entry__init(&entry)
                entry.nodename = UnsafeMutablePointer(mutating: hostname)
                entry.domainname = UnsafeMutablePointer(mutating: domainname)
                return packed(&entry)
            }
        }
    }

    private static func packedSettings(_ settings: [String: [UInt64]]) -> [UInt8] {
        func one(_ path: String) -> UInt64 { settings[path]?.first ?? 0 }
        func word(_ path: String) -> UInt32 { UInt32(truncatingIfNeeded: one(path)) }
        var semaphores = (settings["kernel/sem"] ?? []).map { UInt32(truncatingIfNeeded: $0) }
        return semaphores.withUnsafeMutableBufferPointer { semaphores in
            var entry = IpcVarEntry()
            ipc_var_entry__init(&entry)
            (entry.n_sem_ctls, entry.sem_ctls) = (semaphores.count, semaphores.baseAddress)
            entry.msg_ctlmax = word("kernel/msgmax")
            entry.msg_ctlmnb = word("kernel/msgmnb")
            entry.msg_ctlmni = word("kernel/msgmni")
            entry.auto_msgmni = word("kernel/auto_msgmni")
            entry.shm_ctlmax = one("kernel/shmmax")
            entry.shm_ctlall = one("kernel/shmall")
            entry.shm_ctlmni = word("kernel/shmmni")
            entry.shm_rmid_forced = word("kernel/shm_rmid_forced")
            entry.mq_queues_max = word("fs/mqueue/queues_max")
            entry.mq_msg_max = word("fs/mqueue/msg_max")
            entry.mq_msgsize_max = word("fs/mqueue/msgsize_max")
            if settings["fs/mqueue/msg_default"] != nil {
                (entry.has_mq_msg_default, entry.mq_msg_default) = (1, word("fs/mqueue/msg_default"))
                (entry.has_mq_msgsize_default, entry.mq_msgsize_default) = (
                    1, word("fs/mqueue/msgsize_default")
                )
            }
            return packed(&entry)
        }
    }
}
