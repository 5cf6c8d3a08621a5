import Glibc
import LinuxSystem
public import Messages

/// A base made ready for mounting, and what a spec mounts beside it.
public struct BaseView: Sendable, Hashable {
    /// What the root is made of, in an order in which it can be mounted; the root itself first.
    public internal(set) var mounts: [RootMount]
    /// A read-only sysfs to bind on /sys, which shows loopback and no other network device.
    public let sysfs: String
    /// What hides or locks parts of /proc and /sys.
    public internal(set) var masks: [PathMask] = []
    /// What is put into a fresh writable layer.
    var additions = Additions()

    init(parts: [RootMount], sysfs: String) {
        mounts = parts
        self.sysfs = sysfs
    }

    /// The overlays, the root itself first.
    public var parts: [RootMount] { mounts.filter(\.isOverlay) }

    /// The view with just the parts of the given paths; nil when it has not all of them.
    public func keeping(_ paths: [String]) -> BaseView? {
        let kept = parts.filter { paths.contains($0.path) }
        return kept.count == paths.count ? BaseView(parts: kept, sysfs: sysfs) : nil
    }
}

/// The bases, made ready once a server and shared by all of its sandboxes.
///
/// The host's root cannot be one lower directory: overlayfs refuses a lower directory inside another
/// (fs/overlayfs/super.c, ovl_check_overlapping_layers), and the store's layers usually lie on the host's root
/// filesystem; an overlay of an overlay shows mapped files under a mount that CRIU cannot find. So each directory
/// of programs is an overlay of its own, and the top level is ours.
public final class BaseViews: Sendable {
    let workspace: String
    let stateRoot: String
    private let initProgram: InitProgram
    private let sysfs: String
    /// What Docker hides or locks below /proc and /sys, as far as this kernel has it.
    let masks: [PathMask]
    /// An empty directory on which a new sandbox attaches its root for a moment, in its own mount namespace.
    public let staging: String
    private let made = Monitor<[String: BaseView]>([:])
    /// The layers that hide what may not be read, by base and what may.
    let hiding = Monitor<[String: String]>([:])

    /// Top-level directories of the host that hold programs; where they are symbolic links they stay links.
    static let programs = [
        "bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "etc", "opt", "nix", "gnu",
    ]

    /// `workspace` is a tmpfs of the server's own; `stateRoot` is the store.
    public init(workspace: String, stateRoot: String, initProgram: InitProgram) throws(RuntimeError) {
        self.workspace = workspace
        self.stateRoot = stateRoot
        self.initProgram = initProgram
        sysfs = "\(workspace)/sys"
        let staging = "\(workspace)/new-root"
        self.staging = staging
        try system { () throws(SystemError) in try Files.makeDirectory(staging) }
        try SandboxNetwork.mountSysfs(at: sysfs)
        masks = try PathMask.prepare(in: workspace, sysfs: sysfs)
    }

    /// The base under PID 1 of the given version.
    public func view(of base: Base, initID: String) throws(RuntimeError) -> BaseView {
        let path = try Self.path(of: base)
        return try made.with { (made) throws(RuntimeError) -> BaseView in
            let key = "\(base == .host ? "host" : path) \(initID)"
            if let view = made[key] { return view }
            let directory = "\(workspace)/skeleton-\(made.count)"
            let program = try initProgram.bytes(id: initID)
            let parts =
                base == .host
                ? try hostParts(skeleton: directory, program: program)
                : try directoryParts(path, skeleton: directory, program: program)
            let view = BaseView(parts: parts, sysfs: sysfs)
            made[key] = view
            return view
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

    private func directoryParts(
        _ base: String, skeleton: String, program: [UInt8]
    ) throws(RuntimeError) -> [RootMount] {
        let root = try system { () throws(SystemError) in try Files.canonical(stateRoot) }
        if base == "/" || root == base || root.hasPrefix(base + "/") {
            throw .noBase(
                path: base, reason: "the store \(root) lies inside it; use --base host, or another --root")
        }
        try system { () throws(SystemError) in
            try Files.makeDirectory(skeleton, mode: 0o755)
            let layer = Skeleton(directory: skeleton)
            try layer.buildCommon(initProgram: program)
            try layer.completeDirectory(base)
        }
        return [.part("", lowers: [skeleton, base])]
    }

    private func hostParts(skeleton: String, program: [UInt8]) throws(RuntimeError) -> [RootMount] {
        var paths = Self.programs.filter { (try? FileStatus("/\($0)", follow: false))?.isDirectory == true }
        // The package database belongs to the programs, wherever it is kept.
        paths += ["var/lib/dpkg", "var/lib/rpm"].filter { (try? FileStatus("/\($0)"))?.isDirectory == true }
        let parts = paths
        try system { () throws(SystemError) in
            for name in ["root", "etc"] { try Files.makeDirectory("\(skeleton)/\(name)", mode: 0o755) }
            let root = Skeleton(directory: "\(skeleton)/root")
            try root.buildCommon(initProgram: program)
            try root.imitateHost(parts: parts)
            try Skeleton(directory: "\(skeleton)/etc").maskSecrets()
        }
        return [.part("", lowers: ["\(skeleton)/root"])]
            + parts.map { .part($0, lowers: ($0 == "etc" ? ["\(skeleton)/etc"] : []) + ["/\($0)"]) }
    }
}
