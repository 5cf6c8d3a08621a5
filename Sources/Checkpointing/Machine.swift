import Criu
import LinuxSystem
import SnapshotTree

/// What of a machine a process image may depend on.
struct Machine: Sendable {
    let architecture: String
    /// The major version of CRIU, which reads images of its own major version.
    let criu: String
    /// The processor's model, as /proc/cpuinfo calls it.
    let model: String
    /// The extensions of the instruction set that programs can use, as /proc/cpuinfo calls them, sorted.
    let features: [String]

    /// This machine; /proc/cpuinfo is read once, for it asks every processor for its frequency.
    static let current = Machine(
        architecture: Host.architecture, criu: CriuPin.version.description,
        cpuinfo: String(decoding: (try? Files.read("/proc/cpuinfo")) ?? [], as: UTF8.self))

    /// A machine of which /proc/cpuinfo says `cpuinfo`.
    init(architecture: String, criu: String, cpuinfo: String) {
        self.architecture = architecture
        self.criu = criu
        func value(_ key: String) -> Substring {
            for line in cpuinfo.split(separator: "\n") where line.hasPrefix(key) {
                guard let colon = line.firstIndex(of: ":") else { continue }
                return line[line.index(after: colon)...].drop { $0 == " " }
            }
            return ""
        }
        model = String(value("model name"))
        features = value("flags").split(separator: " ").map(String.init).filter(Self.isForPrograms).sorted()
    }

    /// Flags of instructions and registers that a program finds by CPUID; the others are the kernel's affair
    /// (arch/x86/include/asm/cpufeatures.h).
    private static func isForPrograms(_ flag: String) -> Bool {
        let families = ["sse", "ssse", "avx", "amx", "bmi", "fma", "xsave", "sha", "aes"]
        let single: Set = [
            "adx", "abm", "cldemote", "clflushopt", "clwb", "clzero", "cx16", "erms", "f16c", "fsgsbase",
            "fsrm",
            "fxsr", "gfni", "lahf_lm", "lzcnt", "mmx", "movbe", "movdir64b", "movdiri", "ospke", "pclmulqdq",
            "pku",
            "popcnt", "prefetchwt1", "rdpid", "rdrand", "rdseed", "rdtscp", "rtm", "serialize", "sm3", "sm4",
            "tbm", "tsxldtrk", "user_shstk", "vaes", "vpclmulqdq", "waitpkg", "xop",
        ]
        return single.contains(flag) || families.contains { flag.hasPrefix($0) }
    }

    /// Why what `manifest` describes cannot go on here; nil where it can.
    ///
    /// Another kernel is no reason: CRIU says itself what it misses of one.
    func misfit(of manifest: Manifest) -> String? {
        if manifest.architecture != architecture {
            return "it was saved on \(manifest.architecture), this is \(architecture)"
        }
        func major(_ version: String) -> Substring { version.prefix { $0 != "." } }
        if major(manifest.criu) != major(criu) {
            return "CRIU \(manifest.criu) wrote it, this is CRIU \(criu)"
        }
        let missing = manifest.cpuFeatures.filter { !features.contains($0) }
        if !missing.isEmpty {
            let list = missing.prefix(10).joined(separator: " ")
            let more = missing.count > 10 ? " and \(missing.count - 10) more" : ""
            return "its programs may use \(list)\(more), which this processor (\(model)) lacks"
        }
        return nil
    }
}
