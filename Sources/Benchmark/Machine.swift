import FoundationEssentials
import Glibc
import LinuxSystem
import Messages

/// The machine that is measured.
enum Machine {
    /// How many processors this process may use.
    static var cores: Int {
        var set = cpu_set_t()
        guard sched_getaffinity(0, MemoryLayout<cpu_set_t>.size, &set) == 0 else { return 1 }
        return max(1, withUnsafeBytes(of: set) { $0.reduce(0) { $0 + $1.nonzeroBitCount } })
    }

    /// Of the last minute, from /proc/loadavg.
    static var load: Double { Double(text("/proc/loadavg").prefix { $0 != " " }) ?? 0 }

    /// Bytes of memory that programs can still have (proc(5), MemAvailable).
    static var availableBytes: Int64 { kibibytes("MemAvailable:") }

    static func place(at directory: String, base: Base, load: Double) -> BenchmarkReport.Place {
        var name = utsname()
        uname(&name)
        let kernel = withUnsafeBytes(of: name.release) {
            String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
        }
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        return BenchmarkReport.Place(
            version: Product.version, kernel: kernel, processor: processor, cores: cores,
            memoryBytes: kibibytes("MemTotal:"), filesystem: filesystem(of: directory),
            base: base.description, time: Double(now.tv_sec), load: load)
    }

    private static var processor: String {
        for line in text("/proc/cpuinfo").split(separator: "\n") where line.hasPrefix("model name") {
            guard let colon = line.firstIndex(of: ":") else { break }
            return String(line[line.index(after: colon)...].drop { $0 == " " })
        }
        return "unknown"
    }

    private static func kibibytes(_ key: String) -> Int64 {
        for line in text("/proc/meminfo").split(separator: "\n") where line.hasPrefix(key) {
            return (line.split(separator: " ").dropFirst().first.flatMap { Int64($0) } ?? 0) * 1024
        }
        return 0
    }

    /// The type of the mount that lies deepest above a directory.
    private static func filesystem(of directory: String) -> String {
        var best: (length: Int, type: String) = (0, "unknown")
        for line in text("/proc/self/mounts").split(separator: "\n") {
            let fields = line.split(separator: " ")
            guard fields.count > 2 else { continue }
            let mounted = fields[1] == "/" ? "/" : fields[1] + "/"
            if "\(directory)/".hasPrefix(mounted), mounted.count >= best.length {
                best = (mounted.count, String(fields[2]))
            }
        }
        return best.type
    }

    private static func text(_ path: String) -> String {
        String(decoding: (try? Files.read(path)) ?? [], as: UTF8.self)
    }
}
