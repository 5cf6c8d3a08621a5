import CLinux
import Glibc
import LinuxSystem

/// What a path of a new sandbox is before anything has been written there.
enum PlaceKind: Equatable {
    case missing
    case directory
    case link(String)
    /// A file of whatever other kind.
    case file
}

/// Looks paths up in a root that is not mounted yet.
struct MountPoints {
    let mounts: [RootMount]

    init(_ mounts: [RootMount]) { self.mounts = mounts.filter { $0.kind != .writable } }

    /// The path that `path` means inside, without symbolic links; what does not exist is taken as it is.
    func resolve(_ path: String) throws(SystemError) -> String {
        var done: [Substring] = []
        var pending = Array(path.split(separator: "/").reversed())
        var links = 0
        while let name = pending.popLast() {
            if name == "." { continue }
            if name == ".." {
                _ = done.popLast()
                continue
            }
            let here = (done + [name]).joined(separator: "/")
            guard case .link(let target) = kind(of: here) else {
                done.append(name)
                continue
            }
            links += 1
            if links > 40 { throw SystemError(call: "resolve", code: ELOOP, subject: path) }
            if target.hasPrefix("/") { done = [] }
            pending += target.split(separator: "/").reversed()
        }
        return done.joined(separator: "/")
    }

    /// What lies at a path below the root that has no symbolic link in it but perhaps the last part.
    func kind(of path: String) -> PlaceKind {
        let (mount, below) = mounts.holding(path)
        if below.isEmpty { return .directory }
        switch mount.kind {
        case .overlay(let lowers, _): return find(below, in: lowers).kind
        case .bind(let source, _): return Self.kind("\(source)/\(below.joined(separator: "/"))")
        case .tmpfs, .writable: return .missing
        }
    }

    /// The topmost of the lower directories' entries, as overlayfs merges them.
    func find(_ names: [Substring], in lowers: [String]) -> (kind: PlaceKind, path: String) {
        for lower in lowers {
            var path = lower
            var covers = false
            for (index, name) in names.enumerated() {
                path += "/\(name)"
                guard let status = try? FileStatus(path, follow: false) else { break }
                // A whiteout is a character device with the number 0:0.
                if status.mode & S_IFMT == S_IFCHR, status.deviceNumber == 0 { return (.missing, path) }
                if index == names.count - 1 { return (Self.kind(path), path) }
                if !status.isDirectory { return (.missing, path) }
                covers = covers || Self.isOpaque(path)
            }
            if covers { break }
        }
        return (.missing, "")
    }

    private static func kind(_ path: String) -> PlaceKind {
        guard let status = try? FileStatus(path, follow: false) else { return .missing }
        switch status.mode & S_IFMT {
        case S_IFDIR: return .directory
        case S_IFLNK:
            var target = [CChar](repeating: 0, count: Int(PATH_MAX) + 1)
            let length = readlink(path, &target, Int(PATH_MAX))
            guard length > 0 else { return .file }
            return .link(String(decoding: target[..<length].map { UInt8(bitPattern: $0) }, as: UTF8.self))
        default: return .file
        }
    }

    private static func isOpaque(_ path: String) -> Bool {
        var value: UInt8 = 0
        return lgetxattr(path, "trusted.overlay.opaque", &value, 1) == 1 && value == UInt8(ascii: "y")
    }
}
