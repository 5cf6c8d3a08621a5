import CommandInterface
import Glibc
import LinuxSystem
import Messages

/// The options that say what a new sandbox is made of; `create` and `run` share them. Letters and names are
/// Docker's where Docker has the option.
enum SpecOptions {
    static let all = basics + files + limits + walls + network + DockerOptions.translated

    private static let basics = [
        OptionDescription(
            "base", value: "host|DIR", .base,
            "Start from this machine's own programs (host, the default) or from the directory DIR"),
        OptionDescription(
            "hostname", value: "H", .hostname, "The host name inside; default: the sandbox's name"),
        OptionDescription(
            "env", short: "e", value: "K[=V]", .variable, repeats: true,
            "Set a variable for every command in the sandbox; without =V to its value here"),
        OptionDescription(
            "env-file", value: "FILE", .path, repeats: true,
            "Set the variables of a file of K=V lines; # begins a comment"),
        OptionDescription(
            "workdir", short: "w", value: "D", .insidePath,
            "Where commands start; default: /root, or / where that is missing"),
        OptionDescription(
            "user", short: "u", value: "U", .text,
            "Who commands run as: name, uid, name:group or uid:gid; default: root"),
        OptionDescription(
            "entrypoint", value: "PROGRAM", .text, "Run this program with the command's words as arguments"),
        OptionDescription(
            "ulimit", value: "NAME=N[:N]", .spec(.ulimit), repeats: true,
            "Limit every process, soft[:hard], as nofile=1024:4096; -1 for no limit"),
        OptionDescription(
            "oom-score-adj", value: "N", .number(-1000...1000),
            "How soon its processes go when memory runs out; 1000 is first"),
        OptionDescription(
            "save-on-crash", "Save the instant a process dies of a fatal signal, tagged crash-…"),
    ]

    private static let files = [
        OptionDescription(
            "volume", short: "v", value: "HOST:BOX[:MODE]", .spec(.volume), repeats: true,
            "Show a directory or file of this machine inside; MODE is rw (the default), ro, or cow: a copy of its "
                + "own to write, which snapshots hold"),
        OptionDescription(
            "tmpfs", value: "PATH[:size=S]", .spec(.tmpfs), repeats: true,
            "A directory in memory with a bound; snapshots hold what is in it"),
        OptionDescription("shm-size", value: "SIZE", .spec(.size), "Put /dev/shm in memory, with this bound"),
        OptionDescription("read-only", "Make the root filesystem read-only; volumes and tmpfs are not"),
        OptionDescription(
            "device", value: "HOST[:BOX][:rwm]", .spec(.device), repeats: true,
            "Show a device node of this machine inside"),
        OptionDescription(
            "dns", value: "ADDRESS", .spec(.nameServer), repeats: true, "A name server for /etc/resolv.conf"),
        OptionDescription(
            "add-host", value: "NAME:ADDRESS", .spec(.host), repeats: true, "A line for /etc/hosts"),
    ]

    /// The options that limit a sandbox.
    static let limits = [
        OptionDescription(
            "cpus", value: "N", .spec(.cpus), "CPU time: 0.5, 2, 50%, or 'QUOTA PERIOD' in microseconds"),
        OptionDescription(
            "cpu-shares", short: "c", value: "N", .number(2...262_144),
            "Weight among others when CPUs are short; 1024 is usual"),
        OptionDescription("cpuset-cpus", value: "LIST", .spec(.numbers), "The CPUs it may run on, as 0-2,5"),
        OptionDescription("cpuset-mems", value: "LIST", .spec(.numbers), "The memory nodes it may use"),
        OptionDescription("memory", short: "m", value: "SIZE", .spec(.size), "Memory, as 512m or 1.5g"),
        OptionDescription(
            "memory-high", value: "SIZE", .spec(.size), "Slow down and reclaim above this, without killing"),
        OptionDescription(
            "memory-swap", value: "SIZE", .spec(.swap), "Memory and swap together; -1 for no limit of swap"),
        OptionDescription(
            "pids-limit", value: "N", .number(-1...4_194_304), "Processes and threads; -1 for any"),
        OptionDescription(
            "io-max", value: "LIMIT", .spec(.ioLimit), repeats: true,
            "'/dev/X 10mb', or '/dev/X rbps=… wbps=… riops=… wiops=…' with some of the four"),
        OptionDescription("best-effort", "Warn about a limit that cannot be set here, instead of refusing"),
    ]

    private static let walls = [
        OptionDescription(
            "cap-add", value: "CAP", .spec(.capability), repeats: true,
            "Give a capability beyond Docker's default set, or ALL"),
        OptionDescription(
            "cap-drop", value: "CAP", .spec(.capability), repeats: true, "Take a capability away, or ALL"),
        OptionDescription(
            "security-opt", value: "OPTION", .text, repeats: true,
            "seccomp=unconfined, seccomp=FILE (a profile in Docker's JSON), no-new-privileges=false, "
                + "systempaths=unconfined"),
        OptionDescription(
            "privileged",
            "Every capability, any system call, nothing hidden; as with Docker, only for code you trust with the machine"
        ),
        OptionDescription(
            "writable", value: "PATH", .insidePath, repeats: true, "Let nothing but these be written"),
        OptionDescription(
            "readable", value: "PATH", .insidePath, repeats: true,
            "Let nothing but these, what is writable and the system's programs be read"),
        OptionDescription(
            "allow-port", value: "N", .number(1...65_535), repeats: true,
            "Let nothing but these be connected to"),
    ]

    private static let network = [
        OptionDescription(
            "net", aliases: ["network"], value: "none|host|nat", .spec(.network),
            "Loopback alone (none, the default), this machine's network, or a way out through it (nat)"),
        OptionDescription(
            "sysctl", value: "NAME=VALUE", .spec(.sysctl), repeats: true,
            "A kernel parameter of its network, as net.core.somaxconn=1024"),
        OptionDescription(
            "publish", short: "p", value: "[[IP:]HOST:]BOX", .spec(.port), repeats: true,
            "Forward a port of this machine, with --net nat; without HOST a free one, which ps shows"),
    ]

    /// The spec that the words ask for.
    static func spec(_ words: ParsedWords) throws -> SandboxSpec {
        let base = words.value("base") ?? "host"
        var spec = SandboxSpec(
            base: base == "host" ? .host : .directory(absolute(base)), hostname: words.value("hostname"),
            env: try environment(words), workdir: words.value("workdir"))
        spec.user = words.value("user")
        spec.entrypoint = words.value("entrypoint").map { $0.isEmpty ? [] : [$0] } ?? []
        spec.ulimits = try words.values("ulimit").map { try Ulimit($0) }
        spec.oomScoreAdj = words.number("oom-score-adj")
        spec.saveOnCrash = words.has("save-on-crash")
        spec.volumes = try words.values("volume").map { try Volume(absoluteVolume($0)) }
        spec.tmpfs = try words.values("tmpfs").map { try Tmpfs($0) }
        spec.shmSize = try words.value("shm-size").map { try ByteSize($0) }
        spec.readOnly = words.has("read-only")
        spec.devices = try words.values("device").map { try Device($0) }
        spec.dns = try words.values("dns").map { try NameServer($0) }
        spec.addHosts = try words.values("add-host").map { try HostAddress($0) }
        spec.limits = try limits(words)
        spec.security = try security(words)
        spec.net = try words.value("net").map { try Network($0) } ?? .none
        spec.ports = try words.values("publish").map { try PortForward($0) }
        spec.sysctls = try words.values("sysctl").map { try Sysctl($0) }
        try DockerOptions.apply(words, to: &spec)
        return spec
    }

    /// A volume whose host side may be relative to the directory here.
    static func absoluteVolume(_ word: String) -> String {
        guard word.hasPrefix(".") else { return word }
        let host = word.prefix { $0 != ":" }
        return ((try? Files.canonical(String(host))) ?? absolute(String(host))) + word.dropFirst(host.count)
    }

    /// The limits that the words ask for.
    static func limits(_ words: ParsedWords) throws -> ResourceLimits {
        var limits = ResourceLimits()
        limits.cpus = try words.value("cpus").map { try CPUQuota($0) }
        limits.cpuShares = words.number("cpu-shares")
        limits.cpusetCpus = try words.value("cpuset-cpus").map { try NumberSet($0) }
        limits.cpusetMems = try words.value("cpuset-mems").map { try NumberSet($0) }
        limits.memory = try words.value("memory").map { try ByteSize($0) }
        limits.memoryHigh = try words.value("memory-high").map { try ByteSize($0) }
        limits.memorySwap = try words.value("memory-swap").map { try SwapLimit($0) }
        limits.pids = words.number("pids-limit").flatMap { $0 > 0 ? $0 : nil }
        limits.io = try words.values("io-max").map { try IOLimit($0) }
        limits.bestEffort = words.has("best-effort")
        return limits
    }

    private static func security(_ words: ParsedWords) throws -> SecurityOptions {
        var security = SecurityOptions()
        if words.has("privileged") { security.makePrivileged() }
        security.capAdd += try words.values("cap-add").map { try Capability($0) }
        security.capDrop = try words.values("cap-drop").map { try Capability($0) }
        for option in words.values("security-opt") { try apply(option, to: &security) }
        let (writable, readable) = (words.values("writable"), words.values("readable"))
        let ports = words.values("allow-port").compactMap { UInt16($0) }
        if !writable.isEmpty { security.writable = writable }
        if !readable.isEmpty { security.readable = readable }
        if !ports.isEmpty { security.allowPorts = ports }
        return security
    }

    /// `NAME`, `NAME=VALUE` or `NAME:VALUE`, as Docker has it.
    private static func apply(_ option: String, to security: inout SecurityOptions) throws {
        let end = option.firstIndex { $0 == "=" || $0 == ":" } ?? option.endIndex
        let value = end == option.endIndex ? nil : String(option[option.index(after: end)...])
        switch (option[..<end], value) {
        case ("seccomp", "default"?), ("seccomp", "builtin"?), ("seccomp", "unconfined"?):
            security.seccomp = try SeccompChoice(value!)
        case ("seccomp", let file?):
            let text = try readText(file, for: "--security-opt seccomp")
            guard text.first(where: { !$0.isWhitespace }) == "{" else {
                throw ErrorMessage(
                    .badValue, "--security-opt seccomp: \(file) is no profile",
                    hint: "default, unconfined, or a file in Docker's JSON format")
            }
            security.seccomp = .profile(text)
        case ("no-new-privileges", nil), ("no-new-privileges", "true"?): security.noNewPrivileges = true
        case ("no-new-privileges", "false"?): security.noNewPrivileges = false
        case ("systempaths", "unconfined"?): security.maskPaths = false
        // Nothing here is confined by these.
        case ("apparmor", "unconfined"?), ("label", "disable"?): break
        default:
            throw UsageError(
                "bad value '\(option)' for --security-opt: it must be seccomp=unconfined, seccomp=FILE, "
                    + "no-new-privileges[=false] or systempaths=unconfined", command: nil)
        }
    }

    /// Files first, as the options on the command line are nearer.
    private static func environment(_ words: ParsedWords) throws -> [String: String] {
        var variables: [String: String] = [:]
        for file in words.values("env-file") {
            for (index, line) in try readText(file, for: "--env-file").split(
                separator: "\n", omittingEmptySubsequences: false
            ).enumerated() {
                let line = line.hasSuffix("\r") ? line.dropLast() : line
                if line.allSatisfy(\.isWhitespace) || line.hasPrefix("#") { continue }
                guard !line.hasPrefix("="), line.prefix(while: { $0 != "=" }).allSatisfy({ !$0.isWhitespace })
                else {
                    throw ErrorMessage(
                        .badValue, "\(file), line \(index + 1): '\(line)' is not KEY=VALUE",
                        hint: "one variable a line; # begins a comment")
                }
                set(String(line), in: &variables)
            }
        }
        for pair in words.values("env") { set(pair, in: &variables) }
        return variables
    }

    /// Sets a variable by `KEY=VALUE`, or `KEY` for its value here, if it has one.
    static func set(_ pair: String, in variables: inout [String: String]) {
        let halves = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(
            String.init)
        if halves.count == 2 {
            variables[halves[0]] = halves[1]
        } else if let value = getenv(halves[0]) {
            variables[halves[0]] = String(cString: value)
        }
    }

    private static func readText(_ file: String, for option: String) throws -> String {
        do throws(SystemError) {
            return String(decoding: try Files.read(file), as: UTF8.self)
        } catch {
            throw ErrorMessage(
                .badValue, "\(option): \(file) cannot be read", hint: "name a file of this machine",
                cause: error.reason)
        }
    }
}
