import CCriuImages
import CLinux
import CTwin
import Glibc
import LinuxSystem

/// A dump that ckpt makes by itself out of the one before it, where the mounts are still the same: it writes what changed
/// of registers, attributes, mappings and positions, and keeps the rest. Who came since is written down like one who was
/// there (`Newcomers`), who ended is left out.
///
/// Whatever it does not know how to write it refuses, and CRIU makes the dump. Its images are CRIU's, and a restore
/// knows no difference.
public final class FollowUp: @unchecked Sendable {
    // Sendable because one thread has it at a time.
    let before: Predecessor
    let notes: TaskNotes
    let instant: Instant
    let original: Int32?
    private let all: [Compared]
    /// What tells of their descriptors, in the same order.
    private let descriptors: [[Assigned]]
    private let liveMounts: LiveMounts
    /// Where each mount is, by the kernel's number.
    private(set) var mounts: [UInt64: String] = [:]
    /// The images that differ from the predecessor's, by name.
    private var changed: [String: [UInt8]] = [:]
    /// Which pages each process has, in its own memory while it stands still.
    private let pages: [PageMap]
    /// files.img as it is to be.
    var filesImage: ImageFile
    /// Where its entries are that the predecessor has not got, by their numbers.
    var added: [UInt32: Int] = [:]
    /// Its numbers that can be given away.
    var fileNumbers: FileNumbers
    /// What is mapped by whom it was not mapped before, by the bytes of its name.
    var mapped: [[UInt8]: (file: UInt32, inode: UInt64)] = [:]
    /// Each process with its parent, group and session, by their pids in the sandbox.
    private var tree: [(pid: UInt32, parent: UInt32, group: UInt32, session: UInt32)] = []

    public var processCount: Int { notes.count }

    /// When everything stood still.
    public struct Instant: Sendable {
        /// What the tree's CLOCK_MONOTONIC and CLOCK_BOOTTIME showed, in nanoseconds.
        let monotonic: Int64
        let boottime: Int64
        /// What files were dated by.
        let realtime = ClockTime.now

        public init(monotonic: Int64, boottime: Int64) {
            (self.monotonic, self.boottime) = (monotonic, boottime)
        }
    }

    /// A process as it was and as it is.
    struct Compared {
        let note: cnote
        let process: Predecessor.Process
        let live: LiveProcess
        /// Whether it came since, or has executed another program: `process` is made of one that it is like.
        var isNew = false
        var pid: Int32 { process.pid }

        func refusal(_ what: String) -> FollowUpRefusal { FollowUpRefusal(pid, what) }
    }

    /// Looks at the processes that `notes` tells of, all of which stand still.
    ///
    /// `looks` is what was seen of them already. `original` is the host's pid of the PID 1 that has gone on, where the
    /// processes are twins.
    public init(
        _ before: Predecessor, _ notes: TaskNotes, _ looks: FirstLooks, at instant: Instant,
        twinsOf original: Int32? = nil
    ) throws(FollowUpRefusal) {
        (self.before, self.notes, self.instant, self.original) = (before, notes, instant, original)
        filesImage = before.filesImage
        let known = Dictionary(before.processes.map { ($0.pid, $0) }, uniquingKeysWith: { first, _ in first })
        var newcomers = Newcomers(before)
        var all: [Compared] = []
        var pages: [PageMap] = []
        for index in 0..<notes.count {
            let note = notes[index]
            let live = try looks.process(note.pid, as: notes.instant(of: note))
            try live.lookAtAreas()
            let one: Compared
            if let process = known[note.inner], live.runs(before.files[process.program]?.name, as: process) {
                one = Compared(note: note, process: process, live: live)
            } else {
                one = try newcomers.compared(note, live, notes)
            }
            // CRIU counts them too.
            pages.append(try Self.pageMap(one, pagesID: UInt32(index) + 1))
            all.append(one)
        }
        (self.all, self.pages) = (all, pages)
        liveMounts = try LiveMounts(of: notes[0].pid)
        try Self.compareSharing(all)
        (descriptors, fileNumbers) = try Self.assign(all, before)
        try lookAtNewMappings(of: all)
    }

    /// The regular files that were opened for writing since, by their paths in the sandbox.
    public var openedForWriting: [String] {
        descriptors.joined().filter {
            $0.isFresh && $0.pipe == nil && $0.live.flags.map { $0 & UInt32(O_ACCMODE) } != UInt32(O_RDONLY)
        }
        .map(\.live.target)
    }

    /// Compares the mappings that were found with the predecessor's, and writes of them what `shareMemory` needs into the
    /// directory at `path`. Everything may have gone on.
    public func writeMaps(into path: String) throws(FollowUpRefusal) {
        try understanding { () throws(CriuImageError) in
            let images = try ImageDirectory(path)
            for one in all where !images.has("mm-\(one.pid).img") {
                do throws(FollowUpRefusal) {
                    let image = try map(one, try compareAreas(one))
                    try understanding { () throws(CriuImageError) in
                        try images.create(image.name, image.bytes)
                    }
                } catch { throw CriuImageError("mm-\(one.pid).img", error.description) }
            }
        }
    }

    /// Compares all else, and makes the images of it.
    private func compare() throws(FollowUpRefusal) {
        mounts = try liveMounts.points()
        guard mounts.count == before.mounts.count, mounts.values.allSatisfy({ before.mounts[$0] != nil })
        else {
            throw FollowUpRefusal("something else is mounted")
        }
        try compareTree()
        for (one, assigned) in zip(all, descriptors) {
            try compareFilters(one)
            try compareDescriptors(one, assigned)
            if let table = table(of: one, assigned) { changed[table.name] = table.bytes }
            changed["core-\(one.pid).img"] = try core(one).bytes
            changed["fs-\(one.pid).img"] = try places(one).bytes
        }
        leaveOutUnused()
        changed["files.img"] = filesImage.bytes
        changed[before.clocksName] = clocks.bytes
        guard all.count != before.processes.count || all.contains(where: \.isNew) else { return }
        changed["pstree.img"] = Newcomers.treeImage(tree).bytes
        let images = try understanding { () throws(CriuImageError) in
            try Newcomers.identities(of: all.filter(\.isNew), before)
        }
        for image in images { changed[image.name] = image.bytes }
    }

    /// Of pipes, FIFOs and sockets that nobody has open CRIU ends a restore (criu/files.c, file_master).
    private func leaveOutUnused() {
        let used = Set(descriptors.joined().filter { !$0.isFresh }.map(\.file))
        let unused = before.files.filter { $1.type != FD_TYPES__REG && !used.contains($0) }
        for index in unused.values.map(\.ownIndex).sorted(by: >) { filesImage.entries.remove(at: index) }
    }

    private func compareTree() throws(FollowUpRefusal) {
        var inner: [UInt64: UInt32] = [:]
        // Twins are children of the PID 1 that has gone on, and its copy is of its session.
        if let original { inner[UInt64(original)] = 1 }
        for one in all { inner[UInt64(one.note.pid)] = UInt32(one.note.inner) }
        func place(of one: Compared, _ field: Int) -> UInt32? { one.live.field(field).flatMap { inner[$0] } }
        tree = []
        for one in all {
            let parent = one.note.pid == all[0].note.pid ? 0 : place(of: one, 4)
            guard let parent, let group = place(of: one, 5), let session = place(of: one, 6) else {
                throw one.refusal("has a parent, group or session that is gone")
            }
            tree.append((UInt32(one.pid), parent, group, session))
            if one.isNew {
                try checkPlace(of: one)
            } else if (parent, group, session)
                != (one.process.parent, one.process.group, one.process.session)
            {
                throw one.refusal("has another parent, group or session")
            }
            guard one.live.field(7) == 0 else { throw one.refusal("has a terminal") }
            if one.live.hasTimers { throw one.refusal("has a timer of its own") }
            guard one.live.userNamespace == all[0].live.userNamespace else {
                throw one.refusal("has a user namespace of its own")
            }
        }
    }

    /// A session and a group are its own or its parent's: what else there can be is CRIU's affair.
    private func checkPlace(of one: Compared) throws(FollowUpRefusal) {
        let its = tree[tree.count - 1]
        if its.pid == 1, its.group == 1, its.session == 1 { return }
        guard let parent = tree.first(where: { $0.pid == its.parent }),
            its.session == its.pid || its.session == parent.session,
            its.group == its.pid || its.group == parent.group && its.session == parent.session
        else { throw one.refusal("has a session or group of another") }
    }

    private var clocks: ImageFile {
        func time(_ nanoseconds: Int64) -> Timespec {
            var time = Timespec()
            timespec__init(&time)
            time.tv_sec = UInt64(bitPattern: nanoseconds / 1_000_000_000)
            time.tv_nsec = UInt64(bitPattern: nanoseconds % 1_000_000_000)
            return time
        }
        var (monotonic, boottime) = (time(instant.monotonic), time(instant.boottime))
        let packed = withUnsafeMutablePointer(to: &monotonic) { monotonic in
            withUnsafeMutablePointer(to: &boottime) { boottime in
                var entry = TimensEntry()
                timens_entry__init(&entry)
                (entry.monotonic, entry.boottime) = (monotonic, boottime)
                return CriuImages.packed(&entry)
            }
        }
        return ImageFile(before.clocksName, .clocks, [packed])
    }

    // MARK: What is written

    /// Takes the memory of the processes, which stand still, with what the snapshot before has of it.
    ///
    /// The directory at `path` is empty, or to be thrown away when this throws.
    public func takeMemory(
        in path: String, sharing parent: ParentMemory, _ bounds: TakenMemory.Bounds = .usual
    ) throws(CriuImageError) -> TakenMemory {
        let images = try ImageDirectory(path)
        var (taken, left) = (TakenMemory(parent: parent), bounds.total)
        for (one, map) in zip(all, pages) {
            try images.take(map, of: one.pid, in: one.note.pid, bounds, &left, &taken) {
                () throws(CriuImageError) in
                // What is compared at once needs the images that tell of it.
                let areas: ImageFile
                do throws(FollowUpRefusal) { areas = try self.map(one, try compareAreas(one)) } catch {
                    throw CriuImageError("mm-\(one.pid).img", error.description)
                }
                try images.create(map.name, map.bytes)
                try images.create(areas.name, areas.bytes)
            }
        }
        return taken
    }

    /// Compares all else with the predecessor, and writes the images into the directory: what did not change as links to the
    /// predecessor's files, or copies of a template's. `hostname` is the tree's, nil for what it was; `frozen` is how long it stood still, and `memory`
    /// how long its memory took of that, in milliseconds. Everything may have gone on.
    ///
    /// Returns what the links lead to, by their names.
    public func write(
        into path: String, hostname: String?, domainname: String, frozen: Double, memory: Double,
        fromTemplate isTemplate: Bool = false
    ) throws(FollowUpRefusal) -> [String: String] {
        try compare()
        return try understanding { () throws(CriuImageError) in
            try writeAll(
                into: path, hostname: hostname, domainname: domainname, frozen: frozen, memory: memory,
                isTemplate)
        }
    }

    private func writeAll(
        into path: String, hostname: String?, domainname: String, frozen: Double, memory: Double,
        _ isTemplate: Bool
    ) throws(CriuImageError) -> [String: String] {
        let images = try ImageDirectory(path)
        let old = try ImageDirectory(before.path)
        if let name = before.hostnameName, let hostname {
            let names = LeftNames(hostname: hostname, domainname: domainname, settings: [:])
            changed[name] = ImageFile(name, .hostname, [ImageDirectory.packedHostname(names)]).bytes
        }
        var links: [String: String] = [:]
        let stayed = Set(all.filter { !$0.isNew }.flatMap(\.process.imageNames))
        let gone = Set(before.processes.flatMap(\.imageNames)).subtracting(stayed)
        for name in changed.keys where gone.contains(name) || !before.names.contains(name) {
            try images.create(name, changed[name]!)
        }
        for name in before.names where Predecessor.isKept(name) && !gone.contains(name) {
            if name.hasPrefix("mm-") { continue }
            if let bytes = changed[name], try old.readIfPresent(name) != bytes {
                try images.create(name, bytes)
            } else if isTemplate {
                try images.create(name, try old.read(name))
            } else {
                try images.link(name, of: old, to: name)
                links[name] = name
            }
        }
        try images.create("stats-dump", statistics(frozen: frozen, memory: memory).bytes)
        return links
    }

    private func statistics(frozen: Double, memory: Double) -> ImageFile {
        var dump = DumpStatsEntry()
        dump_stats_entry__init(&dump)
        (dump.frozen_time, dump.memdump_time) = (UInt32(frozen * 1000), UInt32(memory * 1000))
        dump.pages_scanned = UInt64(pages.reduce(0) { $0 + $1.pageCount })
        let packed = withUnsafeMutablePointer(to: &dump) { dump in
            var entry = StatsEntry()
            stats_entry__init(&entry)
            entry.dump = dump
            return CriuImages.packed(&entry)
        }
        return ImageFile("stats-dump", .statistics, [packed])
    }
}

extension ImageDirectory {
    fileprivate func has(_ name: String) -> Bool {
        faccessat(directory.raw, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0
    }

    /// Makes a file in a directory that nobody reads yet.
    fileprivate func create(_ name: String, _ bytes: [UInt8]) throws(CriuImageError) {
        do throws(SystemError) {
            let output = try Descriptor.open(
                name, below: directory, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode: 0o600)
            try output.writeAll(bytes)
        } catch { throw CriuImageError(name, "cannot be written", cause: error) }
    }
}
