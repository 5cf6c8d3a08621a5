import CFloor
import CLinux
import Client
import Glibc
import LinuxSystem
import Messages

/// A directory for one run with a server of its own in it; `clear` takes everything away.
final class Stage {
    /// How long the server may take to end, in milliseconds.
    private static let patience: Int32 = 600_000

    /// Where the floor's sandboxes are, and the server's root.
    let directory: String
    var store: String { "\(directory)/store" }
    private let client: Client
    let connection: TightConnection

    /// Makes a directory on the filesystem of `root`, and starts a server there.
    init(besides root: String) throws(ErrorMessage) {
        directory = try Self.makeDirectory(below: Self.nearest(root))
        client = Client(root: "\(directory)/store")
        do throws(ErrorMessage) {
            _ = try client.version()
            connection = try TightConnection(root: "\(directory)/store")
        } catch {
            try? client.shutdown()
            cfloor_remove_tree(directory)
            throw error
        }
    }

    /// Ends every sandbox and the server, and removes the directory. Throws when something of it stays.
    func clear() throws(ErrorMessage) {
        connection.isClearing = true
        for sandbox in try client.sandboxes().sandboxes { try client.remove(sandbox.name, force: true) }
        let server = clinux_pidfd_open(try client.version().pid)
        try client.shutdown()
        if server >= 0 {
            var entry = pollfd(fd: server, events: Int16(POLLIN), revents: 0)
            // It empties first what snapshots have left.
            if poll(&entry, 1, Self.patience) != 1 {
                _ = clinux_pidfd_send_signal(server, SIGKILL)
                poll(&entry, 1, -1)
            }
            close(server)
        }
        guard cfloor_remove_tree(directory) == 0 else {
            throw ErrorMessage(
                .internal, "\(directory) cannot be removed", cause: String(cString: strerror(errno)))
        }
    }

    /// The root itself, or the directory above it that is there.
    private static func nearest(_ root: String) -> String {
        var path = root
        while !Files.exists(path), let slash = path.lastIndex(of: "/"), path != "/" {
            path = slash == path.startIndex ? "/" : String(path[..<slash])
        }
        return path
    }

    private static func makeDirectory(below parent: String) throws(ErrorMessage) -> String {
        var template = Array("\(parent == "/" ? "" : parent)/.ckpt-bench-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else {
            throw ErrorMessage(
                .notPermitted, "no directory can be made in \(parent)",
                hint: "choose another place with --root", cause: String(cString: strerror(errno)))
        }
        return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
