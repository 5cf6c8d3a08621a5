import Glibc
import LinuxSystem
public import Messages

/// The lower directories that stand for a base, made ready once a server and shared by all of its sandboxes.
public final class BaseViews: Sendable {
    private let workspace: String
    private let stateRoot: String
    private let initProgram: InitProgram
    private let made = Monitor<[String: [String]]>([:])

    /// `workspace` is a tmpfs of the server's own; `stateRoot` is hidden from the host base.
    public init(workspace: String, stateRoot: String, initProgram: InitProgram) {
        self.workspace = workspace
        self.stateRoot = stateRoot
        self.initProgram = initProgram
    }

    /// The lower directories for `base` under PID 1 of the given version, topmost first.
    public func lowers(for base: Base, initID: String) throws(RuntimeError) -> [String] {
        let path = try Self.path(of: base)
        return try made.with { (made) throws(RuntimeError) -> [String] in
            let key = "\(base == .host ? "host" : "dir") \(path) \(initID)"
            if let lowers = made[key] { return lowers }
            let number = made.count
            let lowers = try build(path, masksHost: base == .host, initID: initID, number: number)
            made[key] = lowers
            return lowers
        }
    }

    /// The base's directory, resolved; an error where it is none.
    public static func path(of base: Base) throws(RuntimeError) -> String {
        guard case .directory(let given) = base else { return "/" }
        guard given.hasPrefix("/") else { throw .noBase(path: given, reason: "the path is not absolute") }
        let resolved: String
        do { resolved = try Files.canonical(given) } catch {
            throw .noBase(path: given, reason: error.reason)
        }
        guard (try? FileStatus(resolved))?.isDirectory == true else {
            throw .noBase(path: given, reason: "it is not a directory")
        }
        return resolved
    }

    private func build(
        _ base: String, masksHost: Bool, initID: String, number: Int
    ) throws(RuntimeError) -> [String] {
        let skeleton = "\(workspace)/skeleton-\(number)"
        let program = try initProgram.bytes(id: initID)
        return try system { () throws(SystemError) -> [String] in
            try Files.makeDirectory(skeleton, mode: 0o755)
            try Skeleton(directory: skeleton, base: base, masksHost: masksHost || base == "/")
                .build(initProgram: program, stateRoot: stateRoot)
            guard try isAncestor(base) else { return [skeleton, base] }
            // overlayfs refuses a lower directory inside another one (fs/overlayfs/super.c,
            // ovl_check_overlapping_layers), and our layers lie inside this base. An overlay of its own gives the
            // base another superblock, which has no such ancestry.
            let view = "\(workspace)/view-\(number)"
            try Files.makeDirectory(view, mode: 0o755)
            try Mount.overlay(lowers: [skeleton, base], at: view, inodes: true)
            return [view]
        }
    }

    /// Whether the store lies inside the base, on the same filesystem.
    private func isAncestor(_ base: String) throws(SystemError) -> Bool {
        let root = try Files.canonical(stateRoot)
        guard base == "/" || root == base || root.hasPrefix(base + "/") else { return false }
        return try FileStatus(base).device == FileStatus(root).device
    }
}
