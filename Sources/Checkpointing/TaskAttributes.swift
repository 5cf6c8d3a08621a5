import CLinux
import Criu
import Glibc
import LinuxSystem

/// What CRIU 4.2 neither saves nor restores of one thread, as far as it is not as in a fresh process.
struct ThreadAttributes: Codable, Equatable {
    /// Its id in the sandbox.
    let thread: Int32
    /// The processors it may run on, 64 an element, lowest first (sched_setaffinity(2)).
    var affinity: [UInt64]?
    /// Class and priority of its disk accesses, as ioprio_set(2) takes them.
    var ioPriority: Int32?
    /// How late its timers may be, in nanoseconds (proc_pid_timerslack_ns(5)).
    var timerSlack: UInt64?
    /// Its execution domain and flags (personality(2)).
    var personality: UInt32?

    var isFresh: Bool { affinity == nil && ioPriority == nil && timerSlack == nil && personality == nil }
}

/// The same of a process.
struct ProcessAttributes: Codable, Equatable {
    /// Its pid in the sandbox.
    let process: Int32
    let command: String
    /// Which of its mappings a core dump has (core(5)).
    var coredumpFilter: UInt32?
    var threads: [ThreadAttributes]
}

/// Reads what is lost; made once a save, for what a fresh process has depends on the machine.
struct TaskAttributeReader {
    /// What the kernel gives init (include/linux/init_task.h, TIMER_SLACK); whoever sets another one has set it.
    private static let freshTimerSlack: UInt64 = 50_000
    private let freshCoredumpFilter = hexadecimal("/proc/self/coredump_filter")
    private let freshPersonality = hexadecimal("/proc/self/personality")
    /// A sandbox's PID 1 may run where its cgroup lets it: so may what it starts, and what is restored there.
    private let freshAffinity: [UInt64]?

    init(root: Int32) {
        freshAffinity = Self.affinity(of: root)
    }

    /// What is not fresh in one of the tree's processes, by its pid on the host; nil when everything is. `known` is the pid that
    /// it has in the sandbox, where that is not for /proc to tell.
    func attributes(of process: Int32, knownAs known: Int32? = nil) -> ProcessAttributes? {
        let filter = hexadecimal("/proc/\(process)/coredump_filter")
        let threads = TreeOfTasks.threads(of: process).compactMap { attributes(ofThread: $0, knownAs: known) }
        let ownFilter = filter == freshCoredumpFilter ? nil : filter
        guard ownFilter != nil || !threads.isEmpty, let inner = known ?? TreeOfTasks.inner(process) else {
            return nil
        }
        return ProcessAttributes(
            process: inner, command: command(of: process), coredumpFilter: ownFilter, threads: threads)
    }

    private func attributes(ofThread thread: Int32, knownAs known: Int32?) -> ThreadAttributes? {
        var attributes = ThreadAttributes(thread: 0)
        if let affinity = Self.affinity(of: thread), affinity != freshAffinity {
            attributes.affinity = affinity
        }
        let priority = clinux_get_io_priority(thread)
        // No class: it follows the nice value (include/uapi/linux/ioprio.h, IOPRIO_CLASS_SHIFT).
        if priority > 0, priority >> 13 != 0 { attributes.ioPriority = priority }
        if let slack = firstLine("/proc/\(thread)/timerslack_ns").flatMap({ UInt64($0) }),
            slack != Self.freshTimerSlack
        {
            attributes.timerSlack = slack
        }
        if let personality = hexadecimal("/proc/\(thread)/personality"), personality != freshPersonality {
            attributes.personality = personality
        }
        guard !attributes.isFresh, let inner = known ?? TreeOfTasks.inner(thread) else { return nil }
        return ThreadAttributes(
            thread: inner, affinity: attributes.affinity, ioPriority: attributes.ioPriority,
            timerSlack: attributes.timerSlack, personality: attributes.personality)
    }

    /// One sentence for each process that has a memory policy (set_mempolicy(2)), which is not put back.
    static func lostPolicies(in tree: TreeOfTasks) -> [String] {
        tree.processes.compactMap { process in
            guard let policy = memoryPolicy(of: process), let inner = TreeOfTasks.inner(process) else {
                return nil
            }
            return "process \(inner) (\(command(of: process))) has the memory policy \(policy), "
                + "which is not put back at a restore"
        }
    }

    /// As /proc/PID/numa_maps spells it; nil for the default.
    ///
    /// The first mapping tells it, which is read alone: each costs a walk through its pages.
    private static func memoryPolicy(of process: Int32) -> String? {
        guard let file = try? Descriptor.open("/proc/\(process)/numa_maps", O_RDONLY),
            let start = try? file.read(upTo: 40)
        else { return nil }
        let words = String(decoding: start, as: UTF8.self).split(separator: " ")
        guard words.count > 1, words[1] != "default" else { return nil }
        return String(words[1])
    }

    private static func affinity(of thread: Int32) -> [UInt64]? {
        var cpus = [UInt64](repeating: 0, count: 128)
        let bytes = clinux_get_affinity(thread, &cpus, Int32(cpus.count))
        guard bytes > 0 else { return nil }
        return Array(cpus.prefix((Int(bytes) + 7) / 8))
    }
}

/// A process's command name.
func command(of process: Int32) -> String { firstLine("/proc/\(process)/comm") ?? "" }

private func firstLine(_ path: String) -> String? {
    guard let bytes = try? Files.read(path) else { return nil }
    return String(decoding: bytes.prefix { $0 != 10 }, as: UTF8.self)
}

private func hexadecimal(_ path: String) -> UInt32? { firstLine(path).flatMap { UInt32($0, radix: 16) } }
