import CCriuImages
import CLinux
import Glibc
import LinuxSystem

/// The process images of the snapshot that a sandbox stands on, taken apart to be compared with what runs now.
///
/// A dump that follows it (`FollowUp`) keeps what did not change of them.
public final class Predecessor: @unchecked Sendable {
    // Sendable because nothing in it changes.
    /// One process.
    struct Process {
        let pid: Int32
        let parent: UInt32
        let group: UInt32
        let session: UInt32
        let core: ImageFile
        let map: ImageFile
        let directories: ImageFile
        let areas: [Area]
        /// The id of its program's entry in files.img.
        let program: UInt32
        let descriptors: [OpenDescriptor]
        /// The number of its table of descriptors.
        let table: UInt32
        let workingDirectory: UInt32
        let root: UInt32
        /// What its images are called.
        var imageNames: [String] {
            ["core", "mm", "fs", "ids"].map { "\($0)-\(pid).img" } + ["fdinfo-\(table).img"]
        }
    }

    /// A mapping, as it is compared and written.
    struct Area {
        let start: UInt64
        let end: UInt64
        let offset: UInt64
        let file: UInt64
        let protection: UInt32
        let flags: UInt32
        let status: UInt32
        let advice: UInt64
        let descriptorFlags: UInt32?
    }

    struct OpenDescriptor: Equatable {
        let number: Int32
        /// FD_CLOEXEC.
        let flags: UInt32
        let file: UInt32
        let type: FdTypes
    }

    /// An open file: an entry of files.img.
    struct OpenFile {
        /// Of the entry that has its name, flags and so on; of a FIFO that is not its own.
        var index: Int
        let ownIndex: Int
        let type: FdTypes
        var name = ""
        var flags: UInt32 = 0
        var position: UInt64 = 0
        var mount: Int32 = -1
        var size: UInt64?
        var mode: UInt32?
        var hasBuildID = false
        /// Of a pipe and of a FIFO.
        var pipe: UInt32 = 0
        /// Of a socket of the Unix domain: it listens, and has this address.
        var listens = false
        var address: [UInt8] = []
        /// Somebody is to be sent signals by it (fcntl(2), F_SETOWN).
        var hasOwner = false
        /// Whether it is the name of a FIFO, whose entry refers to it.
        var isNameOfFIFO = false
        /// How many descriptors, mappings and directories refer to it.
        var uses = 0
    }

    public let path: String
    let processes: [Process]
    let files: [UInt32: OpenFile]
    let filesImage: ImageFile
    /// The mounts' numbers by where they are.
    let mounts: [String: Int32]
    /// Each filter of seccomp.img with the index of the one installed before it.
    let filters: [(flags: UInt32, code: [UInt8], before: Int?)]
    /// What fits into each pipe, and each FIFO; all of them were empty.
    let pipeSizes: [UInt32: UInt32]
    let fifoSizes: [UInt32: UInt32]
    let names: [String]
    /// When files.img was written, by CLOCK_REALTIME: CRIU reads again what programs changed since.
    public let written: ClockTime
    let clocksName: String
    let hostnameName: String?

    public var pids: [Int32] { processes.map(\.pid) }

    /// Reads the image directory at `path`. Throws a refusal where there is in it what only CRIU can write again.
    public init(in path: String) throws(FollowUpRefusal) {
        self.path = path
        do throws(CriuImageError) {
            let images = try ImageDirectory(path)
            let names = (try? Files.names(in: path)) ?? []
            if let strange = names.first(where: { !Self.isKnown($0) }) {
                throw CriuImageError(strange, "is of a kind that only CRIU can write again")
            }
            var known = try images.openFiles()
            let processes = try images.comparedProcesses()
            guard processes.allSatisfy({ $0.areas.allSatisfy { $0.status & AreaStatus.guardPages == 0 } })
            else {
                throw CriuImageError("mm", "has guard pages")
            }
            guard Set(processes.map(\.table)).count == processes.count else {
                throw CriuImageError("ids", "tell of a table of descriptors that processes share")
            }
            for process in processes {
                for id in [process.program, process.workingDirectory, process.root] {
                    known.files[id]?.uses += 1
                }
                for descriptor in process.descriptors { known.files[descriptor.file]?.uses += 1 }
                for area in Set(process.areas.map(\.file)) where area != 0 {
                    known.files[UInt32(truncatingIfNeeded: area)]?.uses += 1
                }
            }
            for process in processes {
                for descriptor in process.descriptors
                where !known.files[descriptor.file].isPlain(of: process.pid) {
                    throw CriuImageError(
                        "files.img",
                        "has what only CRIU can save again: fd \(descriptor.number) of \(process.pid)")
                }
            }
            (files, filesImage) = (known.files, known.image)
            self.processes = processes
            (filters, mounts) = (try images.seccompFilters(), try images.mountNumbers(names))
            pipeSizes = try images.pipeSizes("pipes-data.img", .pipeData)
            fifoSizes = try images.pipeSizes("fifo-data.img", .fifoData)
            self.names = names
            guard let clocks = names.first(where: { $0.hasPrefix("timens-") }) else {
                throw CriuImageError("timens", "is missing")
            }
            clocksName = clocks
            var status = stat()
            guard stat("\(path)/files.img", &status) == 0 else {
                throw CriuImageError("files.img", "is missing", cause: .last("stat", "files.img"))
            }
            written = ClockTime(status.st_mtim)
            hostnameName = names.first { $0.hasPrefix("utsns-") }
        } catch { throw FollowUpRefusal(error.description) }
    }

    /// Copies the image directory at `path`, without memory, to a directory that is made for it, and reads that.
    public convenience init(copying path: String, to copy: String) throws(FollowUpRefusal) {
        do throws(SystemError) {
            try Files.makeDirectory(copy)
            for name in try Files.names(in: path) where Self.isKept(name) {
                try Files.write("\(copy)/\(name)", try Files.read("\(path)/\(name)"))
            }
        } catch {
            Files.removeFlatDirectory(copy)
            throw FollowUpRefusal(error.description)
        }
        do throws(FollowUpRefusal) { try self.init(in: copy) } catch {
            Files.removeFlatDirectory(copy)
            throw error
        }
    }

    /// What the images of a plain tree are in; in anything else there is more than is compared.
    private static func isKnown(_ name: String) -> Bool {
        let known = [
            "cgroup.img", "core-", "fdinfo-", "fifo-data.img", "files.img", "fs-", "ids-", "inventory.img",
            "ipcns-var-",
            "mm-",
            "mountpoints-", "pagemap-", "pages-", "pipes-data.img", "pstree.img", "seccomp.img", "timens-",
            "userns-",
            "utsns-", "attributes.json", "dump.log", "stats-dump", "parent",
        ]
        return known.contains { name.hasPrefix($0) } && !name.hasPrefix("pagemap-shmem-")
    }

    /// Whether a dump that follows has the file too, under the same name.
    static func isKept(_ name: String) -> Bool {
        let others = ["pagemap-", "pages-", "attributes.json", "dump.log", "stats-dump", "parent"]
        return !others.contains { name.hasPrefix($0) }
    }

    /// The build-id of a regular file, in words as CRIU writes it; empty where it has none.
    func buildID(of file: OpenFile) -> [UInt32] {
        let words = try? filesImage.decode(file.index, file_entry__unpack, file_entry__free_unpacked) {
            entry in
            entry.pointee.reg.map { numbers($0.pointee.build_id, $0.pointee.n_build_id) } ?? []
        }
        return words ?? []
    }

    /// The filters of a process, oldest first, from the number of its last one.
    func filters(upTo last: Int?) -> [(flags: UInt32, code: [UInt8])] {
        var (chain, next): ([(flags: UInt32, code: [UInt8])], Int?) = ([], last)
        while let index = next, filters.indices.contains(index), chain.count <= filters.count {
            chain.append((filters[index].flags, filters[index].code))
            next = filters[index].before
        }
        return chain.reversed()
    }
}

extension ImageDirectory {
    fileprivate func comparedProcesses() throws(CriuImageError) -> [Predecessor.Process] {
        let tree = try file("pstree.img", .processTree)
        var all: [Predecessor.Process] = []
        for index in tree.entries.indices {
            let (pid, parent, group, session, threads) = try tree.decode(
                index, pstree_entry__unpack, pstree_entry__free_unpacked
            ) { entry in
                let entry = entry.pointee
                return (entry.pid, entry.ppid, entry.pgid, entry.sid, entry.n_threads)
            }
            guard threads == 1 else {
                throw CriuImageError(tree.name, entry: index, "is of a process with \(threads) threads")
            }
            all.append(
                try comparedProcess(
                    Int32(truncatingIfNeeded: pid), parent: parent, group: group, session: session))
        }
        return all
    }

    private func comparedProcess(
        _ pid: Int32, parent: UInt32, group: UInt32, session: UInt32
    ) throws(CriuImageError) -> Predecessor.Process {
        let core = try file("core-\(pid).img", .core)
        let map = try file("mm-\(pid).img", .memoryMap)
        let directories = try file("fs-\(pid).img", .taskDirectories)
        let filesID = try file("ids-\(pid).img", .taskObjects).decodeOnly(
            task_kobj_ids_entry__unpack, task_kobj_ids_entry__free_unpacked
        ) { $0.pointee.files_id }
        let descriptors = try file("fdinfo-\(filesID).img", .descriptors)
        var open: [Predecessor.OpenDescriptor] = []
        try descriptors.decodeEach(fdinfo_entry__unpack, fdinfo_entry__free_unpacked) { _, entry in
            open.append(
                Predecessor.OpenDescriptor(
                    number: Int32(truncatingIfNeeded: entry.pointee.fd), flags: entry.pointee.flags,
                    file: entry.pointee.id, type: entry.pointee.type))
        }
        let (areas, program) = try map.decodeOnly(mm_entry__unpack, mm_entry__free_unpacked) { entry in
            let areas = messages(entry.pointee.vmas, entry.pointee.n_vmas).map { area in
                let area = area.pointee
                return Predecessor.Area(
                    start: area.start, end: area.end, offset: area.pgoff, file: area.shmid,
                    protection: area.prot, flags: area.flags, status: area.status,
                    advice: area.has_madv == 0 ? 0 : area.madv,
                    descriptorFlags: area.has_fdflags == 0 ? nil : area.fdflags)
            }
            return (areas, entry.pointee.exe_file_id)
        }
        let (working, root) = try directories.decodeOnly(fs_entry__unpack, fs_entry__free_unpacked) {
            ($0.pointee.cwd_id, $0.pointee.root_id)
        }
        return Predecessor.Process(
            pid: pid, parent: parent, group: group, session: session, core: core, map: map,
            directories: directories, areas: areas, program: program,
            descriptors: open.sorted { $0.number < $1.number }, table: filesID, workingDirectory: working,
            root: root)
    }

    fileprivate func openFiles() throws(CriuImageError) -> (
        files: [UInt32: Predecessor.OpenFile], image: ImageFile
    ) {
        let image = try file("files.img", .files)
        var files: [UInt32: Predecessor.OpenFile] = [:]
        var names: [UInt32: UInt32] = [:]
        try image.decodeEach(file_entry__unpack, file_entry__free_unpacked) { index, entry in
            var file = Predecessor.OpenFile(index: index, ownIndex: index, type: entry.pointee.type)
            var owner: UnsafeMutablePointer<FownEntry>?
            if let regular = entry.pointee.reg?.pointee {
                file.name = text(regular.name) ?? ""
                (file.flags, file.position, file.mount) = (regular.flags, regular.pos, regular.mnt_id)
                file.size = regular.has_size == 0 ? nil : regular.size
                file.mode = regular.has_mode == 0 ? nil : regular.mode
                (file.hasBuildID, owner) = (regular.n_build_id > 0, regular.fown)
            } else if let pipe = entry.pointee.pipe?.pointee {
                (file.pipe, file.flags, owner) = (pipe.pipe_id, pipe.flags, pipe.fown)
            } else if let fifo = entry.pointee.fifo?.pointee {
                file.pipe = fifo.pipe_id
                names[entry.pointee.id] = fifo.regf_id
            } else if let socket = entry.pointee.usk?.pointee {
                // TCP_LISTEN, which sockets of the Unix domain use too (<net/tcp_states.h>).
                file.listens = socket.state == 10 && socket.peer == 0
                (file.flags, file.address, owner) = (socket.flags, socket.name.bytes, socket.fown)
            }
            file.hasOwner = owner.map { $0.pointee.pid != 0 || $0.pointee.signum != 0 } ?? false
            files[entry.pointee.id] = file
        }
        for (id, name) in names {
            guard let named = files[name] else {
                throw CriuImageError(image.name, "has no name of FIFO \(id)")
            }
            files[id]!.take(named)
            files[name]!.isNameOfFIFO = true
        }
        return (files, image)
    }

    fileprivate func seccompFilters() throws(CriuImageError) -> [(flags: UInt32, code: [UInt8], before: Int?)]
    {
        guard let file = try fileIfPresent("seccomp.img", .seccomp) else { return [] }
        return try file.decodeOnly(seccomp_entry__unpack, seccomp_entry__free_unpacked) { entry in
            messages(entry.pointee.seccomp_filters, entry.pointee.n_seccomp_filters).map { filter in
                let filter = filter.pointee
                return (
                    filter.has_flags == 0 ? 0 : filter.flags, filter.filter.bytes,
                    filter.has_prev == 0 ? nil : Int(filter.prev)
                )
            }
        }
    }

    fileprivate func mountNumbers(_ names: [String]) throws(CriuImageError) -> [String: Int32] {
        let images = names.filter { $0.hasPrefix("mountpoints-") }
        guard images.count == 1 else {
            throw CriuImageError("mountpoints", "are \(images.count) files where 1 belongs")
        }
        let file = try file(images[0], .mounts)
        var numbers: [String: Int32] = [:]
        try file.decodeEach(mnt_entry__unpack, mnt_entry__free_unpacked) {
            index, entry throws(CriuImageError) in
            let point = text(entry.pointee.mountpoint) ?? ""
            guard numbers.updateValue(Int32(truncatingIfNeeded: entry.pointee.mnt_id), forKey: point) == nil
            else {
                throw CriuImageError(file.name, entry: index, "is mounted over another")
            }
        }
        return numbers
    }

    fileprivate func pipeSizes(
        _ name: String, _ kind: ImageKind
    ) throws(CriuImageError) -> [UInt32: UInt32] {
        guard let bytes = try readIfPresent(name) else { return [:] }
        var sizes: [UInt32: UInt32] = [:]
        try ImageFile.walk(name, kind, bytes) { file throws(CriuImageError) in
            try file.decodeOnly(pipe_data_entry__unpack, pipe_data_entry__free_unpacked) {
                entry throws(CriuImageError) in
                guard entry.pointee.bytes == 0 else {
                    throw CriuImageError(file.name, "has something in a pipe")
                }
                if entry.pointee.has_size != 0 { sizes[entry.pointee.pipe_id] = entry.pointee.size }
                return 0
            }
        }
        return sizes
    }
}

extension Predecessor.OpenFile {
    /// What an entry of a FIFO has from the one of its name.
    fileprivate mutating func take(_ named: Self) {
        (index, name, flags, position) = (named.index, named.name, named.flags, named.position)
        (mount, mode, hasOwner) = (named.mount, named.mode, named.hasOwner)
    }
}

extension Predecessor.OpenFile? {
    /// Whether a descriptor of a process to it is of a kind that is compared.
    fileprivate func isPlain(of process: Int32) -> Bool {
        guard let file = self, !file.hasOwner else { return false }
        switch file.type {
        case FD_TYPES__REG, FD_TYPES__FIFO: return file.mode != nil
        case FD_TYPES__PIPE: return true
        case FD_TYPES__UNIXSK: return process == 1 && file.listens
        default: return false
        }
    }
}
