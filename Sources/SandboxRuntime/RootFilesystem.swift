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
    let view: BaseView

    /// Names the directories of incarnation `number`; nothing is made yet.
    public init(sandboxDirectory: String, workspace: String, sandbox: String, number: Int, view: BaseView) {
        upper = "\(sandboxDirectory)/upper-\(number)"
        work = "\(sandboxDirectory)/work-\(number)"
        mountPoint = "\(workspace)/root-\(sandbox)-\(number)"
        self.view = view
    }

    /// What is mounted beside the root itself: the name CRIU is told, where it lies in the server's namespace while it
    /// is handed to a sandbox, and its path below the root.
    ///
    /// Nothing is mounted below `mountPoint`: a mount with locked children cannot be bound in a user namespace
    /// (fs/namespace.c, has_locked_children).
    public var submounts: [(key: String, source: String, path: String)] {
        view.mounts.dropFirst().map { ($0.key, place(of: $0), $0.path) } + [("sys", view.sysfs, "sys")]
            + view.masks.map { ($0.key, $0.source, $0.path) }
    }

    /// The overlays it is made of: the name of each in the upper and in every layer, and its path below the root.
    public var parts: [(key: String, path: String)] { view.parts.map { ($0.key, $0.path) } }

    /// Its memory-backed directories: the name of each in every layer, and where it lies as in `submounts`.
    public var tmpfs: [(key: String, source: String, path: String)] {
        view.mounts.filter(\.isTmpfs).map { ($0.key, place(of: $0), $0.path) }
    }

    /// Where a file of the sandbox lies below `upper` once it has been changed.
    public func pathInUpper(of path: String) -> String {
        let (part, below) = view.parts.holding(path)
        return ([part.key[...]] + below).joined(separator: "/")
    }

    /// The overlays, each with its upper directory and what lies below it, topmost first, over `layers`, which are given
    /// topmost first too; nil where something else can be written to, or an overlay cannot.
    public func overlays(
        over layers: [String]
    ) -> [(key: String, path: String, upper: String, lowers: [String])]? {
        var overlays: [(key: String, path: String, upper: String, lowers: [String])] = []
        for mount in view.mounts {
            guard case .overlay(let lowers, readOnly: false) = mount.kind else { return nil }
            overlays.append(
                (mount.key, mount.path, "\(upper)/\(mount.key)", layers.map { "\($0)/\(mount.key)" } + lowers)
            )
        }
        return overlays
    }

    /// Where the server mounts one of the mounts.
    private func place(of mount: RootMount) -> String {
        mount.path.isEmpty ? mountPoint : "\(mountPoint)-\(mount.key)"
    }

    /// Makes the directories and opens every mount that can be without another, attached nowhere; nil for what lies
    /// there anyway. `layers` are those over the base, topmost first.
    ///
    /// `use` gets one mount after the other, in the order they are to be attached.
    func open(
        over layers: [String], use: (consuming Descriptor?, RootMount) throws(SystemError) -> Void
    ) throws(RuntimeError) {
        for mount in view.mounts {
            try system { () throws(SystemError) in try use(try open(mount, over: layers), mount) }
        }
    }

    private func open(_ mount: RootMount, over layers: [String]) throws(SystemError) -> Descriptor? {
        switch mount.kind {
        case .overlay(let lowers, let readOnly):
            // Device nodes are ckpt's affair, and all of those lie in the root's own part.
            let attributes: MountAttributes = mount.path.isEmpty ? [] : .noDevices
            return try Self.overlay(
                mount, lowers, over: layers, upper: "\(upper)/\(mount.key)", work: "\(work)/\(mount.key)",
                readOnly ? attributes.union(.readOnly) : attributes)
        case .bind(let source, let readOnly):
            return try Mount.clone(source, giving: readOnly ? [.readOnly, .noDevices] : .noDevices)
        case .tmpfs(let size, let mode, let exec):
            let attributes: MountAttributes = [.noSetUID, .noDevices]
            let tmpfs = try Mount.tmpfs(
                size: size, mode: mode, attributes: exec ? attributes : attributes.union(.noExecution))
            try makePlaces(in: mount, mountedAs: tmpfs)
            return tmpfs
        case .writable: return nil
        }
    }

    /// Mounts everything at `mountPoint` and beside it, for a restore.
    public func mount(over layers: [String]) throws(RuntimeError) {
        try prepareVolumes()
        try open(over: layers) { (detached, mount) throws(SystemError) in
            let target = place(of: mount)
            let opened: Descriptor
            if let detached {
                opened = detached
            } else {
                let (holder, below) = holder(of: mount)
                let source = ([place(of: holder)[...]] + below).joined(separator: "/")
                opened = try Mount.clone(source, taking: .readOnly)
            }
            if try Self.isDirectory(opened) {
                try Files.makeDirectory(target)
            } else {
                try Files.write(target, [])
            }
            try Mount.attach(opened, at: target)
        }
    }

    private static func isDirectory(_ file: borrowing Descriptor) throws(SystemError) -> Bool {
        var status = stat()
        let number = file.raw
        try retrying("fstat") { fstat(number, &status) }
        return status.st_mode & S_IFMT == S_IFDIR
    }

    /// Takes the mounts out of the server's namespace; the sandbox keeps its own.
    ///
    /// For each the kernel waits until no processor looks at it any more: 0.2 to 0.5 ms.
    public func release() {
        for mount in view.mounts {
            let target = place(of: mount)
            try? Mount.detach(target)
            if rmdir(target) != 0 && errno == ENOTDIR { unlink(target) }
        }
    }

    private static func overlay(
        _ part: RootMount, _ base: [String], over layers: [String], upper: String, work: String,
        _ attributes: MountAttributes
    ) throws(SystemError) -> Descriptor {
        for directory in [upper, work] { try Files.makeDirectory(directory, mode: 0o755) }
        let changed = layers.map { "\($0)/\(part.key)" }
        // The merged directory shows the upper's own attributes: keep those of the layer below.
        if let top = changed.first ?? base.first { try copyAttributes(from: top, to: upper) }
        // An empty layer changes nothing but costs a place of the 500.
        var lowers: [String] = []
        for layer in changed where try !Self.isEmpty(layer) { lowers.append(layer) }
        lowers += base
        return try Mount.overlay(
            lowers: lowers, upper: (upper, work), inodes: part.path.isEmpty, attributes: attributes,
            links: "\(upper).links")
    }

    /// Whether a layer has nothing for a part. Layers never change, so each is looked into once.
    private static func isEmpty(_ part: String) throws(SystemError) -> Bool {
        if let known = emptiness.with({ $0[part] }) { return known }
        let found = try Files.isEmpty(part)
        emptiness.with {
            if $0.count >= mostKnown { $0 = [:] }
            $0[part] = found
        }
        return found
    }

    private static let emptiness = Monitor<[String: Bool]>([:])
    /// Some 200 bytes each.
    private static let mostKnown = 20_000

    static func copyAttributes(from source: String, to target: String) throws(SystemError) {
        var status = stat()
        try retrying("stat", source) { stat(source, &status) }
        try retrying("chown", target) { chown(target, status.st_uid, status.st_gid) }
        try retrying("chmod", target) { chmod(target, status.st_mode & 0o7777) }
        let times = [status.st_atim, status.st_mtim]
        try retrying("utimensat", target) { utimensat(AT_FDCWD, target, times, 0) }
    }
}
