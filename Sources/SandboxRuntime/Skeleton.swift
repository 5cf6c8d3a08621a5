import CLinux
import Glibc
import LinuxSystem
import Messages

/// The lower layer that lies directly over a base: ckpt-init, device nodes, empty mount points, and for the host
/// base the mask that hides the host's data.
///
/// It lives on a tmpfs of the server's own, made afresh at every start, and is the same for every sandbox.
struct Skeleton {
    let directory: String
    let base: String
    /// Whether the base is the host's own root.
    let masksHost: Bool

    /// Top-level directories of the host that hold programs; nothing else at the top is shown.
    static let shownTop: Set<String> = [
        "bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "etc", "opt", "var", "nix", "gnu",
    ]
    /// Directories shown empty, because programs expect them.
    static let emptied = [
        "root", "home", "tmp", "run", "srv", "mnt", "media", "boot", "proc", "sys", "var/tmp", "var/spool",
        "var/mail",
        "var/backups", "var/www", "var/local", "var/lib/docker", "var/lib/containerd", "var/lib/kubelet",
        "var/lib/libvirt", "var/lib/lxc", "var/lib/postgresql", "var/lib/mysql", "var/lib/redis",
        "var/lib/mongodb", "var/lib/private", "var/lib/sudo", "var/lib/ckpt", "var/lib/systemd",
        "var/lib/NetworkManager", "etc/ssl/private", "etc/wireguard", "etc/openvpn", "etc/letsencrypt",
        "etc/kubernetes", "etc/docker", "etc/NetworkManager/system-connections",
    ]
    /// Files that must not be seen at all, by their beginning.
    static let hiddenFiles = [
        "etc/ssh/ssh_host_", "etc/krb5.keytab", "etc/shadow-", "etc/gshadow-", "etc/hostid",
    ]

    /// Builds it in `directory`, which is empty.
    func build(initProgram: [UInt8], stateRoot: String) throws(SystemError) {
        try directory(".ckpt", mode: 0o700)
        try directory(".ckpt/session", mode: 0o700)
        try Files.write(path(".ckpt/init"), initProgram, mode: 0o755)
        try devices()
        if masksHost {
            try mask(stateRoot: stateRoot)
        } else {
            for (name, mode) in [
                ("proc", 0o555), ("sys", 0o555), ("tmp", 0o1777), ("run", 0o755), ("root", 0o700),
            ]
            where !Files.exists("\(base)/\(name)") {
                try directory(name, mode: mode_t(mode))
            }
        }
        // The topmost lower directory gives the merged root its owner and mode.
        try retrying("chmod", directory) { chmod(directory, 0o755) }
    }

    private func path(_ relative: String) -> String { "\(directory)/\(relative)" }

    private func directory(_ relative: String, mode: mode_t) throws(SystemError) {
        try Files.makeDirectory(path(relative), mode: 0o755)
        try retrying("chmod", relative) { chmod(path(relative), mode) }
    }

    /// Hides what the base has there (Documentation/filesystems/overlayfs.rst, opaque directories).
    private func opaque(_ relative: String) throws(SystemError) {
        try retrying("setxattr(trusted.overlay.opaque)", relative) {
            clinux_set_xattr(path(relative), "trusted.overlay.opaque", "y")
        }
    }

    private func whiteout(_ relative: String) throws(SystemError) {
        try retrying("mknod(whiteout)", relative) { mknod(path(relative), S_IFCHR, 0) }
    }

    private func devices() throws(SystemError) {
        try directory("dev", mode: 0o755)
        try opaque("dev")
        // Numbers from Documentation/admin-guide/devices.txt.
        let nodes: [(String, UInt32, UInt32)] = [
            ("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9),
            ("tty", 5, 0),
        ]
        for (name, major, minor) in nodes {
            try retrying("mknod", name) { mknod(path("dev/\(name)"), S_IFCHR, makedev(major, minor)) }
            try retrying("chmod", name) { chmod(path("dev/\(name)"), 0o666) }
        }
        let links = [
            ("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"),
            ("stderr", "/proc/self/fd/2"), ("ptmx", "pts/ptmx"),
        ]
        for (name, target) in links {
            try retrying("symlink", name) { symlink(target, path("dev/\(name)")) }
        }
        try directory("dev/pts", mode: 0o755)
        try directory("dev/shm", mode: 0o1777)
    }

    private func mask(stateRoot: String) throws(SystemError) {
        var hidden = Set(Self.emptied)
        hidden.insert(String(stateRoot.drop { $0 == "/" }))
        for relative in hidden.sorted() where (try? FileStatus("/\(relative)"))?.isDirectory == true {
            try emptied(relative)
        }
        for name in try Files.names(in: "/")
        where !Self.shownTop.contains(name) && name != "dev" && !Files.exists(path(name)) {
            try whiteout(name)
        }
        try logDirectories()
        try secrets()
    }

    /// An empty directory that looks like the host's; `stateRoot` may make some below a directory that is itself
    /// empty, and these are not made.
    private func emptied(_ relative: String) throws(SystemError) {
        var parent = ""
        for part in relative.split(separator: "/").dropLast() {
            parent += (parent.isEmpty ? "" : "/") + part
            if !Self.shownTop.contains(String(relative.split(separator: "/")[0])) { return }
            try likeHost(parent)
        }
        try likeHost(relative)
        try opaque(relative)
    }

    /// A directory with the owner and mode the host's has.
    private func likeHost(_ relative: String) throws(SystemError) {
        if Files.exists(path(relative)) { return }
        let status = try FileStatus("/\(relative)")
        try Files.makeDirectory(path(relative), mode: 0o755)
        try retrying("chown", relative) { chown(path(relative), status.uid, status.gid) }
        try retrying("chmod", relative) { chmod(path(relative), status.permissions) }
    }

    /// Services want their directory below /var/log; what was logged is the host's.
    private func logDirectories() throws(SystemError) {
        guard (try? FileStatus("/var/log", follow: false))?.isDirectory == true else { return }
        try likeHost("var")
        try likeHost("var/log")
        try opaque("var/log")
        for name in try Files.names(in: "/var/log")
        where (try? FileStatus("/var/log/\(name)", follow: false))?.isDirectory == true {
            try likeHost("var/log/\(name)")
        }
    }

    private func secrets() throws(SystemError) {
        try likeHost("etc")
        for file in ["etc/shadow", "etc/gshadow"] {
            guard let status = try? FileStatus("/\(file)") else { continue }
            let text = String(decoding: try Files.read("/\(file)"), as: UTF8.self)
            let locked = text.split(separator: "\n").map { line in
                var fields = line.split(separator: ":", omittingEmptySubsequences: false)
                if fields.count > 1 { fields[1] = "*" }
                return fields.joined(separator: ":") + "\n"
            }
            try Files.write(path(file), Array(locked.joined().utf8), mode: status.permissions)
            try retrying("chown", file) { chown(path(file), status.uid, status.gid) }
        }
        try Files.write(path("etc/hosts"), Array("127.0.0.1\tlocalhost\n::1\tlocalhost\n".utf8), mode: 0o644)
        if Files.exists("/etc/machine-id") { try Files.write(path("etc/machine-id"), [], mode: 0o444) }
        for prefix in Self.hiddenFiles {
            let slash = prefix.lastIndex(of: "/")!
            let folder = String(prefix[..<slash]), beginning = String(prefix[prefix.index(after: slash)...])
            for name in (try? Files.names(in: "/\(folder)")) ?? [] where name.hasPrefix(beginning) {
                try likeHost(folder)
                try whiteout("\(folder)/\(name)")
            }
        }
    }
}

/// A device number as makedev(3) builds it from a major below 4096 and a minor below 256.
private func makedev(_ major: UInt32, _ minor: UInt32) -> dev_t { dev_t(major << 8 | minor) }
