import Glibc
import LinuxSystem
public import Messages

/// What the commands of a sandbox are kept from, as PID 1 is told of it once, before anything runs.
///
/// PID 1 keeps it in its memory and puts it around everything it starts, so it holds after a restore and in a fork.
public struct SandboxWalls: Hashable, Sendable {
    private struct Limit: Hashable {
        let number: Int32
        let soft: UInt64
        let hard: UInt64
    }
    private let capabilities: UInt64
    private let noNewPrivileges: Bool
    /// A seccomp filter's instructions; empty for none.
    private let filter: [UInt8]
    private let limits: [Limit]
    /// What the kernel adds to the memory score of its processes, in thousandths; nil leaves the server's own.
    public let oomScoreAdj: Int?

    /// The walls that a spec asks for; throws `badProfile` and `limitTooHigh`.
    public init(_ spec: SandboxSpec) throws(RuntimeError) {
        capabilities = spec.security.capabilities
        noNewPrivileges = spec.security.noNewPrivileges
        filter = try SeccompFilter.program(spec.security.seccomp, capabilities: capabilities)
        var limits: [Limit] = []
        for limit in spec.ulimits { limits.append(try Self.limit(limit)) }
        let (given, own) = (DescriptorLimit.atStart, DescriptorLimit.current)
        if given != own, !limits.contains(where: { $0.number == Int32(RLIMIT_NOFILE.rawValue) }) {
            // The server has raised its own; programs that use select(2), or close all that may be open, want a low one.
            limits.append(Limit(number: Int32(RLIMIT_NOFILE.rawValue), soft: given.soft, hard: given.hard))
        }
        self.limits = limits
        oomScoreAdj = spec.oomScoreAdj
    }

    /// A limit, where it is not above what this process may give away: what it starts has no more rights to raise one,
    /// nor has CRIU when it restores.
    private static func limit(_ limit: Ulimit) throws(RuntimeError) -> Limit {
        var own = rlimit()
        let kind = __rlimit_resource_t(UInt32(limit.number))
        _ = try system { () throws(SystemError) in
            try retrying("getrlimit", limit.name) { getrlimit(kind, &own) }
        }
        let none = UInt64.max
        let (soft, hard) = (limit.soft ?? none, limit.hard ?? none)
        guard hard <= UInt64(own.rlim_max) else {
            throw .limitTooHigh(limit, highest: UInt64(own.rlim_max))
        }
        return Limit(number: limit.number, soft: soft, hard: hard)
    }

    /// The steps of PID 1's plan (Sources/SandboxInit/plan.c).
    var steps: [[String]] {
        var steps = [["keepcaps", String(capabilities)]]
        if noNewPrivileges { steps.append(["nonewprivs"]) }
        steps += limits.map { ["limit", String($0.number), String($0.soft), String($0.hard)] }
        if !filter.isEmpty { steps.append(["seccomp", Self.hexadecimal(filter)]) }
        return steps
    }

    private static func hexadecimal(_ bytes: [UInt8]) -> String {
        let digits = Array("0123456789abcdef".utf8)
        var text: [UInt8] = []
        text.reserveCapacity(2 * bytes.count)
        for byte in bytes { text += [digits[Int(byte >> 4)], digits[Int(byte & 15)]] }
        return String(decoding: text, as: UTF8.self)
    }

    /// Gives a process the memory score of its sandbox, which what it starts inherits.
    public func setMemoryScore(of pid: Int32) throws(RuntimeError) {
        guard let oomScoreAdj else { return }
        let path = "/proc/\(pid)/oom_score_adj"
        do throws(SystemError) {
            let file = try Descriptor.open(path, O_WRONLY)
            try file.writeAll(Array(String(oomScoreAdj).utf8))
        } catch {
            guard error.code == EACCES else { throw .system(error) }
            throw .memoryScoreTooLow(oomScoreAdj)
        }
    }
}
