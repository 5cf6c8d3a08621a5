import Glibc
import LinuxSystem
public import Messages

/// What proc(5) says of the processes of one sandbox at one moment.
public struct ProcessSample: Sendable {
    /// Seconds of CLOCK_BOOTTIME.
    public let time: Double
    private let rows: [Row]

    private struct Row {
        var process: SandboxedProcess
        /// CLOCK_BOOTTIME at its start, which tells it from a later process of the same pid.
        var born: Double
    }

    private static let ticksPerSecond = Double(sysconf(Int32(_SC_CLK_TCK)))

    /// Looks at the sandbox of `process` now. Processes that end meanwhile are left out.
    public init(of process: SandboxProcess) {
        let names = SandboxUser.names(inSandboxOf: process.pid)
        let map = Self.userMap(of: process.pid)
        time = Self.clock(CLOCK_BOOTTIME)
        let boot = Self.clock(CLOCK_REALTIME) - time
        var inside: [Int32: Int32] = [:]
        var found: [Row] = []
        for pid in process.hostPids() {
            guard let row = Self.row(pid, names: names, map: map, boot: boot, now: time) else { continue }
            inside[pid] = row.process.pid
            found.append(row)
        }
        rows = found.map { row in
            var row = row
            row.process.parent = inside[row.process.parent] ?? 0
            return row
        }
    }

    /// The processes by pid; their share of the CPU is since `earlier`, or since their start.
    public func table(since earlier: ProcessSample? = nil) -> ProcessTable {
        var before: [Int32: Row] = [:]
        for row in earlier?.rows ?? [] { before[row.process.hostPid] = row }
        let processes = rows.map { row in
            var process = row.process
            if let earlier, time > earlier.time {
                let same = before[process.hostPid].flatMap { $0.born == row.born ? $0 : nil }
                let used = process.cpuSeconds - (same?.process.cpuSeconds ?? 0)
                process.cpuPercent = max(0, used / (time - max(earlier.time, row.born)) * 100)
            }
            return process
        }
        return ProcessTable(processes: processes.sorted { $0.pid < $1.pid })
    }

    private static func clock(_ id: clockid_t) -> Double {
        var now = timespec()
        clock_gettime(id, &now)
        return Double(now.tv_sec) + Double(now.tv_nsec) / 1e9
    }

    private static func text(_ path: String) -> String? {
        (try? Files.read(path)).map { String(decoding: $0, as: UTF8.self) }
    }

    private static func row(
        _ pid: Int32, names: [UInt32: String], map: [(inside: UInt32, outside: UInt32, count: UInt32)],
        boot: Double, now: Double
    ) -> Row? {
        guard let stat = text("/proc/\(pid)/stat"), let status = text("/proc/\(pid)/status"),
            // The name may hold spaces and parentheses; the other fields begin after the last one.
            let open = stat.firstIndex(of: "("), let close = stat.lastIndex(of: ")")
        else { return nil }
        let fields = stat[stat.index(after: close)...].split(separator: " ")
        let name = stat[stat.index(after: open)..<close]
        // From the namespace of whoever reads to the innermost one.
        guard fields.count > 21, let ids = numbers(of: "NSpid:", in: status), ids.count > 1,
            let users = numbers(of: "Uid:", in: status), users.count > 1
        else { return nil }
        let cpu = ((Double(fields[11]) ?? 0) + (Double(fields[12]) ?? 0)) / ticksPerSecond
        let born = (Double(fields[19]) ?? 0) / ticksPerSecond
        let uid = inside(UInt32(users[1]), map)
        let words = (text("/proc/\(pid)/cmdline") ?? "").split(separator: "\0")
        let process = SandboxedProcess(
            pid: Int32(ids[1]), parent: Int32(fields[1]) ?? 0, hostPid: pid,
            user: names[uid] ?? "\(uid)", uid: uid, state: String(fields[0]),
            threads: Int(fields[17]) ?? 1, cpuPercent: now > born ? cpu / (now - born) * 100 : 0,
            cpuSeconds: cpu, rssBytes: (Int64(fields[21]) ?? 0) * Int64(getpagesize()),
            started: boot + born, command: words.isEmpty ? "[\(name)]" : words.joined(separator: " "))
        return Row(process: process, born: born)
    }

    private static func numbers(of label: String, in status: String) -> [Int]? {
        status.split(separator: "\n").first { $0.hasPrefix(label) }?
            .dropFirst(label.count).split(whereSeparator: { $0 == "\t" || $0 == " " }).compactMap { Int($0) }
    }

    /// user_namespaces(7), uid_map.
    private static func userMap(of pid: Int32) -> [(inside: UInt32, outside: UInt32, count: UInt32)] {
        (text("/proc/\(pid)/uid_map") ?? "").split(separator: "\n").compactMap { line in
            let numbers = line.split(separator: " ").compactMap { UInt32($0) }
            return numbers.count == 3 ? (numbers[0], numbers[1], numbers[2]) : nil
        }
    }

    private static func inside(
        _ uid: UInt32, _ map: [(inside: UInt32, outside: UInt32, count: UInt32)]
    ) -> UInt32 {
        for range in map where uid >= range.outside && uid - range.outside < range.count {
            return range.inside + (uid - range.outside)
        }
        return uid
    }
}
