import Glibc
import Messages
import Testing

@testable import SandboxRuntime

/// Filters, looked at without a kernel: what they answer to a call.
@Suite struct SeccompFilters {
    private let allow = SeccompAction.allow.value
    private let denied = SeccompAction.error(UInt16(EPERM)).value
    private let absent = SeccompAction.error(UInt16(ENOSYS)).value
    private let usualCapabilities = Capability.mask(Capability.usual)

    private func usual(_ capabilities: UInt64? = nil) throws -> Filter {
        Filter(try SeccompFilter.program(.usual, capabilities: capabilities ?? usualCapabilities))
    }

    private func profile(_ text: String, _ capabilities: UInt64 = 0) throws -> Filter {
        Filter(try SeccompFilter.program(.profile(text), capabilities: capabilities))
    }

    @Test func theUsualOneIsSmall() throws {
        // Every process of a snapshot carries it, and each restore compiles it for each of them.
        #expect(try SeccompFilter.program(.usual, capabilities: usualCapabilities).count <= 8 * 700)
        #expect(try SeccompFilter.program(.unconfined, capabilities: 0).isEmpty)
    }

    @Test func ordinaryCallsPass() throws {
        let filter = try usual()
        for name in [
            "read", "openat", "execve", "clone", "fork", "vfork", "mmap", "ptrace", "prctl", "seccomp",
            "setresuid",
            "socket", "ioctl", "mknodat", "personality", "arch_prctl", "rseq", "futex_waitv", "statx",
            "openat2",
        ] { #expect(filter.answer(name) == allow, "\(name)") }
    }

    @Test func dangerousCallsDoNot() throws {
        let filter = try usual()
        for name in [
            "mount", "umount2", "pivot_root", "unshare", "setns", "bpf", "perf_event_open", "keyctl",
            "add_key",
            "request_key", "userfaultfd", "kexec_load", "init_module", "open_by_handle_at", "reboot",
            "swapon", "acct",
            "fsopen", "move_mount", "open_tree", "mount_setattr", "kcmp", "pidfd_getfd", "settimeofday",
            "iopl",
            "syslog", "quotactl", "sethostname", "mbind",
        ] { #expect(filter.answer(name) == denied, "\(name)") }
        for name in ["io_uring_setup", "io_uring_enter", "landlock_restrict_self", "clone3"] {
            #expect(filter.answer(name) == absent, "\(name)")
        }
        #expect(filter.answer(number: 459) == absent)
        #expect(filter.answer(number: 9999) == absent)
        // x32, and the 32-bit calls by their own numbers: 21 is mount, 26 ptrace (asm/unistd_32.h).
        #expect(filter.answer(number: 0x4000_0000) == absent)
        #expect(filter.answer(number: 21, architecture: SeccompArchitecture.x86) == denied)
        #expect(filter.answer(number: 26, architecture: SeccompArchitecture.x86) == allow)
    }

    @Test func argumentsCount() throws {
        let filter = try usual()
        for flag: UInt64 in [
            0x2_0000, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000,
        ] {
            #expect(filter.answer("clone", flag | 17) == denied, "clone with \(flag)")
        }
        #expect(filter.answer("clone", 0x100 | 0x4000 | 17) == allow)
        for request: UInt64 in [0x5412, 0x541c] {
            #expect(filter.answer("ioctl", 0, request) == denied)
            // The kernel drops the upper half of the word.
            #expect(filter.answer("ioctl", 0, request | 1 << 32) == denied)
        }
        #expect(filter.answer("ioctl", 0, 0x5401) == allow)
        #expect(filter.answer("ioctl", 0, 0x5413) == allow)
        for family: UInt64 in [38, 40] { #expect(filter.answer("socket", family) == denied) }
        for family: UInt64 in [1, 2, 10, 16, 17, 39] { #expect(filter.answer("socket", family) == allow) }
        for known: UInt64 in [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff] {
            #expect(filter.answer("personality", known) == allow, "personality \(known)")
        }
        for other: UInt64 in [1, 0x4_0000, 0x40_0000, 0x2_0009, 0x8000_0000, 0xffff_fffe, 0xbfff_ffff] {
            #expect(filter.answer("personality", other) == denied, "personality \(other)")
        }
    }

    @Test func capabilitiesOpenTheirCalls() throws {
        for (capability, calls) in [
            ("SYS_ADMIN", ["mount", "unshare", "setns", "bpf", "perf_event_open", "clone3", "syslog"]),
            ("SYS_PTRACE", ["kcmp", "pidfd_getfd"]), ("SYS_CHROOT", ["chroot"]),
            ("SYS_TIME", ["settimeofday"]),
            ("BPF", ["bpf"]), ("PERFMON", ["perf_event_open"]), ("SYSLOG", ["syslog"]),
            ("SYS_NICE", ["mbind"]),
        ] {
            let filter = try usual(Capability.mask([capability]))
            let without = try usual(0)
            for call in calls {
                #expect(filter.answer(call) == allow, "\(call) with \(capability)")
                #expect(without.answer(call) != allow, "\(call)")
            }
        }
        let admin = try usual(Capability.mask(["SYS_ADMIN"]))
        #expect(admin.answer("clone", 0x1000_0000) == allow)
        #expect(admin.answer("io_uring_setup") == absent)
        #expect(admin.answer("keyctl") == denied)
        #expect(admin.answer("ioctl", 0, 0x5412) == denied)
    }

    @Test func profilesAreReadAsDockerReadsThem() throws {
        let filter = try profile(
            """
            {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 13,
             "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
             "syscalls": [
              {"names": ["read", "no_such_call", "getrandom"], "action": "SCMP_ACT_ALLOW", "comment": "x"},
              {"name": "write", "action": "SCMP_ACT_ALLOW",
               "args": [{"index": 0, "value": 2, "op": "SCMP_CMP_LE"}, {"index": 2, "value": 9, "op": "SCMP_CMP_LT"}]},
              {"names": ["socket"], "action": "SCMP_ACT_ALLOW",
               "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]},
              {"names": ["clone"], "action": "SCMP_ACT_ALLOW",
               "args": [{"index": 0, "value": 2114060288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]},
              {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
              {"names": ["umount2"], "action": "SCMP_ACT_KILL", "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
              {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
              {"names": ["kcmp"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "99.0"}},
              {"names": ["swapon"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["s390x"]}},
              {"names": ["chmod"], "action": "SCMP_ACT_ERRNO", "errnoRet": 30},
              {"names": ["times"], "action": "SCMP_ACT_LOG"}]}
            """)
        let refused = SeccompAction.error(13).value
        #expect(filter.answer("read") == allow)
        #expect(filter.answer("open") == refused)
        #expect(filter.answer("write", 2, 0, 8) == allow)
        #expect(filter.answer("write", 3, 0, 8) == refused)
        #expect(filter.answer("write", 2, 0, 9) == refused)
        #expect(filter.answer("socket", 1) == allow)
        #expect(filter.answer("socket", 2) == allow)
        #expect(filter.answer("socket", 10) == refused)
        #expect(filter.answer("clone", 17) == allow)
        #expect(filter.answer("clone", 0x1000_0011) == refused)
        #expect(filter.answer("mount") == refused)
        #expect(filter.answer("umount2") == SeccompAction.killThread.value)
        #expect(filter.answer("ptrace") == allow)
        #expect(filter.answer("kcmp") == refused)
        #expect(filter.answer("swapon") == refused)
        #expect(filter.answer("chmod") == SeccompAction.error(30).value)
        #expect(filter.answer("times") == SeccompAction.log.value)
        // getrandom, 318, is the newest that it names.
        #expect(filter.answer(number: 319) == absent)
        #expect(filter.answer(number: 3, architecture: SeccompArchitecture.x86) == allow)
    }

    @Test func capabilitiesDecideWhatOfAProfileCounts() throws {
        let text = """
            {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
              {"names": ["mount"], "action": "SCMP_ACT_ERRNO", "excludes": {"caps": ["CAP_SYS_ADMIN"]}}]}
            """
        #expect(try profile(text).answer("mount") == denied)
        #expect(try profile(text, Capability.mask(["SYS_ADMIN"])).answer("mount") == allow)
        #expect(try profile(text).answer(number: 9999) == allow)
    }

    @Test(arguments: [
        ("{", ""),
        (#"{"syscalls": []}"#, "defaultAction"),
        (#"{"defaultAction": "ALLOW"}"#, "defaultAction"),
        (#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#, "defaultAction"),
        (#"{"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": "x"}"#, "defaultErrnoRet"),
        (
            #"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"], "archMap": [{"architecture": "x"}]}"#,
            "archMap"
        ),
        (
            #"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "DENY"}]}"#,
            "syscalls[0].action"
        ),
        (
            #"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"action": "SCMP_ACT_ERRNO"}]}"#,
            "syscalls[0].names"
        ),
        (
            #"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "a", "names": ["b"], "action": "SCMP_ACT_LOG"}]}"#,
            "syscalls[0]"
        ),
        (
            #"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]}]}"#,
            "syscalls[0].args[0].index"
        ),
        (
            #"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 1, "value": 1, "op": "EQ"}]}]}"#,
            "syscalls[0].args[0].op"
        ),
        (
            #"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 1, "op": "SCMP_CMP_EQ"}]}]}"#,
            "syscalls[0].args[0].value"
        ),
        (
            #"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO", "includes": {"minKernel": "new"}}]}"#,
            "syscalls[0].includes.minKernel"
        ),
    ])
    func badProfilesAreNamedByTheField(text: String, place: String) throws {
        do {
            _ = try profile(text)
            Issue.record("taken: \(text)")
        } catch RuntimeError.badProfile(let found, let reason) {
            #expect(found == place)
            #expect(!reason.isEmpty)
            #expect(RuntimeError.badProfile(found, reason).message.code == .badValue)
        }
    }
}

/// A program of BPF and the part of the machine that such programs use (linux/filter.h).
private struct Filter {
    let program: [UInt8]

    init(_ program: [UInt8]) { self.program = program }

    func answer(_ name: String, _ arguments: UInt64...) -> UInt32 {
        run(UInt32(bitPattern: SeccompRules.number(of: name)!), SeccompArchitecture.x8664, arguments)
    }

    func answer(number: UInt32, architecture: UInt32 = SeccompArchitecture.x8664) -> UInt32 {
        run(number, architecture, [])
    }

    private func run(_ number: UInt32, _ architecture: UInt32, _ arguments: [UInt64]) -> UInt32 {
        // struct seccomp_data: the number, the architecture, the instruction pointer, six arguments.
        var data = [number, architecture, 0, 0]
        for index in 0..<6 {
            let value = index < arguments.count ? arguments[index] : 0
            data += [UInt32(truncatingIfNeeded: value), UInt32(value >> 32)]
        }
        var (at, accumulator) = (0, UInt32(0))
        while true {
            let (code, yes, no, operand) = program.withUnsafeBytes {
                (
                    $0.loadUnaligned(fromByteOffset: 8 * at, as: UInt16.self), Int($0[8 * at + 2]),
                    Int($0[8 * at + 3]), $0.loadUnaligned(fromByteOffset: 8 * at + 4, as: UInt32.self)
                )
            }
            at += 1
            switch code {
            case 0x20: accumulator = data[Int(operand) / 4]
            case 0x54: accumulator &= operand
            case 0x05: at += Int(operand)
            case 0x15: at += accumulator == operand ? yes : no
            case 0x25: at += accumulator > operand ? yes : no
            case 0x35: at += accumulator >= operand ? yes : no
            case 0x45: at += accumulator & operand != 0 ? yes : no
            case 0x06: return operand
            default: preconditionFailure("an instruction that libseccomp does not use: \(code)")
            }
        }
    }
}
