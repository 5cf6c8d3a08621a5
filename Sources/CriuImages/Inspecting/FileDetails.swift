import CCriuImages
import Glibc
import Messages

/// What image files beside `files.img` say about open files.
struct FileDetails {
    /// Paths and flags of the entries that are regular files: terminals and FIFOs refer to theirs.
    private(set) var names: [UInt32: (path: String, flags: UInt32)] = [:]
    /// The names of Unix sockets, by their inode.
    private(set) var unixNames: [UInt32: String] = [:]
    /// Files whose path was gone.
    private(set) var deleted: Set<UInt32> = []
    private(set) var memoryFiles: [UInt64: (name: String, size: UInt64)] = [:]
    private(set) var terminals: [UInt32: InspectedTerminal] = [:]
    /// Bytes in pipes and FIFOs, and what they can hold.
    private(set) var pipes: [UInt32: (bytes: Int64, capacity: Int64?)] = [:]
    private(set) var fifos: [UInt32: (bytes: Int64, capacity: Int64?)] = [:]
    /// Bytes of packets that wait in sockets, by the socket's id.
    private(set) var queued: [UInt32: Int64] = [:]
    /// Bytes under way on TCP connections, by the socket's inode.
    private(set) var streams: [UInt32: (received: Int64, unsent: Int64)] = [:]

    init(_ images: borrowing ImageDirectory) throws(CriuImageError) {
        try readNames(images)
        try readDeleted(images)
        try readMemoryFiles(images)
        try readTerminals(images)
        pipes = try Self.pipeData(images, "pipes-data.img", .pipeData)
        fifos = try Self.pipeData(images, "fifo-data.img", .fifoData)
        try readQueues(images)
    }

    private mutating func readNames(_ images: borrowing ImageDirectory) throws(CriuImageError) {
        let file = try images.file("files.img", .files)
        var connections: [UInt32] = []
        try file.decodeEach(file_entry__unpack, file_entry__free_unpacked) { (_, entry) in
            if let regular = entry.pointee.reg?.pointee, let path = text(regular.name) {
                names[entry.pointee.id] = (path, regular.flags)
            }
            if let socket = entry.pointee.usk?.pointee, let name = OpenFiles.unixName(socket) {
                unixNames[socket.ino] = name
            }
            if let socket = entry.pointee.isk?.pointee, socket.proto == UInt32(IPPROTO_TCP),
                socket.dst_port != 0
            {
                connections.append(socket.ino)
            }
        }
        for inode in connections {
            let name = "tcp-stream-\(String(inode, radix: 16)).img"
            guard let bytes = try images.readIfPresent(name) else { continue }
            let (head, _) = try ImageFile.head(name, .tcpStream, parsing: bytes)
            streams[inode] = try head.decodeOnly(tcp_stream_entry__unpack, tcp_stream_entry__free_unpacked) {
                (Int64($0.pointee.inq_len), Int64($0.pointee.outq_len))
            }
        }
    }

    private mutating func readDeleted(_ images: borrowing ImageDirectory) throws(CriuImageError) {
        guard let file = try images.fileIfPresent("remap-fpath.img", .remappedFiles) else { return }
        try file.decodeEach(remap_file_path_entry__unpack, remap_file_path_entry__free_unpacked) {
            (_, entry) in
            deleted.insert(entry.pointee.orig_id)
        }
    }

    private mutating func readMemoryFiles(_ images: borrowing ImageDirectory) throws(CriuImageError) {
        guard let file = try images.fileIfPresent("memfd.img", .memoryFiles) else { return }
        try file.decodeEach(memfd_inode_entry__unpack, memfd_inode_entry__free_unpacked) { (_, entry) in
            memoryFiles[entry.pointee.inode_id] = (text(entry.pointee.name) ?? "", entry.pointee.size)
        }
    }

    private mutating func readTerminals(_ images: borrowing ImageDirectory) throws(CriuImageError) {
        guard let file = try images.fileIfPresent("tty-info.img", .terminals) else { return }
        try file.decodeEach(tty_info_entry__unpack, tty_info_entry__free_unpacked) { (_, message) in
            let entry = message.pointee
            let size = entry.winsize?.pointee
            terminals[entry.id] = InspectedTerminal(
                kind: Self.kind(entry), index: entry.pty.map { Int($0.pointee.index) },
                session: entry.sid == 0 ? nil : Int(entry.sid),
                foregroundGroup: entry.pgrp == 0 ? nil : Int(entry.pgrp), rows: size.map { Int($0.ws_row) },
                columns: size.map { Int($0.ws_col) }, otherEnd: [])
        }
    }

    private static func kind(_ entry: TtyInfoEntry) -> String {
        switch entry.type {
        // Major 5, minor 2 is /dev/ptmx: the end of whoever opened the pair.
        case TTY_TYPE__PTY: entry.rdev == 5 << 8 | 2 ? "controller" : "pty"
        case TTY_TYPE__CONSOLE: "console"
        case TTY_TYPE__VT: "virtual"
        case TTY_TYPE__CTTY: "current"
        case TTY_TYPE__EXT_TTY: "external"
        case TTY_TYPE__SERIAL: "serial"
        default: "unknown"
        }
    }

    private static func pipeData(
        _ images: borrowing ImageDirectory, _ name: String, _ kind: ImageKind
    ) throws(CriuImageError) -> [UInt32: (bytes: Int64, capacity: Int64?)] {
        guard let bytes = try images.readIfPresent(name) else { return [:] }
        var found: [UInt32: (bytes: Int64, capacity: Int64?)] = [:]
        try ImageFile.walk(name, kind, bytes) { (file) throws(CriuImageError) in
            try file.decode(0, pipe_data_entry__unpack, pipe_data_entry__free_unpacked) { message in
                let entry = message.pointee
                found[entry.pipe_id] = (Int64(entry.bytes), entry.has_size != 0 ? Int64(entry.size) : nil)
                return Int(entry.bytes)
            }
        }
        return found
    }

    private mutating func readQueues(_ images: borrowing ImageDirectory) throws(CriuImageError) {
        guard let bytes = try images.readIfPresent("sk-queues.img") else { return }
        var queued: [UInt32: Int64] = [:]
        try ImageFile.walk("sk-queues.img", .socketQueues, bytes) { (file) throws(CriuImageError) in
            try file.decode(0, sk_packet_entry__unpack, sk_packet_entry__free_unpacked) { message in
                let entry = message.pointee
                queued[entry.id_for, default: 0] += Int64(entry.length)
                return Int(entry.length)
            }
        }
        self.queued = queued
    }

    /// An end of a pipe.
    func pipe(_ id: UInt32, flags: UInt32, buffered: (bytes: Int64, capacity: Int64?)?) -> InspectedPipe {
        let access = Names.access(flags)
        return InspectedPipe(
            id: Int(id), end: access == "read" || access == "write" ? access : "both",
            bufferedBytes: buffered?.bytes ?? 0, capacityBytes: buffered?.capacity, otherEnd: [])
    }
}
