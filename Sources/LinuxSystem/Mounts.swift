internal import CLinux
import Glibc

/// Mounts in this process's mount namespace.
public enum Mount {
    /// Mounts overlayfs on `target` with the lower directories given from top to bottom.
    ///
    /// Uses the new mount API, whose `lowerdir+` has no one-page limit (Linux 6.8); where the kernel lacks it,
    /// mount(2) with one option string. `upper` nil makes it read-only. At most 500 lowers
    /// (fs/overlayfs/super.c, OVL_MAX_STACK).
    public static func overlay(
        lowers: [String], upper: (directory: String, work: String)? = nil, at target: String,
        inodes: Bool = false
    ) throws(SystemError) {
        var settings = lowers.map { ("lowerdir+", $0) }
        if let upper { settings += [("upperdir", upper.directory), ("workdir", upper.work)] }
        if inodes { settings.append(("xino", "on")) }
        do {
            let context = Descriptor(owning: try retrying("fsopen", "overlay") { fsopen("overlay", 1) })
            for (key, value) in [("source", "ckpt")] + settings {
                try retrying("fsconfig(\(key))", value) { fsconfig(context.raw, 1, key, value, 0) }
            }
            try retrying("fsconfig(create)", target) { fsconfig(context.raw, 6, nil, nil, 0) }
            let mount = Descriptor(owning: try retrying("fsmount", target) { fsmount(context.raw, 1, 0) })
            try retrying("move_mount", target) { move_mount(mount.raw, "", AT_FDCWD, target, 4) }
        } catch  where error.code == EINVAL && error.call == "fsconfig(lowerdir+)" {
            try legacyOverlay(settings, lowers: lowers, at: target)
        }
    }

    private static func legacyOverlay(
        _ settings: [(String, String)], lowers: [String], at target: String
    ) throws(SystemError) {
        let others = settings.filter { $0.0 != "lowerdir+" }
        let options = ([("lowerdir", lowers.joined(separator: ":"))] + others).map { "\($0.0)=\($0.1)" }
        try call("ckpt", target, "overlay", 0, options.joined(separator: ","))
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
