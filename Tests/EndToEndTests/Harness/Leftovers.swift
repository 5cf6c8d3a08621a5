import Foundation
import Glibc
import Testing

/// Looks for what a test left behind: processes, mounts, cgroups.
enum Leftovers {
    /// Records an issue for everything of `ckpt` that is still there, and ends the processes among it.
    static func check(_ ckpt: Ckpt) {
        // Death is asynchronous: a killed namespace is gone a moment after the answer that says so.
        _ = eventually { processes(of: ckpt).isEmpty }
        for (pid, why) in processes(of: ckpt) {
            Issue.record("process \(pid) is left (\(why)): \(commandLine(of: pid))")
            kill(pid, SIGKILL)
        }
        var mounts: [String] = []
        _ = eventually {
            mounts = lines(of: "/proc/self/mountinfo").filter {
                mentions($0, ckpt.root) && !isRoot($0, ckpt.root)
            }
            return mounts.isEmpty && cgroups(of: ckpt).isEmpty
        }
        #expect(mounts == [], "mounts are left")
        #expect(cgroups(of: ckpt) == [], "cgroups are left")
    }

    /// Processes of this root, each with what gave it away: those of a sandbox have the root in their mounts.
    static func processes(of ckpt: Ckpt) -> [(pid_t, String)] {
        let servers = ckpt.servers
        let own = getpid()
        let entries = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        return entries.compactMap(pid_t.init).filter { $0 != own && !isZombie($0) }.compactMap { pid in
            if servers.contains(pid), commandLine(of: pid).contains("ckpt") { return (pid, "the server") }
            if lines(of: "/proc/\(pid)/environ", separator: "\0").contains("CKPT_ROOT=\(ckpt.root)") {
                return (pid, "CKPT_ROOT")
            }
            if mentions(commandLine(of: pid), ckpt.root) { return (pid, "command line") }
            for link in ["cwd", "root", "exe"] {
                let target = try? FileManager.default.destinationOfSymbolicLink(
                    atPath: "/proc/\(pid)/\(link)")
                if let target, mentions(target, ckpt.root) { return (pid, "\(link) \(target)") }
            }
            let mounted = lines(of: "/proc/\(pid)/mountinfo").first {
                mentions($0, ckpt.root) && !isRoot($0, ckpt.root)
            }
            return mounted.map { (pid, "mount \($0)") }
        }
    }

    /// Whether the process runs; a zombie does not.
    static func isAlive(_ pid: pid_t) -> Bool { kill(pid, 0) == 0 && !isZombie(pid) }

    /// Control groups that belong to this root's sandboxes: those whose name carries the root's own.
    static func cgroups(of ckpt: Ckpt) -> [String] {
        let mark = (ckpt.root as NSString).lastPathComponent
        return allCgroups().filter { ($0 as NSString).lastPathComponent.contains(mark) }
    }

    /// Every directory of every hierarchy; an enumerator stays on the filesystem it starts on.
    private static func allCgroups() -> [String] {
        let mounts = lines(of: "/proc/self/mountinfo").map { $0.split(separator: " ").map(String.init) }
            .filter { fields in fields.contains("cgroup") || fields.contains("cgroup2") }.map { $0[4] }
        return mounts.flatMap { mount -> [String] in
            let all = FileManager.default.enumerator(atPath: mount)
            return (all?.compactMap { $0 as? String } ?? []).map { "\(mount)/\($0)" }
        }
    }

    /// Those of one sandbox.
    static func groups(named sandbox: String, of ckpt: Ckpt) -> [String] {
        let mark = (ckpt.root as NSString).lastPathComponent
        return allCgroups().filter { $0.contains(mark) && $0.contains("/\(sandbox)-") }
    }

    /// Whether `text` names the root or something under it, and not another that begins alike.
    private static func mentions(_ text: String, _ root: String) -> Bool {
        var rest = Substring(text)
        while let range = rest.range(of: root) {
            rest = rest[range.upperBound...]
            guard let next = rest.first else { return true }
            if !next.isLetter && !next.isNumber { return true }
        }
        return false
    }

    /// Whether a line of mountinfo is the root directory itself, which a test may have mounted.
    private static func isRoot(_ line: String, _ root: String) -> Bool {
        let fields = line.split(separator: " ")
        return fields.count > 4 && fields[4] == root && !line.contains("overlay")
    }

    private static func isZombie(_ pid: pid_t) -> Bool {
        let stat = lines(of: "/proc/\(pid)/stat").first ?? ""
        guard let end = stat.lastIndex(of: ")") else { return true }
        return stat[end...].dropFirst(2).first == "Z"
    }

    private static func commandLine(of pid: pid_t) -> String {
        lines(of: "/proc/\(pid)/cmdline", separator: "\0").joined(separator: " ")
    }

    private static func lines(of path: String, separator: Character = "\n") -> [String] {
        guard let data = FileManager.default.contents(atPath: path) else { return [] }
        return String(decoding: data, as: UTF8.self).split(separator: separator).map(String.init)
    }
}
