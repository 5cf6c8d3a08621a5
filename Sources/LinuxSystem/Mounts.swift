internal import CLinux
import Glibc

/// Mounts in this process's mount namespace.
public enum Mount {
    /// Mounts overlayfs, attached nowhere, with the lower directories given from top to bottom.
    ///
    /// Uses the new mount API: each lower is one `lowerdir+` (Linux 6.8), without mount(2)'s limit of one page for all
    /// options; an older kernel gets the one string. `upper` nil makes it read-only. At most 500 lowers
    /// (fs/overlayfs/params.h, OVL_MAX_STACK).
    public static func overlay(
        lowers: [String], upper: (directory: String, work: String)? = nil, inodes: Bool = false
    ) throws(SystemError) -> Descriptor {
        var settings = [("source", "ckpt")]
        if let upper { settings += [("upperdir", upper.directory), ("workdir", upper.work)] }
        if inodes { settings.append(("xino", "on")) }
        do {
            return try overlay(lowers.map { ("lowerdir+", $0) } + settings)
        } catch  where error.code == EINVAL && error.call == "fsconfig(lowerdir+)" {
            return try overlay([("lowerdir", lowers.joined(separator: ":"))] + settings)
        }
    }

    private static func overlay(_ settings: [(String, String)]) throws(SystemError) -> Descriptor {
        let context = Descriptor(owning: try retrying("fsopen", "overlay") { fsopen("overlay", 1) })
        for (key, value) in settings {
            try retrying("fsconfig(\(key))", value) { fsconfig(context.raw, 1, key, value, 0) }
        }
        try retrying("fsconfig(create)", "overlay") { fsconfig(context.raw, 6, nil, nil, 0) }
        return Descriptor(owning: try retrying("fsmount", "overlay") { fsmount(context.raw, 1, 0) })
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
