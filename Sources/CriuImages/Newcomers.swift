import CCriuImages
import CTwin
import Glibc

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
