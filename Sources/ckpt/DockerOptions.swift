import CommandInterface
import LinuxSystem
import Messages

/// Spellings of `docker run` beyond those that ckpt shares; docs/docker.md is the page about them, and the tests hold
/// the two together.
enum DockerOptions {
    /// Those that mean something here; help leaves them out, as ckpt has a word of its own for each.
    static let translated =
        [
            OptionDescription("cpu-quota", value: "USEC", .number(-1...1_000_000_000), ""),
            OptionDescription("cpu-period", value: "USEC", .number(0...1_000_000), ""),
            OptionDescription("memory-reservation", value: "SIZE", .spec(.size), ""),
            OptionDescription("mount", value: "MOUNT", .text, repeats: true, ""),
        ] + rates.map { OptionDescription($0.option, value: "DEVICE:RATE", .text, repeats: true, "") }

    private static let rates: [(option: String, key: String)] = [
        ("device-read-bps", "rbps"), ("device-write-bps", "wbps"), ("device-read-iops", "riops"),
        ("device-write-iops", "wiops"),
    ]

    /// Those that ask for what is so anyway, and those that there is nothing for.
    static let foreign: [ForeignOption] =
        [
            .needless("annotation"), .needless("attach", short: "a"),
            .needless("disable-content-trust", value: false), .needless("expose"),
            .needless("init", value: false), .needless("label", short: "l"), .needless("label-file"),
            .needless("no-healthcheck", value: false), .needless("quiet", short: "q", value: false),
            .needless("sig-proxy", value: false),
        ] + places + machines + life

    /// Namespaces, networks and files.
    private static let places: [ForeignOption] = [
        .missing("cgroup-parent", "each sandbox has a cgroup of its own"),
        .missing("cgroupns", but: ["private"], "a sandbox has cgroups of its own"),
        .missing("cidfile", "give it a --name, or read it from --json"),
        .missing(
            "dns-option", aliases: ["dns-opt"], "write /etc/resolv.conf inside, it is the sandbox's own"),
        .missing("dns-search", "write /etc/resolv.conf inside, it is the sandbox's own"),
        .missing("domainname", "give the whole name to --hostname"),
        .missing("group-add", "--user UID:GID; the groups are those of /etc/group inside"),
        .missing("ip", "every sandbox with --net nat has the address 10.0.2.100"),
        .missing("ip6", "every sandbox with --net nat has the address fd00:636b:7074::64"),
        .missing(
            "ipc", but: ["", "private", "shareable"], "a sandbox's memory is its own, or no snapshot holds it"
        ),
        .missing("isolation", but: ["", "default"], "there is one kind"),
        .missing("link", "forward a port with -p, and reach it by the host's address"),
        .missing("link-local-ip", "--net nat has its fixed addresses"),
        .missing("mac-address", "--net nat has a fixed one"),
        .missing("network-alias", "forward a port with -p, and name the host with --add-host"),
        .missing("pid", "a sandbox's processes are its own, or no snapshot holds them"),
        .missing(
            "publish-all", short: "P", value: false, "name each port: -p BOX takes a free one of the host"),
        .missing("storage-opt", "bound the disk of --root; tmpfs have size="),
        .missing("use-api-socket", value: false, "-v the socket, if the sandbox may do what the server may"),
        .missing("userns", but: [""], "a sandbox always has a user namespace of its own"),
        .missing("uts", but: [""], "a sandbox's host name is its own"),
        .missing("volume-driver", "mount it on the host and give its directory to -v"),
        .missing("volumes-from", "give the same -v again"),
    ]

    /// Limits and hardware.
    private static let machines: [ForeignOption] =
        [
            .missing("blkio-weight", "--io-max sets fixed rates"),
            .missing("blkio-weight-device", "--io-max sets fixed rates"),
            .missing("cpu-count", "--cpus"), .missing("cpu-percent", "--cpus 50%"),
            .missing("cpu-rt-period", "--cpus; real-time scheduling is the host's"),
            .missing("cpu-rt-runtime", "--cpus; real-time scheduling is the host's"),
            .missing("device-cgroup-rule", "--device shows one device"),
            .missing("gpus", "a GPU's memory cannot be saved"),
            .missing("io-maxbandwidth", "--io-max"), .missing("io-maxiops", "--io-max"),
            .missing("kernel-memory", "--memory counts the kernel's too"),
            .missing("memory-swappiness", but: ["-1"], "--memory-swap bounds the swap"),
            .missing("oom-kill-disable", value: false, "--memory-high slows down and does not kill"),
            .missing(
                "platform", but: ["linux/amd64", "linux/x86_64"],
                "programs of this machine's kind run, x86-64"),
            .missing("runtime", "ckpt is the runtime"),
        ]

    /// How it is started, watched and ended.
    private static let life: [ForeignOption] =
        [
            .missing("detach-keys", "closing the terminal leaves a job (-d) running"),
            .missing("log-driver", but: ["", "json-file"], "ckpt logs has the output"),
            .missing("log-opt", "ckpt logs has the output"),
            .missing("pull", but: ["missing", "never"], "a base is a directory or this machine: --base"),
            .missing("restart", but: ["no"], "ckpt restore brings a sandbox back to any snapshot"),
            .missing("stop-signal", "ckpt kill -s SIGNAL sends it"),
            .missing("stop-timeout", "ckpt kill -s TERM, then ckpt wait"),
        ]
        + ["cmd", "interval", "retries", "start-interval", "start-period", "timeout"].map {
            .missing("health-\($0)", "ckpt exec runs a check, ckpt wait waits for an end")
        }

    /// Adds what the translated ones say to a spec that holds all else.
    static func apply(_ words: ParsedWords, to spec: inout SandboxSpec) throws {
        if let quota = words.number("cpu-quota"), quota > 0 {
            if spec.limits.cpus != nil {
                throw UsageError("--cpus and --cpu-quota say the same: give one of them", command: nil)
            }
            let period = words.number("cpu-period") ?? 0
            spec.limits.cpus = try CPUQuota("\(quota) \(period > 0 ? period : 100_000)")
        }
        if let soft = words.value("memory-reservation"), spec.limits.memoryHigh == nil {
            spec.limits.memoryHigh = try ByteSize(soft)
        }
        for (option, key) in rates {
            for word in words.values(option) {
                guard let colon = word.lastIndex(of: ":") else {
                    throw UsageError(
                        "bad value '\(word)' for --\(option): it must be DEVICE:RATE", command: nil)
                }
                let rate = word[word.index(after: colon)...]
                spec.limits.io.append(try IOLimit("\(word[..<colon]) \(key)=\(rate)"))
            }
        }
        for word in words.values("mount") { try mount(word, in: &spec) }
    }

    /// `type=bind,source=HOST,target=BOX[,readonly]` or `type=tmpfs,target=BOX[,tmpfs-size=S]`.
    private static func mount(_ word: String, in spec: inout SandboxSpec) throws {
        func bad(_ why: String) -> UsageError {
            UsageError(
                "bad value '\(word)' for --mount: \(why); it must be type=bind,source=HOST,target=BOX[,readonly] "
                    + "or type=tmpfs,target=BOX[,tmpfs-size=SIZE]", command: nil)
        }
        var (type, source, target, size) = ("volume", "", "", "")
        var isReadOnly = false
        for field in word.split(separator: ",") {
            let halves = field.split(separator: "=", maxSplits: 1).map(String.init)
            let value = halves.count == 2 ? halves[1] : "true"
            switch halves.first {
            case "type": type = value
            case "source", "src": source = value
            case "target", "destination", "dst": target = value
            case "readonly", "ro": isReadOnly = value == "true" || value == "1"
            case "tmpfs-size": size = value
            default: throw bad("'\(field)' is not known here")
            }
        }
        switch type {
        case "bind" where !source.isEmpty && !target.isEmpty:
            spec.volumes.append(
                try Volume(SpecOptions.absoluteVolume("\(source):\(target)\(isReadOnly ? ":ro" : "")")))
        case "tmpfs" where !target.isEmpty:
            spec.tmpfs.append(try Tmpfs(size.isEmpty ? target : "\(target):size=\(size)"))
        case "bind", "tmpfs": throw bad("source or target is missing")
        default: throw bad("there is no type \(type)")
        }
    }
}
