import CLinux
import Glibc
import LinuxSystem

/// The group of the v2 hierarchy below which the sandboxes' groups may lie.
///
/// A group with processes can have no children with controllers but for the hierarchy's root (cgroups(7)).
struct UnifiedPlace {
    /// The name of the group that the server has to itself in one that was delegated to it.
    static let ownGroup = "ckpt-server"

    let top: String
    /// Where the server is itself, in the end.
    let home: String
    let controllers: Set<String>
    let problem: String?

    init(mount: CgroupMount, own: String) {
        let here = mount.directory(of: own)
        if Self.isRoot(here) {
            self.init(top: here, home: here)
        } else if here.hasSuffix("/\(Self.ownGroup)") {
            // An earlier server of the same service has made it.
            self.init(top: String(here.dropLast(Self.ownGroup.utf8.count + 1)), home: here)
        } else if Self.isDelegated(here) || (!Self.isRoot(mount.path) && Self.isOnlyOurs(here)) {
            let leaf = "\(here)/\(Self.ownGroup)"
            _ = mkdir(leaf, 0o755)
            let moved = (try? Files.put("0", to: "\(leaf)/cgroup.procs")) != nil
            self.init(top: here, home: moved ? leaf : here)
        } else {
            self.init(top: mount.path, home: here)
        }
    }

    private init(top: String, home: String) {
        (self.top, self.home) = (top, home)
        controllers = Self.words(of: "\(top)/cgroup.controllers")
        problem = controllers.isEmpty ? "the cgroup v2 hierarchy at \(top) has no controllers" : nil
    }

    /// Lets the groups below `group` have a controller, where they have not.
    static func enable(_ controller: String, below group: String) throws(SystemError) {
        let file = "\(group)/cgroup.subtree_control"
        if words(of: file).contains(controller) { return }
        try Files.put("+\(controller)", to: file)
    }

    /// The root of the hierarchy has no type (Documentation/admin-guide/cgroup-v2.rst).
    private static func isRoot(_ group: String) -> Bool { !Files.exists("\(group)/cgroup.type") }

    /// What systemd says of a group that it leaves to its service (systemd.resource-control(5), Delegate=).
    private static func isDelegated(_ group: String) -> Bool {
        ["trusted.delegate", "user.delegate"].contains { name in
            var value = [UInt8](repeating: 0, count: 4)
            return getxattr(group, name, &value, 4) == 1 && value[0] == UInt8(ascii: "1")
        }
    }

    private static func isOnlyOurs(_ group: String) -> Bool {
        words(of: "\(group)/cgroup.procs") == ["\(getpid())"]
    }

    private static func words(of file: String) -> Set<String> {
        guard let bytes = try? Files.read(file) else { return [] }
        return Set(
            String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isWhitespace).map(String.init))
    }
}
