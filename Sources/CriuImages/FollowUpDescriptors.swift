import CCriuImages
import CLinux
import CTwin
import Glibc

/// What fcntl(2) can set of an open file (F_SETFL).
private let settable: UInt32 = {
    // Of these two <fcntl.h> tells only with _GNU_SOURCE.
    let (direct, leavesTime): (UInt32, UInt32) = (0x4000, 0x40000)
    return UInt32(O_APPEND | O_NONBLOCK) | direct | leavesTime
}()

/// A descriptor as it is, and the entry of files.img that is to tell of its open file.
struct Assigned {
    let live: LiveDescriptor
    let file: UInt32
    /// Whether the entry is one that the predecessor has not got, or had for another file.
    let isFresh: Bool
    /// The number of the pipe, of a fresh one.
    let pipe: UInt32?
}

extension FollowUp {
    /// What changed of the open files of a process goes into files.img.
    func compareDescriptors(_ one: Compared, _ assigned: [Assigned]) throws(FollowUpRefusal) {
        for descriptor in assigned {
            let live = descriptor.live
            let refusal = { (what: String) in one.refusal("\(what) (fd \(live.number))") }
            guard let found = live.flags else { throw refusal("has other descriptors") }
            if live.hasLock { throw refusal("holds a lock") }
            guard live.look.owner == 0, live.look.signal == 0 else {
                throw refusal("gets signals from a file")
            }
            let flags = found & ~UInt32(O_CLOEXEC)
            if let pipe = descriptor.pipe {
                try compareContent(live, size: nil, refusal)
                addPipe(descriptor.file, pipe, flags)
                continue
            }
            if descriptor.isFresh {
                try describe(live, as: descriptor.file, flags, refusal)
                continue
            }
            guard let file = before.files[descriptor.file], !file.hasOwner else {
                throw refusal("gets signals from a file")
            }
            guard flags & ~settable == file.flags & ~settable else { throw refusal("has another file open") }
            switch file.type {
            case FD_TYPES__REG: try compareFile(live, file, flags, refusal)
            case FD_TYPES__FIFO:
                try compareFile(live, file, flags, refusal)
                try compareContent(live, size: before.fifoSizes[file.pipe], refusal)
            case FD_TYPES__PIPE: try compareContent(live, size: before.pipeSizes[file.pipe], refusal)
            case FD_TYPES__UNIXSK:
                guard one.pid == 1 else { throw refusal("has a socket") }
                try compareSocket(live, file, refusal)
            default: throw refusal("has something open that only CRIU can save")
            }
            if flags != file.flags, file.type != FD_TYPES__REG, file.type != FD_TYPES__FIFO {
                throw refusal("has set other flags")
            }
        }
    }

    private func compareFile(
        _ live: LiveDescriptor, _ file: Predecessor.OpenFile, _ flags: UInt32,
        _ refusal: (String) -> FollowUpRefusal
    ) throws(FollowUpRefusal) {
        guard live.isFile, areSame(live.target, file.name), live.look.links > 0, let mode = file.mode,
            live.look.mode & S_IFMT == mode & S_IFMT, let point = live.mount.flatMap({ mounts[$0] }),
            before.mounts[point] == file.mount, let position = live.position
        else { throw refusal("has another file open") }
        // CRIU reads the build-id of a program again.
        guard !file.hasBuildID || live.changed < before.written else {
            throw refusal("has a program open that changed")
        }
        try editFile(file.index) { write(live, flags, position, to: &$0.pointee) }
    }

    private func write(
        _ live: LiveDescriptor, _ flags: UInt32, _ position: UInt64, to entry: inout RegFileEntry
    ) {
        let isRegular = live.look.mode & S_IFMT == S_IFREG
        // Of a file that is only appended to CRIU does not write it down (criu/files-reg.c, should_check_size).
        let isAppended = flags & UInt32(O_APPEND) != 0 && flags & UInt32(O_ACCMODE) == UInt32(O_WRONLY)
        (entry.flags, entry.pos) = (flags, position)
        (entry.has_mode, entry.mode) = (1, live.look.mode)
        entry.has_size = isRegular && !isAppended ? 1 : 0
        entry.size = UInt64(live.look.size)
    }

    /// An entry for a file that was opened since.
    private func describe(
        _ live: LiveDescriptor, as id: UInt32, _ flags: UInt32, _ refusal: (String) -> FollowUpRefusal
    ) throws(FollowUpRefusal) {
        guard let point = live.mount.flatMap({ mounts[$0] }), let mount = before.mounts[point],
            let position = live.position
        else { throw refusal("has another file open") }
        addFile(id, live.target, mount) { write(live, flags, position, to: &$0) }
    }

    /// Writes an entry of files.img for a file that a restore is to open by its name.
    func addFile(_ id: UInt32, _ name: String, _ mount: Int32, _ describe: (inout RegFileEntry) -> Void) {
        var file = RegFileEntry()
        reg_file_entry__init(&file)
        (file.id, file.has_mnt_id, file.mnt_id) = (id, 1, mount)
        describe(&file)
        add(id, FD_TYPES__REG) { owner, entry in
            Array(name.utf8CString).withUnsafeBufferPointer { name in
                (file.fown, file.name) = (owner, UnsafeMutablePointer(mutating: name.baseAddress))
                return withUnsafeMutablePointer(to: &file) { file in
                    entry.reg = file
                    return packed(&entry)
                }
            }
        }
    }

    private func addPipe(_ id: UInt32, _ pipe: UInt32, _ flags: UInt32) {
        var end = PipeEntry()
        pipe_entry__init(&end)
        (end.id, end.pipe_id, end.flags) = (id, pipe, flags)
        add(id, FD_TYPES__PIPE) { owner, entry in
            end.fown = owner
            return withUnsafeMutablePointer(to: &end) { end in
                entry.pipe = end
                return packed(&entry)
            }
        }
    }

    /// `pack` gets an owner that is nobody, and the entry to complete.
    private func add(
        _ id: UInt32, _ type: FdTypes, _ pack: (UnsafeMutablePointer<FownEntry>, inout FileEntry) -> [UInt8]
    ) {
        var owner = FownEntry()
        fown_entry__init(&owner)
        var entry = FileEntry()
        file_entry__init(&entry)
        (entry.type, entry.id) = (type, id)
        let packed = withUnsafeMutablePointer(to: &owner) { pack($0, &entry) }
        if let index = added[id] ?? before.files[id]?.index {
            filesImage.entries[index] = packed
        } else {
            added[id] = filesImage.entries.count
            filesImage.entries.append(packed)
        }
    }

    /// fdinfo-N.img of a process; nil where it is the predecessor's.
    func table(of one: Compared, _ assigned: [Assigned]) -> ImageFile? {
        let entries = assigned.map { descriptor in
            Predecessor.OpenDescriptor(
                number: descriptor.live.number,
                // FD_CLOEXEC
                flags: (descriptor.live.flags ?? 0) & UInt32(O_CLOEXEC) == 0 ? 0 : 1, file: descriptor.file,
                type: descriptor.pipe != nil
                    ? FD_TYPES__PIPE
                    : descriptor.isFresh
                        ? FD_TYPES__REG : before.files[descriptor.file]?.type ?? FD_TYPES__REG)
        }
        if entries == one.process.descriptors, !one.isNew { return nil }
        return ImageFile(
            "fdinfo-\(one.process.table).img", .descriptors,
            entries.map { descriptor in
                var entry = FdinfoEntry()
                fdinfo_entry__init(&entry)
                (entry.id, entry.flags, entry.type) = (descriptor.file, descriptor.flags, descriptor.type)
                entry.fd = UInt32(bitPattern: descriptor.number)
                return packed(&entry)
            })
    }

    private func compareContent(
        _ live: LiveDescriptor, size: UInt32?, _ refusal: (String) -> FollowUpRefusal
    ) throws(FollowUpRefusal) {
        guard live.look.waiting == 0 else { throw refusal("has something in a pipe") }
        guard UInt32(live.look.pipe_size) == size ?? 65536 else {
            throw refusal("has a pipe of another size")
        }
    }

    /// PID 1's own, which listens for ckpt.
    private func compareSocket(
        _ live: LiveDescriptor, _ file: Predecessor.OpenFile, _ refusal: (String) -> FollowUpRefusal
    ) throws(FollowUpRefusal) {
        let name = withUnsafeBytes(of: live.look.name) { Array($0.prefix(Int(live.look.name_length))) }
        func trimmed(_ address: [UInt8]) -> ArraySlice<UInt8> { address.prefix { $0 != 0 } }
        guard live.isSocket, file.listens, live.look.listens == 1, live.look.domain == AF_UNIX,
            live.look.type == Int32(SOCK_STREAM.rawValue), !trimmed(name).isEmpty,
            trimmed(name) == trimmed(file.address)
        else { throw refusal("has another socket") }
        guard live.look.waiting == 0 else { throw refusal("is being connected to") }
    }

    /// Changes an entry of files.img that is of a regular file.
    private func editFile(
        _ index: Int, _ change: (UnsafeMutablePointer<RegFileEntry>) -> Void
    ) throws(FollowUpRefusal) {
        try understanding { () throws(CriuImageError) in
            try filesImage.edit(index, file_entry__unpack, file_entry__free_unpacked) { entry in
                if let regular = entry.pointee.reg { change(regular) }
            }
        }
    }

    /// fs-PID.img: the working directory may be another, the root may not.
    func places(_ one: Compared) throws(FollowUpRefusal) -> ImageFile {
        guard let root = before.files[one.process.root],
            let directory = before.files[one.process.workingDirectory]
        else { throw one.refusal("has no known directory") }
        guard areSame(one.live.root, root.name) else { throw one.refusal("has another root") }
        var newDirectory: UInt32?
        if one.isNew {
            newDirectory = try addDirectory(of: one)
        } else if areSame(one.live.directory, directory.name) {
            try set(one.live.directoryStatus.st_mode, of: directory)
        } else {
            try change(directory, of: one)
        }
        try set(one.live.rootStatus.st_mode, of: root)
        guard let umask = one.live.status.numbers("Umask:", radix: 8).first else {
            throw one.refusal("does not tell its umask")
        }
        var file = one.process.directories
        try understanding { () throws(CriuImageError) in
            try file.edit(0, fs_entry__unpack, fs_entry__free_unpacked) { entry in
                (entry.pointee.has_umask, entry.pointee.umask) = (1, UInt32(umask))
                if let newDirectory { entry.pointee.cwd_id = newDirectory }
            }
        }
        return file
    }

    /// A restore refuses a directory of another mode.
    private func set(_ mode: mode_t, of directory: Predecessor.OpenFile) throws(FollowUpRefusal) {
        try editFile(directory.index) { ($0.pointee.has_mode, $0.pointee.mode) = (1, mode) }
    }

    /// The mount that a path of the sandbox leads to: nothing is mounted over another.
    func mount(of path: String) -> Int32? {
        guard path.hasPrefix("/"), !path.hasSuffix(" (deleted)") else { return nil }
        return before.mounts.keys.filter { $0 == "/" || path == $0 || path.hasPrefix($0 + "/") }
            .max { $0.utf8.count < $1.utf8.count }.flatMap { before.mounts[$0] }
    }

    private func change(_ directory: Predecessor.OpenFile, of one: Compared) throws(FollowUpRefusal) {
        let path = one.live.directory
        let status = one.live.directoryStatus
        guard directory.type == FD_TYPES__REG, directory.uses == 1, status.st_nlink > 0,
            let mount = mount(of: path)
        else { throw one.refusal("has another working directory") }
        try editFile(directory.index) { entry in
            // The message frees what it holds.
            free(entry.pointee.name)
            entry.pointee.name = strdup(path)
            (entry.pointee.has_mnt_id, entry.pointee.mnt_id) = (1, mount)
            (entry.pointee.has_mode, entry.pointee.mode) = (1, status.st_mode)
        }
    }

    private func addDirectory(of one: Compared) throws(FollowUpRefusal) -> UInt32 {
        let status = one.live.directoryStatus
        guard status.st_nlink > 0, let mount = mount(of: one.live.directory) else {
            throw one.refusal("has another working directory")
        }
        let id = fileNumbers.take()
        addFile(id, one.live.directory, mount) { ($0.has_mode, $0.mode) = (1, status.st_mode) }
        return id
    }

    /// What processes share by clone(2) only CRIU tells. All of them stand still.
    static func compareSharing(_ all: [Compared]) throws(FollowUpRefusal) {
        for resource in [CLINUX_SAME_VM, CLINUX_SAME_FILES, CLINUX_SAME_FS, CLINUX_SAME_SIGHAND] {
            let kind = Int32(resource.rawValue)
            let sorted = all.map(\.note.pid).sorted { clinux_compare($0, $1, kind, 0, 0) == 1 }
            for (one, other) in zip(sorted, sorted.dropFirst()) {
                let result = clinux_compare(one, other, kind, 0, 0)
                guard result == 1 || result == 2 else {
                    throw FollowUpRefusal("two processes share what a fork does not")
                }
            }
        }
    }

    /// Finds the entry of files.img for each descriptor: that which its number had, where it may be the same file, one of
    /// its own for a file or a pipe that was opened since. All processes stand still.
    static func assign(
        _ all: [Compared], _ before: Predecessor
    ) throws(FollowUpRefusal) -> ([[Assigned]], FileNumbers) {
        var groups: [String: [OpenGroup]] = [:]
        var taken: Set<UInt32> = []
        // Both ends of a pipe have its number.
        var pipes: [UInt64: UInt32] = [:]
        var found: [[(live: LiveDescriptor, group: OpenGroup)]] = []
        for one in all {
            let known = Dictionary(
                one.process.descriptors.map { ($0.number, $0) }, uniquingKeysWith: { first, _ in first })
            var row: [(live: LiveDescriptor, group: OpenGroup)] = []
            for live in one.live.descriptors {
                let mine = Holder(pid: one.note.pid, number: live.source)
                if let group = groups[live.target]?.first(where: { $0.holder.hasSame(as: mine) }) {
                    row.append((live, group))
                    continue
                }
                let group = OpenGroup(mine)
                if let id = known[live.number]?.file, !taken.contains(id), let file = before.files[id],
                    live.mayBe(file), pipes.takes(live.pipe, as: file.pipe)
                {
                    group.file = id
                    taken.insert(id)
                } else if live.pipe == nil, !live.canBeOpenedByName {
                    throw one.refusal("has other descriptors (fd \(live.number))")
                }
                groups[live.target, default: []].append(group)
                row.append((live, group))
            }
            found.append(row)
        }
        var numbers = FileNumbers(before, all, taken: taken, pipes: pipes)
        let assigned = found.map { row in
            row.map { live, group in
                let known = group.file ?? numbers.take()
                if group.file == nil { (group.file, group.isFresh) = (known, true) }
                let pipe = group.isFresh ? live.pipe.map { numbers.pipe($0) } : nil
                return Assigned(live: live, file: known, isFresh: group.isFresh, pipe: pipe)
            }
        }
        return (assigned, numbers)
    }

    /// An open file, which several descriptors may share.
    private final class OpenGroup {
        let holder: Holder
        /// Its entry of files.img, once that is known.
        var file: UInt32?
        var isFresh = false

        init(_ holder: Holder) { self.holder = holder }
    }

    private struct Holder {
        let pid: Int32
        let number: Int32

        func hasSame(as other: Holder) -> Bool {
            clinux_compare(pid, other.pid, Int32(CLINUX_SAME_FILE.rawValue), UInt(number), UInt(other.number))
                == 0
        }
    }
}

/// An image of the predecessor that cannot be taken apart is left to CRIU to write anew.
func understanding<Result>(_ body: () throws(CriuImageError) -> Result) throws(FollowUpRefusal) -> Result {
    do throws(CriuImageError) { return try body() } catch { throw FollowUpRefusal(error.description) }
}

extension LiveDescriptor {
    /// Whether it can be what an entry of the predecessor tells; what cannot be opened by a name is compared further.
    fileprivate func mayBe(_ file: Predecessor.OpenFile) -> Bool {
        guard let flags else { return false }
        switch file.type {
        case FD_TYPES__REG, FD_TYPES__FIFO:
            return isFile && areSame(target, file.name)
                && flags & ~UInt32(O_CLOEXEC) & ~settable == file.flags & ~settable
        case FD_TYPES__PIPE: return pipe != nil && flags & ~UInt32(O_CLOEXEC) == file.flags
        case FD_TYPES__UNIXSK: return isSocket
        default: return false
        }
    }

    /// Whether a restore can open it anew: a file or directory with a name, or a device that has no state.
    fileprivate var canBeOpenedByName: Bool {
        guard isFile, look.links > 0, !target.hasSuffix(" (deleted)"), !target.hasPrefix("/proc/"),
            !target.hasPrefix("/sys/")
        else { return false }
        switch look.mode & S_IFMT {
        case S_IFREG, S_IFDIR: return true
        // null, zero, full, random and urandom (Documentation/admin-guide/devices.txt).
        case S_IFCHR: return look.device >> 8 == 1 && [3, 5, 7, 8, 9].contains(look.device & 0xff)
        default: return false
        }
    }
}

extension [UInt64: UInt32] {
    /// Has a pipe of the kernel's known by a number of the images; false where it or the number is taken otherwise.
    fileprivate mutating func takes(_ pipe: UInt64?, as number: UInt32) -> Bool {
        guard let pipe else { return true }
        if let known = self[pipe] { return known == number }
        if values.contains(number) { return false }
        self[pipe] = number
        return true
    }
}
