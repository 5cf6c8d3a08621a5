import CSeccomp
import Glibc
import Messages

/// The filter of commands where nothing else is said.
///
/// Which calls it refuses, and which capability takes the refusal back, is what Docker does by default
/// (moby/profiles, seccomp/default.json), told as what is refused and not as what is allowed: that is a sixth of the
/// program, and each process of a snapshot carries it. Calls newer than the ones it knows do not exist in it, as in
/// Docker. Beyond Docker it refuses what CRIU could not save or would lose, and what reaches a terminal's owner.
struct UsualFilter {
    /// The last call whose meaning was weighed: listmount, 458 on every architecture (asm-generic/unistd.h). Calls
    /// are numbered alike everywhere from 424 on.
    static let newest: UInt32 = 458

    /// Refused with EPERM unless one of the capabilities is there.
    private static let privileged: [(capabilities: [String], calls: [String])] = [
        (
            [],
            [
                "add_key", "keyctl", "request_key", "kexec_load", "kexec_file_load", "migrate_pages",
                "move_pages",
                "pivot_root", "swapon", "swapoff", "sysfs", "uselib", "ustat", "vm86", "vm86old",
                // Not in Docker's: CRIU cannot save it.
                "userfaultfd",
            ]
        ),
        (
            ["SYS_ADMIN"],
            [
                "fanotify_init", "fsconfig", "fsmount", "fsopen", "fspick", "mount", "mount_setattr",
                "move_mount",
                "open_tree", "quotactl", "quotactl_fd", "setdomainname", "sethostname", "setns", "umount",
                "umount2",
                "unshare",
            ]
        ),
        (["SYS_ADMIN", "BPF"], ["bpf"]),
        (["SYS_ADMIN", "PERFMON"], ["perf_event_open"]),
        (["SYS_ADMIN", "SYSLOG"], ["syslog"]),
        (["DAC_READ_SEARCH"], ["open_by_handle_at"]),
        (["SYS_BOOT"], ["reboot"]),
        (["SYS_CHROOT"], ["chroot"]),
        (["SYS_MODULE"], ["delete_module", "init_module", "finit_module"]),
        (["SYS_NICE"], ["get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"]),
        (["SYS_PACCT"], ["acct"]),
        (["SYS_PTRACE"], ["kcmp", "pidfd_getfd", "process_madvise"]),
        (["SYS_RAWIO"], ["iopl", "ioperm"]),
        (["SYS_TIME"], ["settimeofday", "stime", "clock_settime", "clock_settime64"]),
        (["SYS_TTY_CONFIG"], ["vhangup"]),
    ]

    /// Answered as by a kernel without them, so that programs do without: CRIU cannot save an io_uring, and what it
    /// restores has lost its Landlock domain, so a program would be unconfined and not know.
    private static let absent = [
        "io_uring_setup", "io_uring_enter", "io_uring_register", "landlock_create_ruleset",
        "landlock_add_rule",
        "landlock_restrict_self",
    ]

    /// Requests of ioctl(2) that put words into a terminal's input (ioctl_tty(2)): TIOCSTI and TIOCLINUX.
    private static let terminalRequests: [UInt64] = [0x5412, 0x541c]

    /// AF_ALG and AF_VSOCK: the kernel's own cipher code, and the machine's hypervisor.
    private static let socketFamilies: [UInt64] = [38, 40]

    /// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET (linux/sched.h).
    private static let namespaceFlags: [UInt64] = [
        0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000,
    ]

    /// UNAME26 and PER_LINUX32 (sys/personality.h), each alone or both.
    private static let personalities: UInt64 = 0x0002_0000 | 8

    /// The program for commands that have these capabilities.
    static func program(capabilities: UInt64) throws(RuntimeError) -> [UInt8] {
        let has = { (names: [String]) in Capability.mask(names) & capabilities != 0 }
        let refused = SeccompAction.error(UInt16(EPERM))
        var rules = try SeccompRules.make(usual: .allow, architectures: [SeccompArchitecture.x86])
        for (names, calls) in privileged where !has(names) {
            for call in calls { try rules.add(refused, call) }
        }
        for call in absent { try rules.add(.error(UInt16(ENOSYS)), call) }
        if !has(["SYS_ADMIN"]) {
            // Its flags lie in memory, where a filter cannot look; the C library falls back to clone(2).
            try rules.add(.error(UInt16(ENOSYS)), "clone3")
            for flag in namespaceFlags { try rules.add(refused, "clone", [bits(0, flag, are: flag)]) }
        }
        // The kernel looks at 32 bits of these: so must we.
        for request in terminalRequests {
            try rules.add(refused, "ioctl", [bits(1, 0xffff_ffff, are: request)])
        }
        for family in socketFamilies {
            try rules.add(refused, "socket", [bits(0, 0xffff_ffff, are: family)])
        }
        try refusePersonalities(&rules, with: refused)
        return SeccompFilter.withoutCallsAbove(newest, in: try rules.export())
    }

    /// All but the known ones, and 0xffffffff, which only asks. As each comparison of an argument is a rule of its own:
    /// the highest bit is clear and one of the others is set, or it is set and one of the others clear.
    private static func refusePersonalities(
        _ rules: inout SeccompRules, with refused: SeccompAction
    ) throws(RuntimeError) {
        let highest: UInt64 = 1 << 31
        for position in 0..<31 {
            let bit: UInt64 = 1 << UInt64(position)
            if personalities & bit == 0 {
                try rules.add(refused, "personality", [bits(0, highest | bit, are: bit)])
            }
            try rules.add(refused, "personality", [bits(0, highest | bit, are: highest)])
        }
    }

    private static func bits(_ index: UInt32, _ mask: UInt64, are value: UInt64) -> ArgumentCondition {
        ArgumentCondition(index: index, comparison: .masked, value: mask, other: value)
    }
}

/// libseccomp's names of the architectures this machine can run: macros that Swift does not see.
enum SeccompArchitecture {
    /// AUDIT_ARCH_X86_64, AUDIT_ARCH_I386 and, of libseccomp's own, x32 (seccomp.h).
    static let x8664: UInt32 = 0xc000_003e
    static let x86: UInt32 = 0x4000_0003
    static let x32: UInt32 = 0x4000_003e
}
