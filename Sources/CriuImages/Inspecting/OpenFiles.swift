import CCriuImages
import Glibc
import Messages

/// The open files of a snapshot by their ids, as `files.img` describes them, and who holds them.
///
/// A descriptor of a process is an open file under a number; several may be the same open file.
struct OpenFiles {
    /// One entry of `files.img`; its `fd` is a placeholder.
    private(set) var files: [UInt32: InspectedFile] = [:]
    /// The descriptors of each file.
    private(set) var holders: [UInt32: [InspectedHolder]] = [:]
    /// The files of which the other end is another's.
    var ends = EndTable()
    /// What the entries refer to.
    let details: FileDetails

    /// Which descriptor of a process is which file.
    struct Held {
        let fd: Int
        let id: UInt32
        let closeOnExec: Bool
    }

    /// `processes` are those that have descriptors, with the number of their table of them.
    init(
        _ images: borrowing ImageDirectory, processes: [(process: ImageProcess, table: UInt32)]
    ) throws(CriuImageError) {
        details = try FileDetails(images)
        let file = try images.file("files.img", .files)
        try file.decodeEach(file_entry__unpack, file_entry__free_unpacked) {
            (index, message) throws(CriuImageError) in
            let entry = message.pointee
            guard files[entry.id] == nil else {
                throw CriuImageError(file.name, entry: index, "has the id \(entry.id) of an entry before it")
            }
            files[entry.id] = describe(entry)
        }
        ends.pairUp()
        for (process, table) in processes {
            for held in try Self.descriptors(table: table, images) {
                guard files[held.id] != nil else {
                    throw CriuImageError(
                        "fdinfo-\(table).img", "names the file \(held.id), which files.img does not have")
                }
                let holder = InspectedHolder(pid: Int(process.pid), fd: held.fd, command: process.command)
                holders[held.id, default: []].append(holder)
            }
        }
    }

    /// The descriptors of one table, by number.
    static func descriptors(
        table: UInt32, _ images: borrowing ImageDirectory
    ) throws(CriuImageError) -> [Held] {
        guard let file = try images.fileIfPresent("fdinfo-\(table).img", .descriptors) else { return [] }
        var held: [Held] = []
        try file.decodeEach(fdinfo_entry__unpack, fdinfo_entry__free_unpacked) { (_, entry) in
            let entry = entry.pointee
            held.append(
                Held(
                    fd: Int(entry.fd), id: entry.id,
                    closeOnExec: entry.flags & UInt32(FD_CLOEXEC) != 0))
        }
        return held.sorted { $0.fd < $1.fd }
    }

    /// A descriptor as it is told, with who holds the other end.
    func inspected(_ held: Held) -> InspectedFile {
        var file = files[held.id]!
        file.fd = held.fd
        file.closeOnExec = held.closeOnExec
        let others = ends.others(of: held.id).flatMap { holders[$0] ?? [] }.sorted {
            ($0.pid, $0.fd) < ($1.pid, $1.fd)
        }
        file.pipe?.otherEnd = others
        file.socket?.otherEnd = others
        file.terminal?.otherEnd = others
        return file
    }

    /// The path of a file that is a directory or program; nil for an unknown one.
    func path(_ id: UInt32) -> String? { files[id]?.path }

    private mutating func describe(_ entry: FileEntry) -> InspectedFile {
        var file = InspectedFile(
            fd: -1, kind: "unknown", description: Int(entry.id), flags: [], closeOnExec: false)
        describeNamed(entry, &file)
        describeSocket(entry, &file)
        describeEvents(entry, &file)
        return file
    }

    private mutating func describeNamed(_ entry: FileEntry, _ file: inout InspectedFile) {
        if let regular = entry.reg?.pointee {
            file.kind = Self.kind(ofMode: regular.has_mode != 0 ? regular.mode : nil)
            file.path = text(regular.name)
            file.deleted = details.deleted.contains(entry.id) ? true : nil
            file.opened(regular.flags)
            file.offset = regular.pos
            file.size = regular.has_size != 0 ? regular.size : nil
        } else if let pipe = entry.pipe?.pointee {
            file.kind = "pipe"
            file.opened(pipe.flags)
            ends.addPipe(entry.id, pipe: pipe.pipe_id, flags: pipe.flags)
            file.pipe = details.pipe(pipe.pipe_id, flags: pipe.flags, buffered: details.pipes[pipe.pipe_id])
        } else if let fifo = entry.fifo?.pointee {
            // How it was opened stands in the entry of its name, which has another id and may come later.
            file.kind = "fifo"
            file.path = details.names[fifo.regf_id]?.path
            let flags = details.names[fifo.regf_id]?.flags ?? 0
            file.opened(flags)
            ends.addPipe(entry.id, pipe: fifo.pipe_id, flags: flags)
            file.pipe = details.pipe(fifo.pipe_id, flags: flags, buffered: details.fifos[fifo.pipe_id])
        } else if let memory = entry.memfd?.pointee {
            file.kind = "memfd"
            file.opened(memory.flags)
            file.offset = memory.pos
            file.path = details.memoryFiles[UInt64(memory.inode_id)]?.name
            file.size = details.memoryFiles[UInt64(memory.inode_id)]?.size
        } else if let terminal = entry.tty?.pointee {
            file.kind = "tty"
            file.opened(terminal.flags)
            let name = terminal.has_regf_id != 0 ? details.names[terminal.regf_id]?.path : nil
            file.path = name
            if let known = details.terminals[terminal.tty_info_id] {
                file.terminal = known
                if let index = known.index {
                    ends.addTerminal(entry.id, index: index, isController: known.kind == "controller")
                }
            }
        } else if let namespace = entry.nsf?.pointee {
            file.kind = "namespace"
            file.opened(namespace.flags)
        } else if let tunnel = entry.tunf?.pointee {
            file.kind = "tun"
            file.path = text(tunnel.netdev)
        } else if let map = entry.bpf?.pointee {
            file.kind = "bpfmap"
            file.opened(map.flags)
            file.path = text(map.map_name)
        } else if let process = entry.pidfd?.pointee {
            file.kind = "pidfd"
            file.process = Int(process.nspid)
        } else if entry.ext != nil {
            file.kind = "external"
        }
    }

    private static func kind(ofMode mode: UInt32?) -> String {
        switch mode.map({ $0 & UInt32(S_IFMT) }) {
        case UInt32(S_IFDIR): "directory"
        case UInt32(S_IFCHR), UInt32(S_IFBLK): "device"
        default: "file"
        }
    }
}

extension InspectedFile {
    /// Notes what the flags of open(2) say.
    mutating func opened(_ open: UInt32) {
        access = Names.access(open)
        flags = Names.openFlags(open)
    }
}

/// Which open files are two ends of one thing.
struct EndTable {
    private var pipes: [UInt32: [(id: UInt32, reads: Bool, writes: Bool)]] = [:]
    private var terminals: [Int: [(id: UInt32, isController: Bool)]] = [:]
    /// Of Unix sockets, by the inode of the socket and of its peer.
    private var unixSockets: [(id: UInt32, inode: UInt32, peer: UInt32)] = []
    private var connections: [(id: UInt32, local: String, remote: String)] = []
    private var others: [UInt32: [UInt32]] = [:]

    mutating func addPipe(_ id: UInt32, pipe: UInt32, flags: UInt32) {
        let access = Int32(truncatingIfNeeded: flags) & O_ACCMODE
        pipes[pipe, default: []].append((id, access != O_WRONLY, access != O_RDONLY))
    }

    mutating func addTerminal(_ id: UInt32, index: Int, isController: Bool) {
        terminals[index, default: []].append((id, isController))
    }

    mutating func addUnixSocket(_ id: UInt32, inode: UInt32, peer: UInt32) {
        unixSockets.append((id, inode, peer))
    }

    /// `local` and `remote` name the protocol too, so that the same ports of two protocols stay apart.
    mutating func addConnection(_ id: UInt32, local: String, remote: String) {
        connections.append((id, local, remote))
    }

    /// Pairs up what was added; call it once, after the last one.
    mutating func pairUp() {
        for ends in pipes.values {
            for end in ends {
                others[end.id] = ends.filter {
                    $0.id != end.id && (end.reads && $0.writes || end.writes && $0.reads)
                }.map(\.id)
            }
        }
        for ends in terminals.values {
            for end in ends {
                others[end.id] = ends.filter { $0.isController != end.isController }.map(\.id)
            }
        }
        let sockets = Dictionary(unixSockets.map { ($0.inode, $0.id) }) { first, _ in first }
        for socket in unixSockets where socket.peer != 0 {
            if let peer = sockets[socket.peer] {
                others[socket.id, default: []].append(peer)
                let answers = unixSockets.contains { $0.id == peer && $0.peer == socket.inode }
                if !answers { others[peer, default: []].append(socket.id) }
            }
        }
        let byEnds = Dictionary(connections.map { ("\($0.local) \($0.remote)", $0.id) }) { first, _ in first }
        for connection in connections {
            if let other = byEnds["\(connection.remote) \(connection.local)"], other != connection.id {
                others[connection.id] = [other]
            }
        }
    }

    /// The files that are other ends of this one.
    func others(of id: UInt32) -> [UInt32] { others[id] ?? [] }
}
