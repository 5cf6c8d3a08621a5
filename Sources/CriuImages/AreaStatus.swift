/// What a mapping is: VMA_* of CRIU's criu/include/image.h.
enum AreaStatus {
    static let regular: UInt32 = 1 << 0
    static let stack: UInt32 = 1 << 1
    static let vsyscall: UInt32 = 1 << 2
    static let vdso: UInt32 = 1 << 3
    static let heap: UInt32 = 1 << 5
    static let privateFile: UInt32 = 1 << 6
    static let sharedFile: UInt32 = 1 << 7
    static let sharedAnonymous: UInt32 = 1 << 8
    static let privateAnonymous: UInt32 = 1 << 9
    static let vvar: UInt32 = 1 << 12
    static let asynchronousRing: UInt32 = 1 << 13
    static let shadowStack: UInt32 = 1 << 15
    static let guardPages: UInt32 = 1 << 16
    static let probes: UInt32 = 1 << 17

    /// What the kernel maps for itself.
    static let kernels = vsyscall | vdso | vvar
}
