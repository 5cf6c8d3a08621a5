import Glibc

/// One mapping of a process, as /proc/PID/smaps tells it and CRIU writes it down (criu/proc_parse.c).
struct LiveArea {
    var start: UInt64
    var end: UInt64
    var offset: UInt64 = 0
    /// PROT_* and MAP_* of <sys/mman.h>.
    var protection: UInt32 = 0
    var flags: UInt32 = 0
    /// One bit an advice of madvise(2), by its number.
    var advice: UInt64 = 0
    /// Of a file, whose inode is not 0.
    var inode: UInt64 = 0
    /// A path, or what the kernel calls it, such as `[heap]`; empty for what has no name.
    var name = ""
    /// Of a device (VM_IO, VM_PFNMAP), a shadow stack, or made of huge pages.
    var isStrange = false

    var isShared: Bool { flags & UInt32(MAP_SHARED) != 0 }
    /// What the kernel maps for itself.
    var isKernels: Bool {
        name == "[vdso]" || name == "[vvar]" || name == "[vvar_vclock]" || name == "[vsyscall]"
    }
}

extension LiveArea {
    /// All mappings of a process, in order; nil where they cannot be read.
    static func all(of process: Int32) -> [LiveArea]? {
        guard let text = ProcText("/proc/\(process)/smaps") else { return nil }
        var areas: [LiveArea] = []
        var position = 0
        let bytes = text.bytes
        while position < bytes.count {
            let end = bytes[position...].firstIndex(of: newline) ?? bytes.count
            // Lines about an area begin with a capital.
            if bytes[position] >= UInt8(ascii: "a") || bytes[position] <= UInt8(ascii: "9") {
                guard let area = LiveArea(header: bytes[position..<end]) else { return nil }
                areas.append(area)
            } else if bytes[position] == UInt8(ascii: "V"), !areas.isEmpty {
                areas[areas.count - 1].apply(flags: bytes[position..<end].dropFirst(8))
            }
            position = end + 1
        }
        return areas
    }

    /// `5569e1d82000-5569e1db7000 r-xp 0002f000 00:2f 331     /usr/bin/bash`
    init?(header line: ArraySlice<UInt8>) {
        var rest = line
        func word() -> ArraySlice<UInt8> {
            let found = rest.prefix { $0 != 32 }
            rest = rest.dropFirst(found.count).drop { $0 == 32 }
            return found
        }
        let range = word()
        let dash = range.firstIndex(of: UInt8(ascii: "-")) ?? range.endIndex
        guard dash < range.endIndex, let start = number(range[..<dash], radix: 16),
            let end = number(range[(dash + 1)...], radix: 16)
        else { return nil }
        self.init(start: start, end: end)
        let rights = Array(word())
        guard rights.count == 4, let offset = number(word(), radix: 16) else { return nil }
        self.offset = offset
        _ = word()
        guard let inode = number(word()) else { return nil }
        self.inode = inode
        guard let name = plainText(rest) else { return nil }
        self.name = name
        if rights[0] == UInt8(ascii: "r") { protection |= UInt32(PROT_READ) }
        if rights[1] == UInt8(ascii: "w") { protection |= UInt32(PROT_WRITE) }
        if rights[2] == UInt8(ascii: "x") { protection |= UInt32(PROT_EXEC) }
        flags = UInt32(rights[3] == UInt8(ascii: "s") ? MAP_SHARED : MAP_PRIVATE)
        if inode == 0 { flags |= UInt32(MAP_ANONYMOUS) }
    }

    /// The two letters of each (proc_pid_smaps(5), VmFlags).
    private mutating func apply(flags line: ArraySlice<UInt8>) {
        for word in words(in: line) where word.count == 2 {
            switch (word[word.startIndex], word[word.startIndex + 1]) {
            case (0x67, 0x64): flags |= UInt32(MAP_GROWSDOWN)  // gd
            case (0x6c, 0x6f): flags |= UInt32(MAP_LOCKED)  // lo
            case (0x6e, 0x72): flags |= UInt32(MAP_NORESERVE)  // nr
            case (0x73, 0x72): advice |= 1 << UInt64(MADV_SEQUENTIAL)  // sr
            case (0x72, 0x72): advice |= 1 << UInt64(MADV_RANDOM)  // rr
            case (0x64, 0x63): advice |= 1 << UInt64(MADV_DONTFORK)  // dc
            case (0x64, 0x64): advice |= 1 << UInt64(MADV_DONTDUMP)  // dd
            case (0x6d, 0x67): advice |= 1 << UInt64(MADV_MERGEABLE)  // mg
            case (0x68, 0x67): advice |= 1 << UInt64(MADV_HUGEPAGE)  // hg
            case (0x6e, 0x68): advice |= 1 << UInt64(MADV_NOHUGEPAGE)  // nh
            case (0x77, 0x66): advice |= 1 << UInt64(MADV_WIPEONFORK)  // wf
            // ht dp io pf ss
            case (0x68, 0x74), (0x64, 0x70), (0x69, 0x6f), (0x70, 0x66), (0x73, 0x73): isStrange = true
            default: break
            }
        }
    }
}
