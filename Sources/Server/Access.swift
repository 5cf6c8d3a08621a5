import Glibc
import LinuxSystem
public import Messages

/// Who may use a server: its own user, root, and the members of one group where one is named.
///
/// Whoever may, may do anything that the server can.
public struct Access: Sendable {
    /// The server's own user and root.
    public static let owner = Access(group: nil)
    /// The group whose members may too.
    let group: gid_t?

    private init(group: gid_t?) { self.group = group }

    /// Its own user, root, and the members of a group, by name or number. Throws `badValue` for one that is not there.
    public init(group name: String) throws(ErrorMessage) {
        if let number = gid_t(name) {
            self.init(group: number)
        } else if let entry = getgrnam(name) {
            self.init(group: entry.pointee.gr_gid)
        } else {
            throw ErrorMessage(
                .badValue, "there is no group \(name) on this machine", hint: "groupadd \(name) makes one")
        }
    }

    /// Why the process at the other end of a socket may not use the server; nil when it may.
    ///
    /// The socket's mode says the same; this holds where rights were loosened by hand.
    func objection(to socket: Int32) -> ErrorMessage? {
        do throws(SystemError) {
            let user = try UnixSocket.peerUser(of: socket)
            if user == geteuid() || user == 0 { return nil }
            if let group, try UnixSocket.peerGroups(of: socket).contains(group) { return nil }
            return ErrorMessage(
                .notPermitted, "user \(user) may not use this server, which is user \(geteuid())'s",
                hint: group.map { "members of group \($0) may" } ?? "ckpt serve --group NAME admits a group")
        } catch {
            return ErrorMessage(.notPermitted, "nobody knows who you are", cause: "\(error)")
        }
    }

    /// Gives a socket's file the rights that say so too.
    func apply(to name: String, in directory: borrowing Descriptor) throws(SystemError) {
        let at = directory.raw
        if let group {
            try retrying("fchownat", name) { fchownat(at, name, uid_t.max, group, AT_SYMLINK_NOFOLLOW) }
        }
        try retrying("fchmodat", name) { fchmodat(at, name, group == nil ? 0o600 : 0o660, 0) }
    }

    /// Opens the root, made where it is missing, and closes it to others: mode 0700, or 0710 with the group, whose
    /// members must reach the socket.
    ///
    /// A directory that holds other things than a store keeps its mode: what ckpt makes in it is closed itself. One
    /// that everybody may write to is refused, for whoever can rename what lies in it can put something else there.
    func open(root: String) throws(ErrorMessage) -> Descriptor {
        let isNew = mkdir(root, 0o700) == 0
        if !isNew, errno != EEXIST {
            throw ErrorMessage(
                .internal, "cannot make the root", hint: "choose another root with --root or CKPT_ROOT",
                cause: "\(SystemError.last("mkdir", root))")
        }
        do throws(SystemError) {
            let directory = try Descriptor.open(root, O_RDONLY | O_DIRECTORY)
            let names = try Files.names(in: root)
            if isNew || Self.isStore(names) {
                if let group { try retrying("fchown", root) { fchown(directory.raw, uid_t.max, group) } }
                try retrying("fchmod", root) { fchmod(directory.raw, group == nil ? 0o700 : 0o710) }
                return directory
            }
            let mode = try FileStatus(root).permissions
            if mode & 0o002 == 0 { return directory }
        } catch {
            throw ErrorMessage(
                .internal, "cannot open the root", hint: "choose another root with --root or CKPT_ROOT",
                cause: "\(error)")
        }
        throw ErrorMessage(
            .notPermitted, "\(root) cannot be the root of a store: everybody may write to it",
            hint: "choose a directory of its own with --root or CKPT_ROOT")
    }

    /// Whether a directory is a store's, or empty but for what a client leaves that starts a server.
    private static func isStore(_ names: [String]) -> Bool {
        names.contains("format") && names.contains("snapshots") || names.contains("pool.img")
            || names.allSatisfy { $0.hasPrefix("server.") }
    }
}
