import Glibc
import LinuxSystem

/// What proc(5) says of all processes of a sandbox together.
///
/// CPU time holds that of processes that have ended, for whoever reaps a child takes its time over; what they read
/// and wrote is lost with them.
struct ProcessSum {
    private(set) var cpuNanoseconds: UInt64 = 0
    private(set) var residentBytes: Int64 = 0
    private(set) var tasks = 0
    private(set) var readBytes: UInt64 = 0
    private(set) var writeBytes: UInt64 = 0
    /// Since PID 1 was started or restored.
    private(set) var ageNanoseconds: Double = 0

    init(of process: SandboxProcess) {
        let tick = 1_000_000_000 / UInt64(sysconf(Int32(_SC_CLK_TCK)))
        for pid in process.hostPids() {
            guard let bytes = try? Files.read("/proc/\(pid)/stat") else { continue }
            let stat = String(decoding: bytes, as: UTF8.self)
            // The name may hold spaces and parentheses; the other fields begin after the last one.
            guard let close = stat.lastIndex(of: ")") else { continue }
            let fields = stat[stat.index(after: close)...].split(separator: " ")
            guard fields.count > 21 else { continue }
            // utime, stime, cutime and cstime.
            for index in 11...14 { cpuNanoseconds += (UInt64(fields[index]) ?? 0) * tick }
            tasks += Int(fields[17]) ?? 1
            residentBytes += (Int64(fields[21]) ?? 0) * Int64(getpagesize())
            addIO(of: pid)
            if pid == process.pid {
                var now = timespec()
                clock_gettime(CLOCK_BOOTTIME, &now)
                let boot = Double(now.tv_sec) * 1e9 + Double(now.tv_nsec)
                ageNanoseconds = boot - Double((UInt64(fields[19]) ?? 0) * tick)
            }
        }
    }

    private mutating func addIO(of pid: Int32) {
        guard let bytes = try? Files.read("/proc/\(pid)/io") else { return }
        for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n") {
            let words = line.split(separator: " ")
            guard words.count == 2, let value = UInt64(words[1]) else { continue }
            if words[0] == "read_bytes:" { readBytes += value }
            if words[0] == "write_bytes:" { writeBytes += value }
        }
    }
}
