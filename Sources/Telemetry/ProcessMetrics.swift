import Glibc
import LinuxSystem

/// What the server's own process uses, by the names that Prometheus's client libraries agreed on.
enum ProcessMetrics {
    /// Found out once: who looks for restarts takes any other number for one, and clocks are set and slewed.
    private static let started =
        realtimeSeconds() - secondsSinceBoot() + number(22, in: fields()) / ticks
    private static let ticks = Double(sysconf(Int32(_SC_CLK_TCK)))

    static func families() -> [MetricFamily] {
        let fields = Self.fields()
        let number = { (field: Int) -> Double in Self.number(field, in: fields) }
        let page = Double(sysconf(Int32(_SC_PAGESIZE)))
        var limit = rlimit()
        getrlimit(RLIMIT_NOFILE, &limit)
        let open = (try? Files.names(in: "/proc/self/fd"))?.count ?? 0
        let gauge = { (name: String, help: String, value: Double) in
            MetricFamily(name, .gauge, help, [MetricSample([], value)])
        }
        return [
            MetricFamily(
                "process_cpu_seconds_total", .counter, "CPU time of the server, in seconds.",
                [MetricSample([], (number(14) + number(15)) / ticks)]),
            gauge("process_resident_memory_bytes", "Resident memory of the server.", number(24) * page),
            gauge("process_virtual_memory_bytes", "Virtual memory of the server.", number(23)),
            gauge("process_threads", "Threads of the server.", number(20)),
            // Less the one that lists them.
            gauge("process_open_fds", "Open descriptors of the server.", Double(max(0, open - 1))),
            gauge("process_max_fds", "How many descriptors it may have.", Double(limit.rlim_cur)),
            gauge(
                "process_start_time_seconds", "When the server started, seconds since 1970.", started),
        ]
    }

    /// What the kernel tells of this process, from the third field on (proc_pid_stat(5)).
    private static func fields() -> [Substring] {
        let stat = (try? Files.read("/proc/self/stat")).map { String(decoding: $0, as: UTF8.self) } ?? ""
        // The command may hold spaces and parentheses; the fields begin after the last one.
        return stat.lastIndex(of: ")").map { stat[stat.index(after: $0)...].split(separator: " ") } ?? []
    }

    private static func number(_ field: Int, in fields: [Substring]) -> Double {
        fields.indices.contains(field - 3) ? Double(fields[field - 3]) ?? 0 : 0
    }

    private static func secondsSinceBoot() -> Double {
        var now = timespec()
        clock_gettime(CLOCK_BOOTTIME, &now)
        return Double(now.tv_sec) + Double(now.tv_nsec) / 1e9
    }
}
