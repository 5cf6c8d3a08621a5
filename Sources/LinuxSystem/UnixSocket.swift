public import Glibc

/// Stream sockets with a path (unix(7)).
///
/// A path of more than 107 bytes does not fit the address: the socket is then reached through a descriptor
/// of its directory, as `/proc/self/fd/N/name`.
public enum UnixSocket {
    /// Listens on a new socket `name` in `directory` (whose path is `path`), mode 0600 from its birth; where a group
    /// is named it gets that and mode 0660.
    ///
    /// Throws EADDRINUSE when there is a file of that name.
    public static func listen(
        _ name: String, in directory: borrowing Descriptor, at path: String, group: gid_t? = nil,
        backlog: Int32 = 1024
    ) throws(SystemError) -> Descriptor {
        let socket = try create()
        // bind(2) makes the file with the mode of the socket's own inode, so no umask need change.
        try retrying("fchmod") { fchmod(socket.raw, 0o600) }
        var address = try address(name, in: directory, at: path)
        try withAddress(&address) { pointer, size throws(SystemError) in
            try retrying("bind", "\(path)/\(name)") { bind(socket.raw, pointer, size) }
        }
        if let group {
            let at = directory.raw
            try retrying("fchownat", name) { fchownat(at, name, uid_t.max, group, AT_SYMLINK_NOFOLLOW) }
            try retrying("fchmodat", name) { fchmodat(at, name, 0o660, 0) }
        }
        try retrying("listen") { Glibc.listen(socket.raw, backlog) }
        return socket
    }

    /// Connects to the socket `name` in `directory` (whose path is `path`).
    ///
    /// Throws ENOENT or ECONNREFUSED when nobody listens.
    public static func connect(
        _ name: String, in directory: borrowing Descriptor, at path: String
    ) throws(SystemError) -> Descriptor {
        let socket = try create()
        var address = try address(name, in: directory, at: path)
        try withAddress(&address) { pointer, size throws(SystemError) in
            try retrying("connect", "\(path)/\(name)") { Glibc.connect(socket.raw, pointer, size) }
        }
        return socket
    }

    /// The user at the other end of a connected socket, when it connected (SO_PEERCRED).
    public static func peerUser(of socket: Int32) throws(SystemError) -> uid_t { try peer(of: socket).uid }

    /// The groups of the process at the other end, when it connected: its own and the supplementary ones
    /// (SO_PEERCRED, SO_PEERGROUPS).
    public static func peerGroups(of socket: Int32) throws(SystemError) -> Set<gid_t> {
        let own = try peer(of: socket).gid
        let peerGroups: Int32 = 59  // SO_PEERGROUPS, asm-generic/socket.h
        var room = 64
        while true {
            var groups = [gid_t](repeating: 0, count: room)
            var size = socklen_t(room * MemoryLayout<gid_t>.size)
            if getsockopt(socket, SOL_SOCKET, peerGroups, &groups, &size) == 0 {
                return Set(groups.prefix(Int(size) / MemoryLayout<gid_t>.size)).union([own])
            }
            // The kernel has then said how much room it takes.
            guard errno == ERANGE else { throw .last("getsockopt(SO_PEERGROUPS)") }
            room = max(room * 2, Int(size) / MemoryLayout<gid_t>.size)
        }
    }

    /// The process that listened when this socket connected to it, 0 for one of a pid namespace unknown here
    /// (SO_PEERCRED).
    public static func peerProcess(of socket: Int32) throws(SystemError) -> pid_t { try peer(of: socket).pid }

    private static func peer(of socket: Int32) throws(SystemError) -> ucred {
        var peer = ucred()
        var size = socklen_t(MemoryLayout<ucred>.size)
        try retrying("getsockopt(SO_PEERCRED)") { getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) }
        return peer
    }

    private static func create() throws(SystemError) -> Descriptor {
        let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        return Descriptor(owning: try retrying("socket") { socket(AF_UNIX, type, 0) })
    }

    private static func address(
        _ name: String, in directory: borrowing Descriptor, at path: String
    ) throws(SystemError) -> sockaddr_un {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let room = MemoryLayout.size(ofValue: address.sun_path) - 1
        var bytes = Array("\(path)/\(name)".utf8)
        if bytes.count > room { bytes = Array("/proc/self/fd/\(directory.raw)/\(name)".utf8) }
        guard bytes.count <= room else { throw SystemError(call: "bind", code: ENAMETOOLONG, subject: name) }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        return address
    }

    private static func withAddress(
        _ address: inout sockaddr_un,
        _ body: (__CONST_SOCKADDR_ARG, socklen_t) throws(SystemError) -> Int32
    ) throws(SystemError) {
        var failure: SystemError?
        withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                do throws(SystemError) {
                    let union = __CONST_SOCKADDR_ARG(__sockaddr__: generic)
                    _ = try body(union, socklen_t(MemoryLayout<sockaddr_un>.size))
                } catch {
                    failure = error
                }
            }
        }
        if let failure { throw failure }
    }
}
