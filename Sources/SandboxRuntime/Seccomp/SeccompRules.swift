import CSeccomp
import Glibc
import LinuxSystem

/// What a filter does with a system call (seccomp(2), "action values").
enum SeccompAction: Hashable, Sendable {
    case allow
    case error(UInt16)
    case killProcess
    case killThread
    case trap
    case trace(UInt16)
    case log

    /// As the kernel and libseccomp encode it (linux/seccomp.h, SECCOMP_RET_*).
    var value: UInt32 {
        switch self {
        case .allow: 0x7fff_0000
        case .error(let code): 0x0005_0000 | UInt32(code)
        case .killProcess: 0x8000_0000
        case .killThread: 0
        case .trap: 0x0003_0000
        case .trace(let message): 0x7ff0_0000 | UInt32(message)
        case .log: 0x7ffc_0000
        }
    }
}

/// What an argument of a call must be for a rule to hold.
struct ArgumentCondition: Hashable, Sendable {
    enum Comparison: String, CaseIterable, Sendable {
        case notEqual = "SCMP_CMP_NE"
        case less = "SCMP_CMP_LT"
        case lessOrEqual = "SCMP_CMP_LE"
        case equal = "SCMP_CMP_EQ"
        case greaterOrEqual = "SCMP_CMP_GE"
        case greater = "SCMP_CMP_GT"
        /// `(argument & value) == other`.
        case masked = "SCMP_CMP_MASKED_EQ"

        fileprivate var constant: scmp_compare {
            switch self {
            case .notEqual: SCMP_CMP_NE
            case .less: SCMP_CMP_LT
            case .lessOrEqual: SCMP_CMP_LE
            case .equal: SCMP_CMP_EQ
            case .greaterOrEqual: SCMP_CMP_GE
            case .greater: SCMP_CMP_GT
            case .masked: SCMP_CMP_MASKED_EQ
            }
        }
    }

    /// 0 to 5.
    var index: UInt32
    var comparison: Comparison
    var value: UInt64
    var other: UInt64 = 0

    fileprivate var datum: scmp_arg_cmp {
        scmp_arg_cmp(arg: index, op: comparison.constant, datum_a: value, datum_b: other)
    }
}

/// A filter under construction, in libseccomp.
struct SeccompRules: ~Copyable {
    private let context: scmp_filter_ctx
    private let usual: SeccompAction

    private init(_ context: scmp_filter_ctx, usual: SeccompAction) {
        self.context = context
        self.usual = usual
    }

    /// A filter that does `usual` with every call of the architectures (libseccomp's tokens, beside this machine's
    /// own) that no rule names.
    static func make(
        usual: SeccompAction, architectures: [UInt32]
    ) throws(RuntimeError) -> SeccompRules {
        guard let context = seccomp_init(usual.value) else {
            throw .start(step: "seccomp_init", code: ENOMEM)
        }
        let rules = SeccompRules(context, usual: usual)
        for architecture in architectures where seccomp_arch_exist(context, architecture) != 0 {
            try check(seccomp_arch_add(context, architecture), "seccomp_arch_add")
        }
        // A tree instead of a list: what the kernel runs for each call, and once for every number when it takes the
        // filter in, is then a tenth.
        try check(seccomp_attr_set(context, SCMP_FLTATR_CTL_OPTIMIZE, 2), "seccomp_attr_set")
        return rules
    }

    deinit { seccomp_release(context) }

    /// libseccomp's number of a call on this machine's own architecture; nil for a name it does not know. A call of
    /// other architectures alone has a negative one.
    static func number(of name: String) -> Int32? {
        let number = seccomp_syscall_resolve_name(name)
        return number == -1 ? nil : number
    }

    /// Adds a rule; one for a call that libseccomp has never heard of changes nothing.
    mutating func add(
        _ action: SeccompAction, _ name: String, _ conditions: [ArgumentCondition] = []
    ) throws(RuntimeError) {
        // libseccomp refuses a rule that says what is done anyway.
        guard action != usual, let number = Self.number(of: name) else { return }
        let data = conditions.map(\.datum)
        let result = data.withUnsafeBufferPointer {
            seccomp_rule_add_array(context, action.value, number, UInt32($0.count), $0.baseAddress)
        }
        // The same rule twice is one.
        if result != -EEXIST { try Self.check(result, "seccomp_rule_add for \(name)") }
    }

    /// The instructions of BPF, as seccomp(2) takes them.
    borrowing func export() throws(RuntimeError) -> [UInt8] {
        let file = try system { () throws(SystemError) in
            Descriptor(owning: try retrying("memfd_create") { memfd_create("seccomp", UInt32(MFD_CLOEXEC)) })
        }
        try Self.check(seccomp_export_bpf(context, file.raw), "seccomp_export_bpf")
        return try system { () throws(SystemError) in
            let size = try retrying("lseek") { lseek(file.raw, 0, SEEK_END) }
            try retrying("lseek") { lseek(file.raw, 0, SEEK_SET) }
            return try file.read(upTo: Int(size))
        }
    }

    private static func check(_ result: Int32, _ step: String) throws(RuntimeError) {
        if result < 0 { throw .start(step: step, code: -result) }
    }
}
