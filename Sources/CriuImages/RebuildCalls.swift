/// System calls of x86-64 (arch/x86/entry/syscalls/syscall_64.tbl).
enum Call {
    static let close = 3
    static let fstat = 5
    static let lseek = 8
    static let mmap = 9
    static let munmap = 11
    static let ioctl = 16
    static let rt_sigaction = 13
    static let mremap = 25
    static let madvise = 28
    static let setitimer = 38
    static let fcntl = 72
    static let fchdir = 81
    static let umask = 95
    static let setpgid = 109
    static let setsid = 112
    static let setgroups = 116
    static let setresuid = 117
    static let setresgid = 119
    static let setfsuid = 122
    static let setfsgid = 123
    static let capset = 126
    static let sigaltstack = 131
    static let prctl = 157
    static let set_tid_address = 218
    static let openat = 257
    static let set_robust_list = 273
    static let dup3 = 292
    static let pipe2 = 293
    static let seccomp = 317
    static let membarrier = 324
    static let userfaultfd = 323
    static let rseq = 334
    static let close_range = 436
}

/// What prctl(2) is asked for (<linux/prctl.h>).
enum Control {
    static let deathSignal: UInt64 = 1
    static let dumpable: UInt64 = 4
    static let keepCapabilities: UInt64 = 8
    static let name: UInt64 = 15
    static let dropBounding: UInt64 = 24
    static let memory: UInt64 = 35
    /// PR_SET_MM_MAP
    static let memoryMap: UInt64 = 14
    static let subreaper: UInt64 = 36
    static let noNewPrivileges: UInt64 = 38
    static let ambient: UInt64 = 47
    /// PR_CAP_AMBIENT_RAISE
    static let raise: UInt64 = 2
}
