import Glibc
import LinuxSystem
import Messages

/// Filters ready for the kernel, compiled once a server each.
enum SeccompFilter {
    private struct Key: Hashable {
        let choice: SeccompChoice
        let capabilities: UInt64
    }
    private static let compiled = Monitor<[Key: [UInt8]]>([:])
    /// A client may think up profiles for ever.
    private static let kept = 64

    /// The program of a choice for commands that have these capabilities; empty for none.
    static func program(_ choice: SeccompChoice, capabilities: UInt64) throws(RuntimeError) -> [UInt8] {
        if choice == .unconfined { return [] }
        let key = Key(choice: choice, capabilities: capabilities)
        if let known = compiled.with({ $0[key] }) { return known }
        let program =
            if case .profile(let text) = choice {
                try DockerProfile(text).program(capabilities: capabilities)
            } else {
                try UsualFilter.program(capabilities: capabilities)
            }
        compiled.with {
            if $0.count >= kept { $0 = [:] }
            $0[key] = program
        }
        return program
    }

    /// The program with a beginning that answers ENOSYS to every number above `newest`: a program that tries a call
    /// newer than the filter falls back, as it would on an older kernel, while EPERM would stop it.
    ///
    /// `mask` is taken from the number first: the bit that marks x32's.
    static func withoutCallsAbove(_ newest: UInt32, mask: UInt32 = .max, in program: [UInt8]) -> [UInt8] {
        // Jumps of BPF are relative, so what follows stays right. linux/bpf_common.h has the codes.
        let begin: [(code: UInt16, yes: UInt8, no: UInt8, operand: UInt32)] = [
            (0x20, 0, 0, 0),  // load the call's number (struct seccomp_data)
            (0x54, 0, 0, mask),
            (0x25, 0, 1, newest),  // greater?
            (0x06, 0, 0, SeccompAction.error(UInt16(ENOSYS)).value),
        ]
        return begin.flatMap { step -> [UInt8] in
            let code = withUnsafeBytes(of: step.code) { Array($0) }
            return code + [step.yes, step.no] + withUnsafeBytes(of: step.operand) { Array($0) }
        } + program
    }
}
