import CCriuImages
import CTwin
import Glibc
import LinuxSystem

/// Writes the script that makes the processes of an image directory anew.
///
/// PID 1 opens every file of the tree, at numbers from `firstShared` on, and makes the pipes; its children inherit them. Then
/// each process makes its own children, gives up all memory but the script's, maps what it had, puts the descriptors in
/// their places and stands still to get its memory's content. Behind that stop come signals, timers and rights.
struct RebuildBuilder {
    private let images: Predecessor
    private let checked: ClockTime
    /// Whose memory comes in behind, by their pids.
    private let late: Set<Int32>
    private var script = RebuildScript()
    private(set) var notes: [UInt8] = []
    private(set) var scores: [(pid: Int32, memoryScore: Int32)] = []
    private(set) var kernelSize: UInt64 = 0
    private(set) var kernelPlaces: Set<UInt64> = []
    private var starts: [Int32: RebuildScript.Label] = [:]
    private var shared: [UInt32: Int32] = [:]
    private var isListenerFound = false

    /// The listening socket of a fresh PID 1, and where it is kept meanwhile.
    private static let listener: Int32 = 3
    private static let keptListener: Int32 = 511
    /// /dev/userfaultfd of a fresh PID 1, and where it is kept meanwhile.
    private static let device: Int32 = 5
    private static let keptDevice: Int32 = 510
    private static let firstShared: Int32 = 512
    /// Where each process has the userfaultfd by which it gets its memory, while it stands still for that.
    static let userFault = keptListener
    /// Fewer descriptors than RLIMIT_NOFILE of PID 1 allows.
    private static let mostShared = 256

    init(_ images: Predecessor, checked: ClockTime, late: Set<Int32>) throws(CriuImageError) {
        (self.images, self.checked, self.late) = (images, checked, late)
        guard images.processes.first?.pid == 1 else {
            throw CriuImageError("pstree.img", "does not begin with PID 1")
        }
    }

    /// The script, where it is to lie, how much room that takes, and where the ground's values belong.
    func finished() -> (script: [UInt8], gaps: [(at: Int, value: Int)], place: UInt64, room: UInt64) {
        // Code before it, a stack behind it (Sources/CTwin/rebuild.c).
        let room = (Page.size + UInt64(script.size) + 8192 + Page.size - 1) / Page.size * Page.size
        // Above the heap of PID 1, a program of fixed addresses: the kernel puts it within 1 GiB of where it ends
        // (arch_randomize_brk).
        var place: UInt64 = 0x1_0000_0000
        let areas = images.processes.flatMap(\.areas)
        while areas.contains(where: { $0.end > place && $0.start < place + room }) { place += room }
        let (bytes, gaps) = script.bytes(at: place + Page.size)
        return (bytes, gaps, place, room)
    }

    mutating func build() throws(CriuImageError) {
        for process in images.processes { starts[process.pid] = script.label() }
        // struct stat, st_mode: S_IFSOCK. A PID 1 of another version has it elsewhere.
        let status = script.put([UInt8](repeating: 0, count: 144))
        script.call(Call.fstat, [.signed(Self.listener), .data(status)])
        script.expect(status + 24, 0o140000, mask: 0o170000)
        script.call(Call.dup3, [.signed(Self.listener), .signed(Self.keptListener), .signed(O_CLOEXEC)])
        if !late.isEmpty {
            script.call(Call.dup3, [.signed(Self.device), .signed(Self.keptDevice), .signed(O_CLOEXEC)])
        }
        try openFiles()
        for process in images.processes {
            script.place(starts[process.pid]!)
            try build(process)
        }
        guard isListenerFound else { throw CriuImageError("files.img", "has no socket of PID 1") }
    }

    // MARK: Files

    /// What makes two entries the same to whoever has no descriptor of them.
    private struct Sameness: Hashable {
        let name: String
        let flags: UInt32
        let size: UInt64?
        let mode: UInt32?
        let hasBuildID: Bool
        let isOurs: Bool
    }

    /// The files that are to be opened, by their entries, and for each entry which of these stands for it.
    ///
    /// Each process has entries of its own for its directories. One does for all that are only mapped, executed or stood in;
    /// roots need none (`placeDescriptors`).
    private func toOpen() -> (files: [UInt32: Predecessor.OpenFile], standsFor: [UInt32: UInt32]) {
        let held = Set(images.processes.flatMap { $0.descriptors.map(\.file) })
        let needed = images.processes.reduce(into: held) { needed, process in
            needed.formUnion([process.program, process.workingDirectory])
            needed.formUnion(process.areas.map { UInt32(truncatingIfNeeded: $0.file) })
        }
        var (files, standsFor): ([UInt32: Predecessor.OpenFile], [UInt32: UInt32]) = ([:], [:])
        var first: [Sameness: UInt32] = [:]
        for (id, file) in images.files.sorted(by: { $0.key < $1.key })
        where file.uses > 0 && file.type != FD_TYPES__UNIXSK && needed.contains(id) {
            standsFor[id] = id
            if !held.contains(id), file.type == FD_TYPES__REG {
                let sameness = Sameness(
                    name: file.name, flags: file.flags, size: file.size, mode: file.mode,
                    hasBuildID: file.hasBuildID, isOurs: isOurs(file))
                standsFor[id] = first[sameness, default: id]
                first[sameness] = standsFor[id]
            }
            if standsFor[id] == id { files[id] = file }
        }
        return (files, standsFor)
    }

    /// Whether it is PID 1's own program: of the version that the sandbox was started with, however new the file.
    private func isOurs(_ file: Predecessor.OpenFile) -> Bool {
        file.index == images.processes.first.flatMap { images.files[$0.program]?.index }
    }

    private mutating func openFiles() throws(CriuImageError) {
        let (used, standsFor) = toOpen()
        guard used.count <= Self.mostShared else {
            throw CriuImageError("files.img", "has \(used.count) files")
        }
        for (index, id) in used.keys.sorted().enumerated() { shared[id] = Self.firstShared + Int32(index) }
        for (id, other) in standsFor { shared[id] = shared[other] }
        typealias Ends = [UInt32: [(id: UInt32, file: Predecessor.OpenFile)]]
        var (pipes, fifos): (Ends, Ends) = ([:], [:])
        for (id, file) in used.sorted(by: { $0.key < $1.key }) {
            switch file.type {
            case FD_TYPES__PIPE: pipes[file.pipe, default: []].append((id, file))
            case FD_TYPES__FIFO: fifos[file.pipe, default: []].append((id, file))
            default: try open(file, as: shared[id]!)
            }
        }
        for (fifo, ends) in fifos.sorted(by: { $0.key < $1.key }) { try openFIFO(fifo, ends) }
        for (pipe, ends) in pipes.sorted(by: { $0.key < $1.key }) { try makePipe(pipe, ends) }
    }

    /// Opens a FIFO by its name, while it is open for both: who opens one end waits for the other.
    private mutating func openFIFO(
        _ fifo: UInt32, _ ends: [(id: UInt32, file: Predecessor.OpenFile)]
    ) throws(CriuImageError) {
        let both = script.put(words: [0])
        let name = script.put(path: ends[0].file.name)
        script.call(Call.openat, [.signed(AT_FDCWD), .data(name), .signed(O_RDWR | O_CLOEXEC)], store: both)
        if let size = images.fifoSizes[fifo] {
            script.call(Call.fcntl, [.found(both), .signed(F_SETPIPE_SZ), .number(UInt64(size))])
        }
        for (id, file) in ends { try open(file, as: shared[id]!) }
        script.call(Call.close, [.found(both)])
    }

    private mutating func open(_ file: Predecessor.OpenFile, as number: Int32) throws(CriuImageError) {
        guard file.type == FD_TYPES__REG || file.type == FD_TYPES__FIFO, file.name.hasPrefix("/"),
            isWhole(file.name)
        else {
            throw CriuImageError("files.img", "has a file of another kind")
        }
        let opened = script.put(words: [0]), status = script.put([UInt8](repeating: 0, count: 144))
        let name = script.put(path: file.name)
        let flags = Int32(bitPattern: file.flags) & ~(O_CREAT | O_EXCL | O_TRUNC) | O_CLOEXEC | O_NOCTTY
        script.call(Call.openat, [.signed(AT_FDCWD), .data(name), .signed(flags), 0], store: opened)
        script.call(Call.fstat, [.found(opened), .data(status)])
        // Of struct stat: st_mode, st_size, st_ctim.
        if let mode = file.mode { script.expect(status + 24, UInt64(mode), mask: 0xffff_ffff) }
        if let size = file.size { script.expect(status + 48, size) }
        if file.hasBuildID, !isOurs(file) { script.expect(status + 104, notAfter: checked) }
        if file.position != 0 {
            script.call(Call.lseek, [.found(opened), .number(file.position), .signed(SEEK_SET)])
        }
        script.call(Call.dup3, [.found(opened), .signed(number), .signed(O_CLOEXEC)])
        script.call(Call.close, [.found(opened)])
    }

    private mutating func makePipe(
        _ pipe: UInt32, _ ends: [(id: UInt32, file: Predecessor.OpenFile)]
    ) throws(CriuImageError) {
        let pair = script.put(words: [0])
        script.call(Call.pipe2, [.data(pair), .signed(O_CLOEXEC)])
        for (id, file) in ends {
            let access = Int32(bitPattern: file.flags) & O_ACCMODE
            guard access == O_RDONLY || access == O_WRONLY,
                ends.filter({ Int32(bitPattern: $0.file.flags) & O_ACCMODE == access }).count == 1
            else { throw CriuImageError("files.img", "has a pipe that was opened by its name") }
            let end = access == O_RDONLY ? pair : pair + 4
            let flags = Int32(bitPattern: file.flags) & ~O_ACCMODE
            if flags & O_NONBLOCK != flags { throw CriuImageError("files.img", "has a pipe of another kind") }
            if flags != 0 { script.call(Call.fcntl, [.found(end), .signed(F_SETFL), .signed(flags)]) }
            script.call(Call.dup3, [.found(end), .signed(shared[id]!), .signed(O_CLOEXEC)])
        }
        if let size = images.pipeSizes[pipe] {
            script.call(Call.fcntl, [.found(pair), .signed(F_SETPIPE_SZ), .number(UInt64(size))])
        }
        script.call(Call.close, [.found(pair)])
        script.call(Call.close, [.found(pair + 4)])
    }

    // MARK: Processes

    private func number(of file: UInt32) throws(CriuImageError) -> Int32 {
        guard let number = shared[file] else { throw CriuImageError("files.img", "has no entry \(file)") }
        return number
    }

    private mutating func build(_ process: Predecessor.Process) throws(CriuImageError) {
        let core = try RebuildCore(process, images)
        notes += core.noteBytes
        scores.append((process.pid, core.memoryScore))
        try takePlace(process)
        try giveBirth(process)
        try map(process)
        try placeDescriptors(process)
        script.call(Call.prctl, [.number(Control.name), .data(script.put(path: core.name))])
        script.stop()
        closeAll(from: Self.userFault, to: Self.userFault)
        core.write(to: &script)
        script.stop()
    }

    /// Its session and group, while its parent's are what it inherits.
    private mutating func takePlace(_ process: Predecessor.Process) throws(CriuImageError) {
        if process.pid == 1 { return }
        let pid = UInt32(process.pid)
        guard let parent = images.processes.first(where: { UInt32($0.pid) == process.parent }) else {
            throw CriuImageError("pstree.img", "has no parent of process \(pid)")
        }
        if process.session == pid {
            script.call(Call.setsid, [])
            if process.group == pid { return }
        } else if process.session != parent.session {
            throw CriuImageError("pstree.img", "has a session of another")
        }
        if process.group == pid {
            script.call(Call.setpgid, [0, 0])
        } else if process.group != parent.group || process.session == pid {
            throw CriuImageError("pstree.img", "has a process group of another")
        }
    }

    private mutating func giveBirth(_ process: Predecessor.Process) throws(CriuImageError) {
        for child in images.processes where child.parent == UInt32(process.pid) && child.pid != 1 {
            let wanted = script.put(words: [UInt64(child.pid)])
            // struct clone_args
            var words = [UInt64](repeating: 0, count: 11)
            (words[4], words[9]) = (UInt64(SIGCHLD), 1)
            let arguments = script.put(words: words)
            script.point(arguments + 64, to: wanted)
            script.birth([
                .data(arguments), .number(UInt64(words.count * 8)), .step(starts[child.pid]!),
                .number(UInt64(child.pid)),
            ])
        }
    }

    // MARK: Memory

    private mutating func map(_ process: Predecessor.Process) throws(CriuImageError) {
        func strange(_ what: String) -> CriuImageError { CriuImageError(process.map.name, what) }
        for gap in stride(from: 0, to: 6, by: 2) {
            script.callForRange(Call.munmap, [.ground(gap), .ground(gap + 1)])
        }
        let kernels = process.areas.filter { $0.status & (AreaStatus.vdso | AreaStatus.vvar) != 0 }
        guard let first = kernels.first, let last = kernels.last,
            zip(kernels, kernels.dropFirst()).allSatisfy({ $0.end == $1.start })
        else { throw strange("has the kernel's mappings at odd places") }
        let size = last.end - first.start
        guard kernelSize == 0 || kernelSize == size else { throw strange("is of another kernel") }
        kernelSize = size
        kernelPlaces.insert(first.start)
        for index in 0..<RebuildPlan.mostKernelAreas {
            let value = 6 + index * 3
            script.callForRange(
                Call.mremap,
                [
                    .ground(value), .ground(value + 1), .ground(value + 1),
                    .signed(Self.moveAndFix), .ground(value + 2, plus: first.start),
                ])
        }
        for area in process.areas where area.status & AreaStatus.kernels == 0 {
            try map(area, strange)
        }
        try describe(process, strange)
    }

    private mutating func map(
        _ area: Predecessor.Area, _ strange: (String) -> CriuImageError
    ) throws(CriuImageError) {
        let flags = Int32(bitPattern: area.flags)
        let known = MAP_PRIVATE | MAP_SHARED | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_NORESERVE
        guard flags & ~known == 0 else { throw strange("has a mapping of another kind") }
        var file: Int32 = -1
        if area.status & AreaStatus.privateAnonymous != 0 {
            guard flags & MAP_ANONYMOUS != 0, flags & MAP_PRIVATE != 0 else { throw strange("shares memory") }
        } else if area.status & (AreaStatus.privateFile | AreaStatus.sharedFile) != 0 {
            // Through what is shared and was opened for it a file may be written to, once that is allowed (mprotect(2)).
            let opened = Int32(bitPattern: area.descriptorFlags ?? UInt32(O_RDWR)) & O_ACCMODE
            guard area.status & AreaStatus.privateFile != 0 || opened == O_RDONLY else {
                throw strange("may write to a file that it has mapped")
            }
            file = try number(of: UInt32(truncatingIfNeeded: area.file))
        } else {
            throw strange("has a mapping of another kind")
        }
        script.call(
            Call.mmap,
            [
                .number(area.start), .number(area.end - area.start), .number(UInt64(area.protection)),
                .signed(flags | Self.fixed), .signed(file), .number(area.offset),
            ])
        for advice in 0..<UInt64(64) where area.advice >> advice & 1 != 0 {
            script.call(
                Call.madvise, [.number(area.start), .number(area.end - area.start), .number(advice)])
        }
    }

    /// MREMAP_MAYMOVE and MREMAP_FIXED.
    private static let moveAndFix: Int32 = 3
    /// MAP_FIXED_NOREPLACE
    private static let fixed: Int32 = 0x100000

    /// What /proc tells of its memory, and its program: struct prctl_mm_map.
    private mutating func describe(
        _ process: Predecessor.Process, _ strange: (String) -> CriuImageError
    ) throws(CriuImageError) {
        let (words, vector, isHugeDisabled, dumpable) = try process.map.decodeOnly(
            mm_entry__unpack, mm_entry__free_unpacked
        ) { entry in
            let map = entry.pointee
            return (
                [
                    map.mm_start_code, map.mm_end_code, map.mm_start_data, map.mm_end_data,
                    map.mm_start_brk, map.mm_brk, map.mm_start_stack, map.mm_arg_start, map.mm_arg_end,
                    map.mm_env_start, map.mm_env_end,
                ], numbers(map.mm_saved_auxv, map.n_mm_saved_auxv),
                map.has_thp_disabled != 0 && map.thp_disabled != 0,
                map.has_dumpable == 0 ? 1 : map.dumpable
            )
        }
        // Of 2 the kernel alone decides.
        guard dumpable == 0 || dumpable == 1, !isHugeDisabled else {
            throw strange("has attributes of its own")
        }
        let program = try number(of: process.program)
        let auxiliary = script.put(words: vector)
        let size = UInt64(vector.count * 8)
        let description = script.put(words: words + [0, size | UInt64(UInt32(bitPattern: program)) << 32])
        script.point(description + words.count * 8, to: auxiliary)
        script.call(
            Call.prctl,
            [
                .number(Control.memory), .number(Control.memoryMap), .data(description),
                .number(UInt64(words.count * 8 + 16)), 0,
            ])
    }

    // MARK: Descriptors and directories

    private mutating func placeDescriptors(_ process: Predecessor.Process) throws(CriuImageError) {
        let mask = try process.directories.decodeOnly(fs_entry__unpack, fs_entry__free_unpacked) {
            $0.pointee.has_umask == 0 ? nil : $0.pointee.umask
        }
        guard let mask, images.files[process.root]?.name == "/" else {
            throw CriuImageError(process.directories.name, "has a root of its own, or no mask")
        }
        script.call(Call.fchdir, [.signed(try number(of: process.workingDirectory))])
        script.call(Call.umask, [.number(UInt64(mask))])
        closeAll(from: 0, to: Self.keptDevice - 1)
        for descriptor in process.descriptors {
            guard descriptor.number < Self.keptDevice else {
                throw CriuImageError("fdinfo", "has descriptor \(descriptor.number)")
            }
            var from = Self.keptListener
            if descriptor.type == FD_TYPES__UNIXSK {
                guard !isListenerFound else { throw CriuImageError("fdinfo", "has two sockets") }
                isListenerFound = true
            } else {
                from = try number(of: descriptor.file)
            }
            // FD_CLOEXEC
            let flags = descriptor.flags & 1 == 0 ? 0 : O_CLOEXEC
            script.call(Call.dup3, [.signed(from), .signed(descriptor.number), .signed(flags)])
        }
        closeAll(from: Self.keptListener, to: -1)
        makeUserFault(of: process.pid)
        closeAll(from: Self.keptDevice, to: Self.keptDevice)
    }

    /// By what a process gets its memory: for who has some come in behind one that tells of faults in system calls too, which
    /// in a user namespace only the device gives.
    private mutating func makeUserFault(of pid: Int32) {
        let made = script.put(words: [0])
        if late.contains(pid) {
            script.call(
                Call.ioctl,
                [.signed(Self.keptDevice), .number(Self.newUserFault), .signed(O_CLOEXEC | O_NONBLOCK)],
                store: made)
        } else if UserFault.isThere {
            // UFFD_USER_MODE_ONLY
            script.call(Call.userfaultfd, [.signed(O_CLOEXEC | 1)], store: made)
        } else {
            return
        }
        script.call(Call.dup3, [.found(made), .signed(Self.userFault), .signed(O_CLOEXEC)])
        script.call(Call.close, [.found(made)])
    }

    /// USERFAULTFD_IOC_NEW of <linux/userfaultfd.h>.
    private static let newUserFault: UInt64 = 0xaa00

    /// Descriptors that are open or not; -1 is the last there can be.
    private mutating func closeAll(from first: Int32, to last: Int32) {
        script.call(
            Call.close_range, [.number(UInt64(first)), .number(UInt64(UInt32(bitPattern: last))), 0])
    }
}
