internal import CLinux
import Glibc

/// Attributes of one mount (mount_setattr(2)); the values are the kernel's.
public struct MountAttributes: OptionSet, Sendable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    public static let readOnly = MountAttributes(rawValue: 1)
    public static let noSetUID = MountAttributes(rawValue: 2)
    public static let noDevices = MountAttributes(rawValue: 4)
    public static let noExecution = MountAttributes(rawValue: 8)
}

/// Mounts in this process's mount namespace.
public enum Mount {
    /// Mounts overlayfs, attached nowhere, with the lower directories given from top to bottom.
    ///
    /// Uses the new mount API: each lower is one `lowerdir+` (Linux 6.8), without mount(2)'s limit of one page for all
    /// options; an older kernel gets the one string. `upper` nil makes it read-only. At most 500 lowers
    /// (fs/overlayfs/params.h, OVL_MAX_STACK).
    ///
    /// mountinfo repeats the names of the lowers as they were given, and CRIU reads no line of it beyond 4096 bytes
    /// (criu/proc_parse.c, parse_mountinfo): some 70 lowers in a store of the usual path. So when there are many they are
    /// given as links named by numbers, in the directory `links`, which is made for the while.
    public static func overlay(
        lowers: [String], upper: (directory: String, work: String)? = nil, inodes: Bool = false,
        attributes: MountAttributes = [], links: String? = nil
    ) throws(SystemError) -> Descriptor {
        guard let links, lowers.count > manyLowers else {
            return try overlay(lowers, upper: upper, inodes: inodes, attributes: attributes)
        }
        try Files.makeDirectory(links)
        let names = lowers.indices.map(String.init)
        defer {
            for name in names { unlink("\(links)/\(name)") }
            rmdir(links)
        }
        for (lower, name) in zip(lowers, names) {
            try retrying("symlink", lower) { symlink(lower, "\(links)/\(name)") }
        }
        // A thread's own working directory: nobody else sees it change (unshare(2), CLONE_FS).
        try retrying("unshare(CLONE_FS)") { clinux_unshare_directory() }
        try retrying("chdir", links) { chdir(links) }
        defer { _ = chdir("/") }
        return try overlay(names, upper: upper, inodes: inodes, attributes: attributes)
    }

    private static let manyLowers = 16

    private static func overlay(
        _ lowers: [String], upper: (directory: String, work: String)?, inodes: Bool,
        attributes: MountAttributes
    ) throws(SystemError) -> Descriptor {
        var settings = [("source", "ckpt")]
        if let upper { settings += [("upperdir", upper.directory), ("workdir", upper.work)] }
        if inodes { settings.append(("xino", "on")) }
        do {
            return try make("overlay", lowers.map { ("lowerdir+", $0) } + settings, attributes)
        } catch  where error.code == EINVAL && error.call == "fsconfig(lowerdir+)" {
            return try make("overlay", [("lowerdir", lowers.joined(separator: ":"))] + settings, attributes)
        }
    }

    /// Mounts an empty tmpfs, attached nowhere; `size` is in bytes, half of the machine's memory when nil.
    public static func tmpfs(
        size: Int64?, mode: UInt32, attributes: MountAttributes
    ) throws(SystemError) -> Descriptor {
        let settings = [("source", "ckpt"), ("mode", String(mode, radix: 8))]
        return try make("tmpfs", settings + (size.map { [("size", String($0))] } ?? []), attributes)
    }

    /// A twin of what is mounted at `path`, or of a directory or file below, attached nowhere (open_tree(2)).
    ///
    /// What is mounted below it is left out. The attributes are given to the twin or taken from it.
    public static func clone(
        _ path: String, giving given: MountAttributes = [], taking taken: MountAttributes = []
    ) throws(SystemError) -> Descriptor {
        let flags = UInt32(OPEN_TREE_CLONE) | UInt32(bitPattern: O_CLOEXEC)
        let twin = Descriptor(owning: try retrying("open_tree", path) { open_tree(AT_FDCWD, path, flags) })
        if !given.isEmpty || !taken.isEmpty {
            var change = mount_attr()
            (change.attr_set, change.attr_clr) = (UInt64(given.rawValue), UInt64(taken.rawValue))
            let number = twin.raw
            try retrying("mount_setattr", path) {
                mount_setattr(number, "", UInt32(AT_EMPTY_PATH), &change, MemoryLayout<mount_attr>.size)
            }
        }
        return twin
    }

    private static func make(
        _ type: String, _ settings: [(String, String)], _ attributes: MountAttributes
    ) throws(SystemError) -> Descriptor {
        let context = Descriptor(owning: try retrying("fsopen", type) { fsopen(type, 1) })
        for (key, value) in settings {
            try retrying("fsconfig(\(key))", value) { fsconfig(context.raw, 1, key, value, 0) }
        }
        try retrying("fsconfig(create)", type) { fsconfig(context.raw, 6, nil, nil, 0) }
        return Descriptor(
            owning: try retrying("fsmount", type) { fsmount(context.raw, 1, attributes.rawValue) })
    }

    /// Attaches a mount that is attached nowhere (move_mount(2)).
    public static func attach(_ mount: borrowing Descriptor, at target: String) throws(SystemError) {
        let number = mount.raw
        try retrying("move_mount", target) { move_mount(number, "", AT_FDCWD, target, 4) }
    }

    /// Mounts an empty tmpfs on `target`, mode 0700.
    public static func tmpfs(at target: String, size: String = "64m") throws(SystemError) {
        try call("ckpt", target, "tmpfs", 0, "mode=0700,size=\(size)")
    }

    /// Mounts the filesystem on a block device, which is told what is not needed any more.
    public static func filesystem(_ type: String, on device: String, at target: String) throws(SystemError) {
        // btrfs does by itself, in the background, since Linux 6.2.
        try call(device, target, type, UInt(MS_NOATIME), type == "btrfs" ? nil : "discard")
    }

    /// Mounts a proc of the caller's pid namespace on `target`, with a superblock that nobody can write to.
    public static func readOnlyProc(at target: String) throws(SystemError) {
        let flags = UInt(MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)
        try call("proc", target, "proc", flags, nil)
    }

    /// Makes the filesystem mounted on `target` read-only for everybody.
    public static func makeReadOnly(_ target: String) throws(SystemError) {
        let flags = UInt(MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)
        try call(nil, target, nil, flags, nil)
    }

    /// Binds `source`, and what is mounted below it, on `target`.
    public static func bind(_ source: String, at target: String) throws(SystemError) {
        try call(source, target, nil, UInt(MS_BIND | MS_REC), nil)
    }

    /// Makes this process's mounts receive the host's and send none (mount_namespaces(7), MS_SLAVE).
    public static func receiveOnly() throws(SystemError) {
        try call(nil, "/", nil, UInt(MS_REC | MS_SLAVE), nil)
    }

    /// Takes `target` out of this namespace at once; it goes when its last user does (umount2(2), MNT_DETACH).
    public static func detach(_ target: String) throws(SystemError) {
        // A mount that stays is seen by every sandbox made later: what may pass is tried again.
        for pause: UInt32 in [100, 10_000] {
            if umount2(target, Int32(MNT_DETACH)) == 0 { return }
            if [EINVAL, ENOENT, EPERM].contains(errno) { break }
            usleep(pause)
        }
        try retrying("umount2", target) { umount2(target, Int32(MNT_DETACH)) }
    }

    private static func call(
        _ source: String?, _ target: String, _ type: String?, _ flags: UInt, _ data: String?
    ) throws(SystemError) {
        try retrying("mount", target) { mount(source, target, type, flags, data) }
    }

    /// Whether `path` lies on a tmpfs.
    public static func isTmpfs(_ path: String) -> Bool {
        clinux_filesystem_type(path) == 0x0102_1994
    }
}
