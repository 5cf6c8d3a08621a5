import CCriuImages
import CTwin
import Glibc
import LinuxSystem

/// Makes of processes that came since a snapshot, or have executed another program, what they would be in its images:
/// like one that is there and has the same rights, but with nothing mapped.
struct Newcomers {
    private let before: Predecessor
    /// Like whom the last one was.
    private var last: Int32?
    /// The highest number of a table of descriptors.
    private var table: UInt32

    init(_ before: Predecessor) {
        self.before = before
        table = before.processes.map(\.table).max() ?? 0
    }

    /// One that stands still.
    mutating func compared(
        _ note: cnote, _ live: LiveProcess, _ notes: TaskNotes
    ) throws(FollowUpRefusal) -> FollowUp.Compared {
        // Most likely is the one of the last, and least of all PID 1, but for another PID 1.
        func rank(_ model: Predecessor.Process) -> Int {
            model.pid == note.inner ? 0 : model.pid == last ? 1 : 2
        }
        let models = before.processes.reversed()
        for model in (0...2).flatMap({ wanted in models.filter { rank($0) == wanted } }) {
            let one = FollowUp.Compared(note: note, process: like(model, note.inner), live: live, isNew: true)
            if try FollowUp.isLike(one), try FollowUp.hasSameFilters(one, before, notes) {
                table += 1
                last = model.pid
                return one
            }
        }
        throw FollowUpRefusal(note.inner, "is new, and has rights of its own")
    }

    private func like(_ model: Predecessor.Process, _ pid: Int32) -> Predecessor.Process {
        func renamed(_ image: ImageFile, _ name: String) -> ImageFile {
            ImageFile("\(name)-\(pid).img", image.kind, image.entries)
        }
        return Predecessor.Process(
            pid: pid, parent: 0, group: 0, session: 0, core: renamed(model.core, "core"),
            map: renamed(model.map, "mm"), directories: renamed(model.directories, "fs"),
            areas: model.areas.filter { $0.status & AreaStatus.kernels != 0 }, program: 0,
            // Another of the same pid may have the same open: PID 1's socket can be written down in no other way.
            descriptors: model.pid == pid ? model.descriptors : [],
            table: table + 1, workingDirectory: model.workingDirectory, root: model.root)
    }

    /// pstree.img; parents come before their children.
    static func treeImage(
        _ tree: [(pid: UInt32, parent: UInt32, group: UInt32, session: UInt32)]
    ) -> ImageFile {
        let entries = tree.map { one in
            var thread = one.pid
            return withUnsafeMutablePointer(to: &thread) { thread in
                var entry = PstreeEntry()
                pstree_entry__init(&entry)
                (entry.pid, entry.ppid, entry.pgid, entry.sid) = (one.pid, one.parent, one.group, one.session)
                (entry.n_threads, entry.threads) = (1, thread)
                return packed(&entry)
            }
        }
        return ImageFile("pstree.img", .processTree, entries)
    }

    /// ids-PID.img: namespaces are those of all; memory, descriptors, directories and handlers are its own.
    static func identities(
        of newcomers: [FollowUp.Compared], _ before: Predecessor
    ) throws(CriuImageError) -> [ImageFile] {
        let images = try ImageDirectory(before.path)
        var (known, last): (ImageFile?, (UInt32, UInt32, UInt32)) = (nil, (0, 0, 0))
        for process in before.processes {
            let image = try images.file("ids-\(process.pid).img", .taskObjects)
            try image.decodeOnly(task_kobj_ids_entry__unpack, task_kobj_ids_entry__free_unpacked) {
                let ids = $0.pointee
                last = (max(last.0, ids.vm_id), max(last.1, ids.fs_id), max(last.2, ids.sighand_id))
            }
            known = image
        }
        guard let known else { return [] }
        var made: [ImageFile] = []
        for one in newcomers {
            last = (last.0 + 1, last.1 + 1, last.2 + 1)
            var image = ImageFile("ids-\(one.pid).img", known.kind, known.entries)
            try image.edit(0, task_kobj_ids_entry__unpack, task_kobj_ids_entry__free_unpacked) { entry in
                (entry.pointee.vm_id, entry.pointee.files_id) = (last.0, one.process.table)
                (entry.pointee.fs_id, entry.pointee.sighand_id) = (last.1, last.2)
            }
            made.append(image)
        }
        return made
    }
}

/// Numbers of files.img for what was opened or mapped since.
struct FileNumbers {
    /// Those of files that nobody has any more.
    private var spare: [UInt32]
    private var next: UInt32
    /// The pipes' numbers, by the kernel's.
    private(set) var pipes: [UInt64: UInt32]
    private var nextPipe: UInt32
    /// Those of programs, mappings and directories of processes that are still there.
    let kept: Set<UInt32>

    /// `taken` are those of descriptors that have what they had.
    init(
        _ before: Predecessor, _ all: [FollowUp.Compared], taken: Set<UInt32>, pipes: [UInt64: UInt32]
    ) {
        var kept: Set<UInt32> = []
        for one in all {
            kept.formUnion([one.process.workingDirectory, one.process.root])
            if one.isNew { continue }
            kept.insert(one.process.program)
            for area in one.process.areas { kept.insert(UInt32(truncatingIfNeeded: area.file)) }
        }
        self.kept = kept
        spare =
            before.files.filter { id, file in
                file.type == FD_TYPES__REG && !file.hasOwner && !file.isNameOfFIFO && !taken.contains(id)
                    && !kept.contains(id)
            }.keys.sorted(by: >)
        next = (before.files.keys.max() ?? 0) + 1
        self.pipes = pipes
        // Sizes may be told of pipes that nobody has any more.
        let known = before.files.values.map(\.pipe) + before.pipeSizes.keys + before.fifoSizes.keys
        nextPipe = (known.max() ?? 0) + 1
    }

    mutating func take() -> UInt32 {
        if let known = spare.popLast() { return known }
        next += 1
        return next - 1
    }

    /// One of a file that nobody has any more, which is to be somebody's again as it is.
    mutating func claim(where isIt: (UInt32) -> Bool) -> UInt32? {
        spare.lastIndex(where: isIt).map { spare.remove(at: $0) }
    }

    /// The number of a pipe, which is a new one where none of it was there.
    mutating func pipe(_ inode: UInt64) -> UInt32 {
        if let known = pipes[inode] { return known }
        pipes[inode] = nextPipe
        nextPipe += 1
        return nextPipe - 1
    }
}

extension LiveProcess {
    /// Whether it can be the process of an image, by its program and where the kernel mapped the vDSO for it: that changes
    /// whenever a program is executed.
    func runs(_ name: String?, as process: Predecessor.Process) -> Bool {
        let vdso = process.areas.first { $0.status & AreaStatus.vdso != 0 }?.start
        return areSame(program, name) && vdso == auxiliary(Self.vdsoEntry)
    }

    /// AT_SYSINFO_EHDR of <linux/auxvec.h>.
    private static let vdsoEntry: UInt64 = 33

    private func auxiliary(_ kind: UInt64) -> UInt64? {
        let words = auxiliary
        return stride(from: 0, to: words.count - 1, by: 2).first { words[$0] == kind }.map { words[$0 + 1] }
    }

    /// Whether the file behind a mapping was opened for writing (proc_pid_map_files(5)).
    func mayWrite(through area: LiveArea) -> Bool {
        var found = Glibc.stat()
        let path = "/proc/\(host)/map_files/\(area.range)"
        return fstatat(AT_FDCWD, path, &found, AT_SYMLINK_NOFOLLOW) != 0 || found.st_mode & S_IWUSR != 0
    }

    /// The build-id of the program or library behind a mapping (NT_GNU_BUILD_ID of <elf.h>), in words as CRIU writes it; empty
    /// where it has none.
    func buildID(of area: LiveArea) -> [UInt32] {
        guard let file = try? Descriptor.open("/proc/\(host)/map_files/\(area.range)", O_RDONLY) else {
            return []
        }
        func read(_ offset: Int, _ count: Int) -> [UInt8] {
            [UInt8](unsafeUninitializedCapacity: count) { buffer, got in
                got = max(pread(file.raw, buffer.baseAddress, count, off_t(offset)), 0)
            }
        }
        func number<Number: FixedWidthInteger>(_ bytes: [UInt8], _ offset: Int, _: Number.Type) -> Int? {
            guard offset >= 0, offset + MemoryLayout<Number>.size <= bytes.count else { return nil }
            return bytes.withUnsafeBytes {
                Int(exactly: $0.loadUnaligned(fromByteOffset: offset, as: Number.self))
            }
        }
        let head = read(0, 4096)
        // ELFCLASS64
        guard head.starts(with: [0x7f, 0x45, 0x4c, 0x46, 2]), let table = number(head, 32, UInt64.self),
            let size = number(head, 54, UInt16.self), let count = number(head, 56, UInt16.self), size >= 56,
            table <= head.count
        else { return [] }
        for index in 0..<count {
            let at = table + index * size
            // PT_NOTE
            guard number(head, at, UInt32.self) == 4, let start = number(head, at + 8, UInt64.self),
                let length = number(head, at + 32, UInt64.self)
            else { continue }
            let notes = read(start, min(length, 4096))
            var position = 0
            while let name = number(notes, position, UInt32.self),
                let value = number(notes, position + 4, UInt32.self),
                let kind = number(notes, position + 8, UInt32.self)
            {
                let owner = position + 12, from = owner + (name + 3) / 4 * 4
                guard from + value <= notes.count else { break }
                if kind == 3, notes[owner..<(owner + name)].elementsEqual([0x47, 0x4e, 0x55, 0]),
                    value % 4 == 0
                {
                    return stride(from: from, to: from + value, by: 4).compactMap {
                        number(notes, $0, UInt32.self).map { UInt32($0) }
                    }
                }
                position = from + (value + 3) / 4 * 4
            }
        }
        return []
    }

    /// stat(2) of a path in its sandbox.
    func status(ofPath path: String) -> Glibc.stat? {
        var found = Glibc.stat()
        return fstatat(AT_FDCWD, "/proc/\(host)/root\(path)", &found, AT_SYMLINK_NOFOLLOW) == 0 ? found : nil
    }
}

extension LiveArea {
    /// As /proc/PID/map_files calls it.
    var range: String { "\(String(start, radix: 16))-\(String(end, radix: 16))" }
}
