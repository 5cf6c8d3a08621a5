/// An open descriptor of a process.
public struct InspectedFile: Codable, Hashable, Sendable {
    /// Its number.
    public var fd: Int
    /// What it is.
    public var kind: String
    /// The number of its open file description: descriptors that share offset and flags have the same.
    public var description: Int
    /// The path, or a name of its own.
    public var path: String?
    /// Whether that path was gone.
    public var deleted: Bool?
    /// What it was opened for.
    public var access: String?
    /// Further flags of open(2).
    public var flags: [String]
    /// Whether execve(2) closes it.
    public var closeOnExec: Bool
    /// Where it reads and writes next, in bytes.
    public var offset: UInt64?
    /// The file's size when it was saved, in bytes.
    public var size: UInt64?
    /// Of a pipe or FIFO.
    public var pipe: InspectedPipe?
    /// Of a socket.
    public var socket: InspectedSocket?
    /// Of an epoll, inotify or fanotify descriptor.
    public var watches: [InspectedWatch]?
    /// Of an eventfd.
    public var counter: UInt64?
    /// Of a signalfd.
    public var signals: [String]?
    /// Of a timerfd.
    public var timer: InspectedTimer?
    /// Of a terminal.
    public var terminal: InspectedTerminal?
    /// The pid of a pidfd; -1 where that process is gone.
    public var process: Int?

    public init(
        fd: Int, kind: String, description: Int, path: String? = nil, deleted: Bool? = nil,
        access: String? = nil, flags: [String], closeOnExec: Bool, offset: UInt64? = nil, size: UInt64? = nil,
        pipe: InspectedPipe? = nil, socket: InspectedSocket? = nil, watches: [InspectedWatch]? = nil,
        counter: UInt64? = nil, signals: [String]? = nil, timer: InspectedTimer? = nil,
        terminal: InspectedTerminal? = nil, process: Int? = nil
    ) {
        self.fd = fd
        self.kind = kind
        self.description = description
        self.path = path
        self.deleted = deleted
        self.access = access
        self.flags = flags
        self.closeOnExec = closeOnExec
        self.offset = offset
        self.size = size
        self.pipe = pipe
        self.socket = socket
        self.watches = watches
        self.counter = counter
        self.signals = signals
        self.timer = timer
        self.terminal = terminal
        self.process = process
    }
}

/// A descriptor of a process that holds the other end of something.
public struct InspectedHolder: Codable, Hashable, Sendable {
    /// The process.
    public var pid: Int
    /// Its descriptor.
    public var fd: Int
    /// Its command name.
    public var command: String

    public init(pid: Int, fd: Int, command: String) {
        self.pid = pid
        self.fd = fd
        self.command = command
    }
}

/// An end of a pipe or FIFO.
public struct InspectedPipe: Codable, Hashable, Sendable {
    /// The pipe's number; both ends have the same.
    public var id: Int
    /// Which end.
    public var end: String
    /// Bytes that were written and not yet read.
    public var bufferedBytes: Int64
    /// What it can hold, where that is known.
    public var capacityBytes: Int64?
    /// Who holds the other end; empty when nobody does.
    public var otherEnd: [InspectedHolder]

    public init(
        id: Int, end: String, bufferedBytes: Int64, capacityBytes: Int64? = nil, otherEnd: [InspectedHolder]
    ) {
        self.id = id
        self.end = end
        self.bufferedBytes = bufferedBytes
        self.capacityBytes = capacityBytes
        self.otherEnd = otherEnd
    }
}

/// A socket.
public struct InspectedSocket: Codable, Hashable, Sendable {
    /// Its type.
    public var type: String
    /// Its protocol.
    public var `protocol`: String?
    /// The state of its connection.
    public var state: String?
    /// Its own address: `ADDRESS:PORT`, a path, or `@NAME` for an abstract one.
    public var local: String?
    /// The other end's address.
    public var remote: String?
    /// How many connections may wait, of a listening one.
    public var backlog: Int?
    /// What shutdown(2) has closed.
    public var shutdown: String?
    /// Bytes that arrived and were not yet read, where CRIU stores them.
    public var receivedBytes: Int64?
    /// Bytes that were written and not yet acknowledged, of a TCP connection.
    public var unsentBytes: Int64?
    /// Who in the sandbox holds the other end.
    public var otherEnd: [InspectedHolder]

    public init(
        type: String, protocol: String? = nil, state: String? = nil, local: String? = nil,
        remote: String? = nil, backlog: Int? = nil, shutdown: String? = nil, receivedBytes: Int64? = nil,
        unsentBytes: Int64? = nil, otherEnd: [InspectedHolder]
    ) {
        self.type = type
        self.protocol = `protocol`
        self.state = state
        self.local = local
        self.remote = remote
        self.backlog = backlog
        self.shutdown = shutdown
        self.receivedBytes = receivedBytes
        self.unsentBytes = unsentBytes
        self.otherEnd = otherEnd
    }
}

/// Something that an epoll, inotify or fanotify descriptor waits for.
public struct InspectedWatch: Codable, Hashable, Sendable {
    /// The watched descriptor, of epoll.
    public var fd: Int?
    /// The watched path, where CRIU knows it.
    public var path: String?
    /// What for.
    public var events: [String]
    /// The data given to epoll_ctl(2), hexadecimal, with 0x.
    public var data: String?

    public init(fd: Int? = nil, path: String? = nil, events: [String], data: String? = nil) {
        self.fd = fd
        self.path = path
        self.events = events
        self.data = data
    }
}

/// A terminal.
public struct InspectedTerminal: Codable, Hashable, Sendable {
    /// Its kind; `controller` is the end that a terminal emulator holds.
    public var kind: String
    /// The N of /dev/pts/N.
    public var index: Int?
    /// The session it controls.
    public var session: Int?
    /// The process group in the foreground.
    public var foregroundGroup: Int?
    /// Its height in characters.
    public var rows: Int?
    /// Its width in characters.
    public var columns: Int?
    /// Who holds the other end of the pair.
    public var otherEnd: [InspectedHolder]

    public init(
        kind: String, index: Int? = nil, session: Int? = nil, foregroundGroup: Int? = nil, rows: Int? = nil,
        columns: Int? = nil, otherEnd: [InspectedHolder]
    ) {
        self.kind = kind
        self.index = index
        self.session = session
        self.foregroundGroup = foregroundGroup
        self.rows = rows
        self.columns = columns
        self.otherEnd = otherEnd
    }
}
