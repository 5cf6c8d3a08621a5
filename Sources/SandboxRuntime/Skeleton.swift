import CLinux
import Glibc
import LinuxSystem
import Messages

/// The lower layer of ours over a base: ckpt-init, device nodes, empty mount points; for the host base also what
/// hides the host's data.
///
/// It lives on a tmpfs of the server's own, made afresh at every start, and is the same for every sandbox.
struct Skeleton {
    /// The directory it is built in; exists and is empty.
    let directory: String

    /// Directories of the host that are shown empty, because programs expect them.
    static let emptied = ["root", "home", "tmp", "run", "srv", "mnt", "media", "boot", "proc", "sys", "dev"]
    /// Below /etc: directories shown empty, and the beginnings of files that are not shown.
    static let secretDirectories = [
        "ssl/private", "wireguard", "openvpn", "letsencrypt", "kubernetes", "docker",
        "NetworkManager/system-connections",
    ]
    static let secretFiles = ["ssh/ssh_host_", "krb5.keytab", "shadow-", "gshadow-", "hostid"]

    /// What every root needs, whatever lies below.
    func buildCommon(initProgram: [UInt8]) throws(SystemError) {
        // The modes PID 1 wants: changing them there would copy both up into every upper.
        try makeDirectory(".ckpt", mode: 0o711)
        try makeDirectory(".ckpt/session", mode: 0o711)
        try Files.write(path(".ckpt/init"), initProgram, mode: 0o755)
        try devices()
        // The topmost lower directory gives the merged root its owner and mode.
        try retrying("chmod", directory) { chmod(directory, 0o755) }
    }

    /// For a directory base: the mount points and places it lacks.
    func completeDirectory(_ base: String) throws(SystemError) {
        let needed: [(String, mode_t)] = [
            ("proc", 0o555), ("sys", 0o555), ("tmp", 0o1777), ("run", 0o755), ("root", 0o700),
        ]
        for (name, mode) in needed where !Files.exists("\(base)/\(name)") {
            try makeDirectory(name, mode: mode)
        }
    }

    /// For the host base: the top level, where only the mount points of `parts` and symbolic links are the host's.
    ///
    /// /var is data (Filesystem Hierarchy Standard 3.0, chapter 5): its directories are shown, two levels deep,
    /// without what is in them. In /var/tmp even names are data.
    func imitateHost(parts: [String]) throws(SystemError) {
        for name in Self.emptied where (try? FileStatus("/\(name)"))?.isDirectory == true {
            try likeHost(name, of: "/")
        }
        for name in try Files.names(in: "/") where Self.isLink("/\(name)") {
            try copyLink(name)
        }
        try emptyDirectories("var", depth: 2)
        for part in parts { try likeHost(part, of: "/") }
    }

    /// For the host's /etc: locks the passwords, and hides keys and identities. `directory` is the layer over /etc.
    func maskSecrets() throws(SystemError) {
        try copyAttributes(from: "/etc", to: directory)
        for name in Self.secretDirectories where (try? FileStatus("/etc/\(name)"))?.isDirectory == true {
            try likeHost(name, of: "/etc")
            try opaque(name)
        }
        for file in ["shadow", "gshadow"] where Files.exists("/etc/\(file)") { try lockPasswords(file) }
        try Files.write(path("hosts"), Array("127.0.0.1\tlocalhost\n::1\tlocalhost\n".utf8), mode: 0o644)
        if Files.exists("/etc/machine-id") { try Files.write(path("machine-id"), [], mode: 0o444) }
        for prefix in Self.secretFiles { try hideFiles(beginning: prefix) }
    }

    /// A layer that hides what `base` has but for its programs and the paths in `shown`, each in its parts.
    ///
    /// Directories are there and empty, for programs expect them; other files are not there.
    func hide(
        _ relative: String = "", of base: String, but shown: [ArraySlice<Substring>]
    ) throws(SystemError) {
        for name in try Files.names(in: "\(base)/\(relative)") {
            let below = shown.filter { $0.first.map(String.init) == name }.map { $0.dropFirst() }
            let isSystem = relative.isEmpty && (BaseViews.programs + ["proc", "sys", "dev"]).contains(name)
            if isSystem || below.contains(where: \.isEmpty) { continue }
            let child = relative.isEmpty ? name : "\(relative)/\(name)"
            let status = try FileStatus("\(base)/\(child)", follow: false)
            if status.isDirectory {
                try likeHost(child, of: base)
                if below.isEmpty { try opaque(child) } else { try hide(child, of: base, but: below) }
            } else if !relative.isEmpty || status.mode & S_IFMT != S_IFLNK {
                // A whiteout. The top level's links stay: where they lead to shows what may be seen.
                try retrying("mknod", child) { mknod(path(child), S_IFCHR, 0) }
            }
        }
        if relative.isEmpty { try copyAttributes(from: base, to: directory) }
    }

    private func path(_ relative: String) -> String { "\(directory)/\(relative)" }

    private static func isLink(_ path: String) -> Bool {
        guard let status = try? FileStatus(path, follow: false) else { return false }
        return status.mode & S_IFMT == S_IFLNK
    }

    private func makeDirectory(_ relative: String, mode: mode_t) throws(SystemError) {
        try Files.makeDirectory(path(relative), mode: 0o755)
        try retrying("chmod", relative) { chmod(path(relative), mode) }
    }

    /// Hides what the base has there (Documentation/filesystems/overlayfs.rst, opaque directories).
    private func opaque(_ relative: String) throws(SystemError) {
        try retrying("setxattr(trusted.overlay.opaque)", relative) {
            clinux_set_xattr(path(relative), "trusted.overlay.opaque", "y")
        }
    }

    private func devices() throws(SystemError) {
        try makeDirectory("dev", mode: 0o755)
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
        try makeDirectory("dev/pts", mode: 0o755)
        try makeDirectory("dev/shm", mode: 0o1777)
    }

    /// Makes `relative` and its parents with the owners and modes they have below `root` on the host.
    private func likeHost(_ relative: String, of root: String) throws(SystemError) {
        var part = ""
        for name in relative.split(separator: "/") {
            part += (part.isEmpty ? "" : "/") + name
            if Files.exists(path(part)) { continue }
            try Files.makeDirectory(path(part), mode: 0o755)
            try copyAttributes(from: root == "/" ? "/\(part)" : "\(root)/\(part)", to: path(part))
        }
    }

    private func copyAttributes(from source: String, to target: String) throws(SystemError) {
        let status = try FileStatus(source)
        try retrying("chown", target) { chown(target, status.uid, status.gid) }
        try retrying("chmod", target) { chmod(target, status.permissions) }
    }

    private func copyLink(_ relative: String) throws(SystemError) {
        var target = [CChar](repeating: 0, count: Int(PATH_MAX) + 1)
        try retrying("readlink", relative) { readlink("/\(relative)", &target, Int(PATH_MAX)) }
        try retrying("symlink", relative) { symlink(target, path(relative)) }
    }

    private func emptyDirectories(_ relative: String, depth: Int) throws(SystemError) {
        guard (try? FileStatus("/\(relative)", follow: false))?.isDirectory == true else { return }
        try likeHost(relative, of: "/")
        if depth == 0 || relative == "var/tmp" { return }
        for name in try Files.names(in: "/\(relative)") {
            let child = "\(relative)/\(name)"
            if Self.isLink("/\(child)") {
                try copyLink(child)
            } else {
                try emptyDirectories(child, depth: depth - 1)
            }
        }
    }

    private func lockPasswords(_ file: String) throws(SystemError) {
        let text = String(decoding: try Files.read("/etc/\(file)"), as: UTF8.self)
        let locked = text.split(separator: "\n").map { line in
            var fields = line.split(separator: ":", omittingEmptySubsequences: false)
            if fields.count > 1 { fields[1] = "*" }
            return fields.joined(separator: ":") + "\n"
        }
        try Files.write(path(file), Array(locked.joined().utf8))
        try copyAttributes(from: "/etc/\(file)", to: path(file))
    }

    private func hideFiles(beginning prefix: String) throws(SystemError) {
        let parts = prefix.split(separator: "/")
        let folder = parts.dropLast().joined(separator: "/")
        for name in (try? Files.names(in: "/etc/\(folder)")) ?? [] where name.hasPrefix(parts.last!) {
            if !folder.isEmpty { try likeHost(folder, of: "/etc") }
            let file = folder.isEmpty ? name : "\(folder)/\(name)"
            // A whiteout: character device 0:0.
            try retrying("mknod", file) { mknod(path(file), S_IFCHR, 0) }
        }
    }
}

/// A device number as makedev(3) builds it from a major below 4096 and a minor below 256.
private func makedev(_ major: UInt32, _ minor: UInt32) -> dev_t { dev_t(major << 8 | minor) }
