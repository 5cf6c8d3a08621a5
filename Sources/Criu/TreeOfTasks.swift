import CLinux
import Glibc
import LinuxSystem

/// The processes of a sandbox as the host sees them, found through /proc from its PID 1 down.
///
/// A pid namespace of ours holds no other, so its processes are PID 1's descendants.
public struct TreeOfTasks: Sendable {
    /// The host's pids, PID 1 first.
    public let processes: [Int32]

    /// Of processes that are known, PID 1 first.
    public init(processes: [Int32]) { self.processes = processes }

    /// Looks at the tree below `root`, the host's pid of its PID 1.
    public init(root: Int32) {
        var found = [root]
        var next = 0
        while next < found.count {
            let process = found[next]
            next += 1
            for thread in Self.threads(of: process) {
                let children = Self.text("/proc/\(process)/task/\(thread)/children") ?? ""
                found += children.split(separator: " ").compactMap { Int32($0) }
            }
        }
        processes = found
    }

    /// The host's ids of a process's threads, its own first.
    public static func threads(of process: Int32) -> [Int32] {
        let names = (try? Files.names(in: "/proc/\(process)/task")) ?? []
        return names.compactMap { Int32($0) }.sorted()
    }

    /// The id that a thread of the host has inside its sandbox (proc_pid_status(5), NSpid); nil when it is gone.
    public static func inner(_ thread: Int32) -> Int32? {
        ObservedProcess(pid: thread).field("NSpid")?.split(separator: "\t").last.flatMap { Int32($0) }
    }

    /// The host's ids of some threads, each given with its process, by the ids they have in the sandbox.
    public func hostIDs(of threads: [(process: Int32, thread: Int32)]) -> [Int32: Int32] {
        let wanted = Dictionary(grouping: threads, by: \.process)
        var ids: [Int32: Int32] = [:]
        for process in processes {
            guard let inner = Self.inner(process), let asked = wanted[inner] else { continue }
            ids[inner] = process
            guard asked.contains(where: { $0.thread != inner }) else { continue }
            for thread in Self.threads(of: process) {
                if let inner = Self.inner(thread) { ids[inner] = thread }
            }
        }
        return ids
    }

    /// The number of the system call whose `syscall` instruction ends at `instruction`, where the code tells it.
    ///
    /// A call that was stopped and goes on is called restart_syscall(2) by the kernel; which one it was is known to the
    /// program alone. C libraries put the number into eax right before: `b8 NN NN NN NN 0f 05`.
    public static func callNumber(of thread: Int32, before instruction: UInt64) -> UInt64? {
        var code = [UInt8](repeating: 0, count: 7)
        guard instruction > 7, clinux_read_memory(thread, UInt(instruction - 7), &code, 7) == 0,
            code[0] == 0xb8, code[5] == 0x0f, code[6] == 0x05
        else { return nil }
        return code[1...4].reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }

    /// Where a process has a `syscall` instruction that anybody may use: in the kernel's vDSO (vdso(7)).
    public static func systemCallInstruction(of process: Int32) -> UInt64? {
        guard
            let line = text("/proc/\(process)/maps")?.split(separator: "\n").first(where: {
                $0.hasSuffix("[vdso]")
            })
        else { return nil }
        let ends = line.prefix { $0 != " " }.split(separator: "-").compactMap { UInt64($0, radix: 16) }
        guard ends.count == 2, ends[0] < ends[1], ends[1] - ends[0] <= 1 << 16 else { return nil }
        var code = [UInt8](repeating: 0, count: Int(ends[1] - ends[0]))
        guard clinux_read_memory(process, UInt(ends[0]), &code, UInt(code.count)) == 0 else { return nil }
        for index in code.indices.dropLast() where code[index] == 0x0f && code[index + 1] == 0x05 {
            return ends[0] + UInt64(index)
        }
        return nil
    }

    private static func text(_ path: String) -> String? {
        (try? Files.read(path)).map { String(decoding: $0, as: UTF8.self) }
    }
}
