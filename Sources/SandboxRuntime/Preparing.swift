import CLinux
import Glibc
import LinuxSystem
import Messages

/// What a fresh root gets before it is mounted: the places that mounts need, device nodes, files of names.
extension RootFilesystem {
    /// Makes it in the empty writable layers.
    func prepare(hostname: String) throws(RuntimeError) {
        for mount in view.mounts.dropFirst() where !mount.isPart {
            try makePlace(for: mount)
        }
        try system { () throws(SystemError) in
            for device in view.additions.devices { try makeDevice(device) }
            guard let names = view.additions.names else { return }
            try write(names.hostsText(hostname: hostname), to: "etc/hosts")
            if let text = names.resolverText { try write(text, to: "etc/resolv.conf") }
        }
    }

    /// Makes the places that lie in directories of the host; the others a layer has already.
    func prepareVolumes() throws(RuntimeError) {
        for mount in view.mounts.dropFirst() {
            if case .bind = holder(of: mount).mount.kind { try makePlace(for: mount) }
        }
    }

    /// The mount that another one's place lies in.
    func holder(of mount: RootMount) -> (mount: RootMount, below: [Substring]) {
        view.mounts.filter { $0.kind != .writable && $0.path != mount.path }.holding(mount.path)
    }

    /// Makes the directory or file that a mount is mounted on, where there is none.
    private func makePlace(for mount: RootMount) throws(RuntimeError) {
        let (holder, below) = holder(of: mount)
        try system { () throws(SystemError) in
            switch holder.kind {
            case .overlay:
                let path = try makeParents(of: below, in: holder)
                if Files.exists(path) { return }
                guard points.find(below, in: holder.lowers).kind == .missing else { return }
                if mount.isFile { try Files.write(path, [], mode: 0o644) } else { try makeDirectory(path) }
            case .bind(let source, let readOnly):
                let root = try Descriptor.open(source, O_PATH | O_DIRECTORY)
                try Self.make(below, isFile: mount.isFile, below: root, onlyLook: readOnly)
            case .tmpfs, .writable: break
            }
        }
    }

    /// Makes the places in a new tmpfs.
    func makePlaces(in tmpfs: RootMount, mountedAs root: borrowing Descriptor) throws(SystemError) {
        for mount in view.mounts.dropFirst() where mount.path != tmpfs.path {
            let (holder, below) = holder(of: mount)
            if holder == tmpfs { try Self.make(below, isFile: mount.isFile, below: root, onlyLook: false) }
        }
    }

    /// Makes directories, the last of them perhaps a file, without following a symbolic link.
    private static func make(
        _ names: [Substring], isFile: Bool, below root: borrowing Descriptor, onlyLook: Bool
    ) throws(SystemError) {
        var directory = try Descriptor.open(".", below: root, O_PATH | O_DIRECTORY)
        for (index, name) in names.enumerated() {
            let (at, isLast) = (directory.raw, index == names.count - 1)
            if !onlyLook {
                let made =
                    isFile && isLast
                    ? mknodat(at, String(name), S_IFREG | 0o644, 0) : mkdirat(at, String(name), 0o755)
                if made != 0 && errno != EEXIST { throw .last("mkdir", String(name)) }
            }
            directory = try Descriptor.open(String(name), below: directory, O_PATH | O_NOFOLLOW)
        }
    }

    private func makeDevice(_ device: Device) throws(SystemError) {
        let status = try FileStatus(device.host)
        let path = try placeOfFile(device.path)
        var bits: mode_t = 0
        if device.permissions.contains("r") { bits |= 0o444 }
        if device.permissions.contains("w") { bits |= 0o222 }
        try retrying("mknod", path) { mknod(path, status.mode & S_IFMT, dev_t(status.deviceNumber)) }
        try retrying("chmod", path) { chmod(path, bits) }
    }

    private func write(_ text: String, to file: String) throws(SystemError) {
        let path = try placeOfFile(file)
        try Files.write(path, Array(text.utf8), mode: 0o644)
        try retrying("chmod", path) { chmod(path, 0o644) }
    }

    /// Where in the upper a file goes, its directory made.
    private func placeOfFile(_ file: String) throws(SystemError) -> String {
        let names = file.split(separator: "/")
        let directory = try points.resolve(names.dropLast().joined(separator: "/"))
        let path = directory.isEmpty ? String(names.last!) : "\(directory)/\(names.last!)"
        let (holder, below) = points.mounts.holding(path)
        guard holder.isOverlay else { throw SystemError(call: "mknod", code: EROFS, subject: "/\(path)") }
        let place = try makeParents(of: below, in: holder)
        unlink(place)
        return place
    }

    /// The path in the upper, after its parents were made with the attributes that they have in the base.
    private func makeParents(of names: [Substring], in part: RootMount) throws(SystemError) -> String {
        var path = "\(upper)/\(part.key)"
        try Files.makeDirectory(path, mode: 0o755)
        for (index, name) in names.dropLast().enumerated() {
            path += "/\(name)"
            if Files.exists(path) { continue }
            try makeDirectory(path)
            let below = points.find(Array(names[...index]), in: part.lowers)
            if below.kind == .directory { try Self.copyAttributes(from: below.path, to: path) }
        }
        return "\(path)/\(names.last!)"
    }

    private func makeDirectory(_ path: String) throws(SystemError) {
        try retrying("mkdir", path) { mkdir(path, 0o755) }
        try retrying("chmod", path) { chmod(path, 0o755) }
    }

    private var points: MountPoints { MountPoints(view.mounts) }
}

extension RootMount {
    /// Whether it is mounted on a file.
    var isFile: Bool {
        guard case .bind(let source, _) = kind else { return false }
        return (try? FileStatus(source))?.isDirectory == false
    }

    /// Whether it is a part of the base, for which there is a place already.
    var isPart: Bool { isOverlay && !key.contains("volume+") }
}
