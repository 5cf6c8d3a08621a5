import Glibc
import LinuxSystem

/// One incarnation of a sandbox's root: an empty writable layer over lower directories.
///
/// Each start, restore and reset gets a fresh one, so that nothing of the old is ever half overwritten.
public struct RootFilesystem: Sendable {
    /// What the sandbox has changed since this incarnation began, one directory a part.
    public let upper: String
    /// overlayfs's scratch directories, on the upper's filesystem.
    public let work: String
    /// Where the server mounts the root itself while it is handed to a sandbox.
    public let mountPoint: String
    private let view: BaseView

    /// Names the directories of incarnation `number`; nothing is made yet.
    public init(sandboxDirectory: String, workspace: String, sandbox: String, number: Int, view: BaseView) {
        upper = "\(sandboxDirectory)/upper-\(number)"
        work = "\(sandboxDirectory)/work-\(number)"
        mountPoint = "\(workspace)/root-\(sandbox)-\(number)"
        self.view = view
    }

    /// The parts beside the root: their mount points in the server's namespace and their paths below the root.
    ///
    /// They are not mounted below `mountPoint`: a mount with locked children cannot be bound in a user namespace
    /// (fs/namespace.c, has_locked_children).
    public var submounts: [(source: String, path: String)] {
        view.parts.dropFirst().map { ("\(mountPoint)-\($0.key)", $0.path) } + [(view.sysfs, "sys")]
    }

    /// Where a file of the sandbox lies below `upper` once it has been changed.
    public func pathInUpper(of path: String) -> String {
        let parts = path.split(separator: "/")
        let deepest = view.parts.map { (part: $0, names: $0.path.split(separator: "/")) }
            .filter { parts.starts(with: $0.names) }.max { $0.names.count < $1.names.count }!
        return ([deepest.part.key[...]] + parts.dropFirst(deepest.names.count)).joined(separator: "/")
    }

    /// The path of each part below the root, the root itself first.
    var paths: [String] { view.parts.map(\.path) }

    /// A sysfs to bind on /sys.
    var sysfs: String { view.sysfs }

    /// Makes the directories and mounts every part over the layers given, topmost first, and the base.
    ///
    /// `use` gets one mount after the other, attached nowhere, in the order of `paths`.
    func open(
        over layers: [String], use: (consuming Descriptor, RootPart) throws(SystemError) -> Void
    ) throws(RuntimeError) {
        for part in view.parts {
            try system { () throws(SystemError) in
                let mount = try Self.mount(
                    part, over: layers, upper: "\(upper)/\(part.key)", work: "\(work)/\(part.key)")
                try use(mount, part)
            }
        }
    }

    /// Mounts every part at `mountPoint` and beside it, for a restore.
    public func mount(over layers: [String]) throws(RuntimeError) {
        try open(over: layers) { (mount, part) throws(SystemError) in
            let target = part.path.isEmpty ? mountPoint : "\(mountPoint)-\(part.key)"
            try Files.makeDirectory(target)
            try Mount.attach(mount, at: target)
        }
    }

    /// Takes the mounts out of the server's namespace; the sandbox keeps its own.
    public func release() {
        for part in view.parts {
            let target = part.path.isEmpty ? mountPoint : "\(mountPoint)-\(part.key)"
            try? Mount.detach(target)
            rmdir(target)
        }
    }

    private static func mount(
        _ part: RootPart, over layers: [String], upper: String, work: String
    ) throws(SystemError) -> Descriptor {
        for directory in [upper, work] { try Files.makeDirectory(directory, mode: 0o755) }
        let changed = layers.map { "\($0)/\(part.key)" }
        // The merged directory shows the upper's own attributes: keep those of the layer below.
        if let top = changed.first ?? part.lowers.first { try copyAttributes(from: top, to: upper) }
        // An empty layer changes nothing but costs a place of the 500.
        var lowers: [String] = []
        for layer in changed where try !Files.isEmpty(layer) { lowers.append(layer) }
        lowers += part.lowers
        return try Mount.overlay(lowers: lowers, upper: (upper, work), inodes: part.path.isEmpty)
    }

    private static func copyAttributes(from source: String, to target: String) throws(SystemError) {
        var status = stat()
        try retrying("stat", source) { stat(source, &status) }
        try retrying("chown", target) { chown(target, status.st_uid, status.st_gid) }
        try retrying("chmod", target) { chmod(target, status.st_mode & 0o7777) }
        let times = [status.st_atim, status.st_mtim]
        try retrying("utimensat", target) { utimensat(AT_FDCWD, target, times, 0) }
    }
}
