import Glibc

/// Where a server keeps its state, and its socket.
public enum RootDirectory {
    /// The root by the usual rule: `option` (`--root DIR`), else CKPT_ROOT, else `/var/lib/ckpt` for root,
    /// else `$XDG_DATA_HOME/ckpt`, else `~/.local/share/ckpt`. A relative path is made absolute.
    public static func choose(option: String? = nil) -> String {
        absolute(option ?? variable("CKPT_ROOT") ?? standard())
    }

    private static func standard() -> String {
        if geteuid() == 0 { return "/var/lib/ckpt" }
        if let data = variable("XDG_DATA_HOME"), data.hasPrefix("/") { return "\(data)/ckpt" }
        return "\(variable("HOME") ?? homeFromPasswd())/.local/share/ckpt"
    }

    private static func variable(_ name: String) -> String? {
        guard let value = getenv(name), value.pointee != 0 else { return nil }
        return String(cString: value)
    }

    private static func homeFromPasswd() -> String {
        guard let entry = getpwuid(geteuid()), let home = entry.pointee.pw_dir else { return "" }
        return String(cString: home)
    }

    private static func absolute(_ path: String) -> String {
        var path = path
        while path.count > 1 && path.hasSuffix("/") { path.removeLast() }
        if path.hasPrefix("/") { return path }
        guard let current = getcwd(nil, 0) else { return path }
        defer { free(current) }
        return "\(String(cString: current))/\(path)"
    }
}
