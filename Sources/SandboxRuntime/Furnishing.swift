import Glibc
import LinuxSystem
public import Messages

extension BaseViews {
    /// The view with what a spec mounts, hides and locks in it.
    ///
    /// Looks at the base, and takes volumes that are not there for empty directories: `BaseView.check` tells of them.
    public func furnish(_ base: BaseView, for spec: SandboxSpec) throws(RuntimeError) -> BaseView {
        var view = base
        if let readable = spec.security.readable, case .directory = spec.base {
            try hide(in: &view, all: spec.base, but: readable + (spec.security.writable ?? []))
        }
        if let writable = spec.security.writable ?? (spec.readOnly ? [] : nil) { view.lock(but: writable) }
        for mount in Self.wanted(by: spec).byDepth() { try view.add(mount) }
        view.mounts = view.mounts.byDepth()
        // What is hidden may be shown; what would change the host stays as it is.
        view.masks = spec.security.maskPaths ? masks : masks.filter(\.guardsHost)
        if !spec.security.maskPaths, spec.net != .host { view.masks.append(.ownNetwork) }
        view.additions = Additions(devices: spec.devices, names: NameFiles(spec))
        return view
    }

    /// The mounts of volumes, tmpfs and writable places, at the paths as they were given.
    private static func wanted(by spec: SandboxSpec) -> [RootMount] {
        func mount(_ kind: String, _ path: String, _ what: RootMount.Kind) -> RootMount {
            let path = path.split(separator: "/").joined(separator: "/")
            return RootMount(path: path, key: RootMount.key(kind, path), kind: what)
        }
        var mounts = spec.volumes.map { volume in
            let host = (try? Files.canonical(volume.host)) ?? volume.host
            let kind: RootMount.Kind =
                volume.mode == .cow
                ? .overlay(lowers: [host], readOnly: false)
                : .bind(source: host, readOnly: volume.mode == .ro)
            return mount("volume", volume.path, kind)
        }
        for tmpfs in spec.tmpfs {
            let kind = RootMount.Kind.tmpfs(
                size: tmpfs.size?.bytes, mode: tmpfs.mode ?? 0o1777, exec: tmpfs.exec)
            mounts.append(mount("tmpfs", tmpfs.path, kind))
        }
        // As for Docker, programs can count on a /dev/shm they can write to.
        let shm = spec.shmSize?.bytes ?? (spec.readOnly ? 64 << 20 : nil)
        if let shm, !mounts.contains(where: { $0.path == "dev/shm" }) {
            mounts.append(mount("tmpfs", "/dev/shm", .tmpfs(size: shm, mode: 0o1777, exec: false)))
        }
        for path in spec.security.writable ?? [] where path != "/" {
            mounts.append(mount("writable", path, .writable))
        }
        return mounts
    }

    /// Puts a layer over the base in which everything is hidden but programs and what may be read.
    private func hide(
        in view: inout BaseView, all base: Base, but readable: [String]
    ) throws(RuntimeError) {
        let root = view.mounts[0]
        let points = MountPoints(view.mounts)
        var shown: [String] = []
        for path in readable {
            shown.append(try system { () throws(SystemError) in try points.resolve(path) })
        }
        if shown.contains("") { return }
        let (key, source) = ("\(root.lowers) \(shown.sorted())", root.lowers.last!)
        let layer = try hiding.with { (made) throws(RuntimeError) -> String in
            if let layer = made[key] { return layer }
            let directory = "\(workspace)/hiding-\(made.count)"
            try system { () throws(SystemError) in
                try Files.makeDirectory(directory, mode: 0o755)
                try Skeleton(directory: directory).hide(
                    of: source, but: shown.map { $0.split(separator: "/")[...] })
            }
            made[key] = directory
            return directory
        }
        let lowers = root.lowers.dropLast() + [layer, source]
        view.mounts[0] = RootMount(
            path: "", key: root.key, kind: .overlay(lowers: Array(lowers), readOnly: false))
    }
}

extension BaseView {
    /// Makes every part read-only but PID 1's own directory, which gets an overlay to itself.
    mutating func lock(but writable: [String]) {
        if writable.contains("/") { return }
        let own = ".ckpt"
        let lowers = [mounts[0].lowers[0] + "/" + own]
        mounts = mounts.map { part in
            RootMount(path: part.path, key: part.key, kind: .overlay(lowers: part.lowers, readOnly: true))
        }
        mounts.append(RootMount(path: own, key: own, kind: .overlay(lowers: lowers, readOnly: false)))
    }

    /// Adds a mount at the place its path means inside.
    mutating func add(_ wanted: RootMount) throws(RuntimeError) {
        let points = MountPoints(mounts)
        let path: String
        do throws(SystemError) { path = try points.resolve(wanted.path) } catch {
            throw .badPlace(path: "/\(wanted.path)", reason: error.reason)
        }
        let holder = points.mounts.holding(path).mount
        if wanted.kind == .writable {
            // Volumes and tmpfs say themselves whether they can be written.
            guard case .overlay(_, readOnly: true) = holder.kind else { return }
            if mounts.contains(where: { $0.kind == .writable && $0.below(path) != nil }) { return }
        }
        let ours = ["proc", "sys", ".ckpt"].contains { path == $0 || path.hasPrefix($0 + "/") }
        if path.isEmpty || path == "dev" || ours {
            throw .badPlace(path: "/\(path)", reason: "ckpt keeps it in order itself")
        }
        if mounts.contains(where: { $0.path == path && (!$0.isOverlay || $0.key.contains("volume+")) }) {
            throw .badPlace(path: "/\(path)", reason: "something is mounted there already")
        }
        if wanted.key.utf8.count > 150 {
            throw .badPlace(path: "/\(path)", reason: "the path is longer than 140 bytes")
        }
        mounts.append(RootMount(path: path, key: wanted.key, kind: wanted.kind))
    }

    /// Whether what the spec names on the host is there and fits; throws `noSource` or `badPlace`.
    public func check(stateRoot: String) throws(RuntimeError) {
        for mount in mounts where mount.key.hasPrefix("volume+") {
            let source: String
            switch mount.kind {
            case .bind(let host, _): source = host
            case .overlay(let lowers, _): source = lowers[0]
            default: continue
            }
            let status: FileStatus
            do throws(SystemError) { status = try FileStatus(source) } catch {
                throw .noSource(path: source, reason: error.reason)
            }
            if !mount.isOverlay { continue }
            guard status.isDirectory else {
                throw .noSource(path: source, reason: "a cow volume must be a directory")
            }
            let root = (try? Files.canonical(stateRoot)) ?? stateRoot
            if source == "/" || root == source || root.hasPrefix(source + "/") {
                throw .noSource(path: source, reason: "a cow volume cannot hold the store \(root)")
            }
        }
        for device in additions.devices {
            guard let status = try? FileStatus(device.host) else {
                throw .noSource(path: device.host, reason: "No such file or directory")
            }
            guard [S_IFCHR, S_IFBLK].contains(status.mode & S_IFMT) else {
                throw .noSource(path: device.host, reason: "it is no device")
            }
        }
    }
}
