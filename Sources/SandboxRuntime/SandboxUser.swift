import CLinux
import Glibc
import LinuxSystem

/// A user as a sandbox's own /etc/passwd and /etc/group know it.
public struct SandboxUser: Sendable, Equatable {
    public var uid: UInt32
    public var gid: UInt32
    /// Supplementary groups, the primary one included.
    public var groups: [UInt32]
    /// Empty when the user has no entry in /etc/passwd.
    public var name: String
    public var home: String
    public var shell: String

    /// root, with the home everybody expects.
    public static let root = SandboxUser(
        uid: 0, gid: 0, groups: [0], name: "root", home: "/root", shell: "/bin/bash")

    /// Looks `text` up inside the sandbox of PID 1 `pid`: `name`, `uid`, `name:group` or `uid:gid`.
    ///
    /// The files are opened with the sandbox's root as root (openat2(2), RESOLVE_IN_ROOT): a symbolic link
    /// in the sandbox leads nowhere outside of it. A number needs no entry.
    public static func find(_ text: String, inSandboxOf pid: Int32) throws(CommandError) -> SandboxUser {
        do {
            let root = try Descriptor.open("/proc/\(pid)/root", O_PATH | O_DIRECTORY)
            return try find(
                text, passwd: lines("etc/passwd", below: root), group: lines("etc/group", below: root))
        } catch let error as CommandError {
            throw error
        } catch let error as SystemError {
            throw .system(error)
        } catch {
            throw .unknownUser(text)
        }
    }

    /// The names that the sandbox of PID 1 `pid` gives to users; none where that cannot be read.
    public static func names(inSandboxOf pid: Int32) -> [UInt32: String] {
        guard let root = try? Descriptor.open("/proc/\(pid)/root", O_PATH | O_DIRECTORY),
            let entries = try? lines("etc/passwd", below: root)
        else { return [:] }
        var names: [UInt32: String] = [:]
        for entry in entries where entry.count >= 3 {
            if let uid = UInt32(entry[2]), names[uid] == nil { names[uid] = entry[0] }
        }
        return names
    }

    /// The same on the contents of the two files.
    static func find(_ text: String, passwd: [[String]], group: [[String]]) throws(CommandError)
        -> SandboxUser
    {
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(
            String.init)
        // As for chown(1), a name wins over a number that looks the same.
        let entry =
            passwd.first { $0.count >= 7 && $0[0] == parts[0] }
            ?? passwd.first { $0.count >= 7 && $0[2] == parts[0] && UInt32($0[2]) != nil }
        var user: SandboxUser
        if let entry, let uid = UInt32(entry[2]), let gid = UInt32(entry[3]) {
            user = SandboxUser(
                uid: uid, gid: gid, groups: [], name: entry[0], home: entry[5],
                shell: entry[6].isEmpty ? "/bin/sh" : entry[6])
        } else if let uid = UInt32(parts[0]), uid != UInt32.max {
            user = SandboxUser(uid: uid, gid: 0, groups: [], name: "", home: "/", shell: "/bin/sh")
        } else {
            throw .unknownUser(parts[0])
        }
        if parts.count == 2 {
            let named = group.first { $0.count >= 3 && $0[0] == parts[1] }.flatMap { UInt32($0[2]) }
            guard let gid = named ?? UInt32(parts[1]), gid != UInt32.max else { throw .unknownUser(parts[1]) }
            user.gid = gid
            user.groups = [gid]
            return user
        }
        let member = group.filter {
            $0.count >= 4 && !user.name.isEmpty
                && $0[3].split(separator: ",").contains(Substring(user.name))
        }
        user.groups = [user.gid] + member.compactMap { UInt32($0[2]) }.filter { $0 != user.gid }
        return user
    }

    /// The colon-separated fields of each line; no lines when the file is missing.
    private static func lines(
        _ path: String, below root: borrowing Descriptor
    ) throws(SystemError) -> [[String]] {
        let at = root.raw
        let number = clinux_open_in_root(at, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        if number < 0 && errno == ENOENT { return [] }
        guard number >= 0 else { throw .last("openat2", path) }
        let file = Descriptor(owning: number)
        // The sandbox may have put anything there: a FIFO, a device, a file without end.
        var status = stat()
        guard fstat(file.raw, &status) == 0, status.st_mode & S_IFMT == S_IFREG, status.st_size <= 4 << 20
        else { return [] }
        return String(decoding: try file.read(upTo: Int(status.st_size)), as: UTF8.self)
            .split(separator: "\n").map {
                $0.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
            }
    }
}
