import FoundationEssentials
import Glibc
import LinuxSystem
import Messages

/// A profile in Docker's JSON format, with every rule that holds here.
///
/// What the format means is as moby/profiles has it (seccomp/seccomp.go and seccomp_linux.go, `setupSeccomp`): a rule
/// counts when all of its `includes` and none of its `excludes` hold; a name that libseccomp does not know is passed
/// over, so that a profile may name calls of newer kernels.
struct DockerProfile {
    private let usual: SeccompAction
    private let architectures: [UInt32]
    private let rules: [Profile.Rule]

    init(_ text: String) throws(RuntimeError) {
        let profile: Profile
        do { profile = try JSONDecoder().decode(Profile.self, from: Data(text.utf8)) } catch {
            throw .badProfile(Self.place(of: error), Self.reason(error))
        }
        guard let name = profile.defaultAction else {
            throw .badProfile("defaultAction", "it is missing")
        }
        usual = try Self.action(name, profile.defaultErrnoRet, "defaultAction")
        architectures = try Self.architectures(of: profile)
        rules = profile.syscalls ?? []
    }

    /// The program for commands that have these capabilities.
    func program(capabilities: UInt64) throws(RuntimeError) -> [UInt8] {
        var filter = try SeccompRules.make(usual: usual, architectures: architectures)
        var newest: Int32 = 0
        for (index, rule) in rules.enumerated() {
            let place = "syscalls[\(index)]"
            let names = try Self.names(of: rule, place)
            let action = try Self.action(rule.action ?? "", rule.errnoRet, "\(place).action")
            let conditions = try Self.conditions(of: rule, place)
            newest = names.reduce(newest) { max($0, SeccompRules.number(of: $1) ?? 0) }
            guard try rule.includes?.holds(entirely: true, capabilities, "\(place).includes") ?? true,
                try !(rule.excludes?.holds(entirely: false, capabilities, "\(place).excludes") ?? false)
            else { continue }
            for name in names { try Self.add(action, name, conditions, to: &filter, place) }
        }
        let program = try filter.export()
        guard case .error(let code) = usual, code != UInt16(ENOSYS) else { return program }
        let mask: UInt32 = architectures.contains(SeccompArchitecture.x32) ? ~0x4000_0000 : .max
        return SeccompFilter.withoutCallsAbove(UInt32(newest), mask: mask, in: program)
    }

    /// Conditions on different arguments must all hold. Where an argument comes twice, one of all is enough: a rule of
    /// libseccomp's compares each argument once, and this is how runc reads such profiles.
    private static func add(
        _ action: SeccompAction, _ name: String, _ conditions: [ArgumentCondition],
        to filter: inout SeccompRules, _ place: String
    ) throws(RuntimeError) {
        do throws(RuntimeError) {
            if Set(conditions.map(\.index)).count == conditions.count {
                try filter.add(action, name, conditions)
            } else {
                for condition in conditions { try filter.add(action, name, [condition]) }
            }
        } catch {
            guard case .start(let step, let code) = error else { throw error }
            throw .badProfile(place, "\(step): \(String(cString: strerror(code)))")
        }
    }

    private static func names(of rule: Profile.Rule, _ place: String) throws(RuntimeError) -> [String] {
        switch (rule.names, rule.name) {
        case (let names?, nil) where !names.isEmpty: return names
        case (nil, let name?) where !name.isEmpty: return [name]
        case (_?, _?): throw .badProfile(place, "both name and names are given")
        default: throw .badProfile("\(place).names", "no call is named")
        }
    }

    private static func conditions(
        of rule: Profile.Rule, _ place: String
    ) throws(RuntimeError) -> [ArgumentCondition] {
        var conditions: [ArgumentCondition] = []
        for (index, argument) in (rule.args ?? []).enumerated() {
            let place = "\(place).args[\(index)]"
            guard (0...5).contains(argument.index) else {
                throw .badProfile("\(place).index", "\(argument.index) is none of 0 to 5")
            }
            guard let comparison = ArgumentCondition.Comparison(rawValue: argument.op) else {
                let known = ArgumentCondition.Comparison.allCases.map(\.rawValue).joined(separator: ", ")
                throw .badProfile("\(place).op", "\"\(argument.op)\" is none of \(known)")
            }
            conditions.append(
                ArgumentCondition(
                    index: UInt32(argument.index), comparison: comparison, value: argument.value,
                    other: argument.valueTwo ?? 0))
        }
        return conditions
    }

    private static func action(
        _ name: String, _ code: UInt16?, _ place: String
    ) throws(RuntimeError) -> SeccompAction {
        switch name {
        case "SCMP_ACT_ALLOW": return .allow
        case "SCMP_ACT_ERRNO": return .error(code ?? UInt16(EPERM))
        case "SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD": return .killThread
        case "SCMP_ACT_KILL_PROCESS": return .killProcess
        case "SCMP_ACT_TRAP": return .trap
        case "SCMP_ACT_TRACE": return .trace(code ?? UInt16(EPERM))
        case "SCMP_ACT_LOG": return .log
        case "SCMP_ACT_NOTIFY":
            throw .badProfile(place, "SCMP_ACT_NOTIFY needs somebody to ask, who would be lost at a restore")
        default:
            throw .badProfile(
                place,
                "\"\(name)\" is none of SCMP_ACT_ALLOW, SCMP_ACT_ERRNO, SCMP_ACT_KILL, SCMP_ACT_KILL_THREAD, "
                    + "SCMP_ACT_KILL_PROCESS, SCMP_ACT_TRAP, SCMP_ACT_TRACE and SCMP_ACT_LOG")
        }
    }

    private static func architectures(of profile: Profile) throws(RuntimeError) -> [UInt32] {
        let listed = profile.architectures ?? []
        let mapped = profile.archMap ?? []
        guard listed.isEmpty || mapped.isEmpty else {
            throw .badProfile("archMap", "architectures is given too")
        }
        let native = mapped.first { $0.architecture == "SCMP_ARCH_X86_64" }
        let known = [
            "SCMP_ARCH_X86_64": SeccompArchitecture.x8664, "SCMP_ARCH_X86": SeccompArchitecture.x86,
            "SCMP_ARCH_X32": SeccompArchitecture.x32,
        ]
        // Calls of other machines' architectures cannot come here.
        return (listed + (native?.subArchitectures ?? [])).compactMap { known[$0] }
    }

    private static func place(of error: any Error) -> String {
        let path =
            switch error as? DecodingError {
            case .typeMismatch(_, let context), .valueNotFound(_, let context), .dataCorrupted(let context):
                context.codingPath
            case .keyNotFound(let key, let context): context.codingPath + [key]
            default: [any CodingKey]()
            }
        return path.reduce("") { text, key in
            if let index = key.intValue { return "\(text)[\(index)]" }
            return text.isEmpty ? key.stringValue : "\(text).\(key.stringValue)"
        }
    }

    private static func reason(_ error: any Error) -> String {
        switch error as? DecodingError {
        case .keyNotFound: "it is missing"
        case .typeMismatch(_, let context), .valueNotFound(_, let context), .dataCorrupted(let context):
            context.debugDescription
        default: "\(error)"
        }
    }
}

/// The JSON as it is written.
private struct Profile: Decodable {
    struct Architecture: Decodable {
        let architecture: String
        let subArchitectures: [String]?
    }

    struct Argument: Decodable {
        let index: Int
        let value: UInt64
        let valueTwo: UInt64?
        let op: String
    }

    struct Condition: Decodable {
        let caps: [String]?
        let arches: [String]?
        let minKernel: String?

        /// Whether all that it names is so here (`entirely`), or any of it.
        func holds(entirely: Bool, _ capabilities: UInt64, _ place: String) throws(RuntimeError) -> Bool {
            var answers = (caps ?? []).map { name in
                guard let capability = try? Capability(name) else { return false }
                return capability.mask & ~capabilities == 0
            }
            if let arches, !arches.isEmpty { answers.append(arches.contains("amd64")) }
            if let minKernel, !minKernel.isEmpty {
                answers.append(try Self.isAtLeast(minKernel, "\(place).minKernel"))
            }
            return entirely ? answers.allSatisfy { $0 } : answers.contains(true)
        }

        private static func isAtLeast(_ version: String, _ place: String) throws(RuntimeError) -> Bool {
            let wanted = version.split(separator: ".", omittingEmptySubsequences: false).map { Int($0) }
            guard wanted.count == 2, let major = wanted[0], let minor = wanted[1] else {
                throw .badProfile(place, "\"\(version)\" is no version such as 4.8")
            }
            var names = utsname()
            uname(&names)
            let release = text(names.release).split { !$0.isNumber }.prefix(2).compactMap { Int($0) }
            guard release.count == 2 else { return true }
            return (release[0], release[1]) >= (major, minor)
        }
    }

    struct Rule: Decodable {
        let names: [String]?
        let name: String?
        let action: String?
        let errnoRet: UInt16?
        let args: [Argument]?
        let includes: Condition?
        let excludes: Condition?
    }

    let defaultAction: String?
    let defaultErrnoRet: UInt16?
    let architectures: [String]?
    let archMap: [Architecture]?
    let syscalls: [Rule]?
}
