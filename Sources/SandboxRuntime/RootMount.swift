/// One mount of a sandbox's root filesystem.
public struct RootMount: Sendable, Hashable {
    /// What is mounted.
    public enum Kind: Sendable, Hashable {
        /// An overlay with a writable layer of the sandbox's own over the directories given, topmost first.
        case overlay(lowers: [String], readOnly: Bool)
        /// A directory or file of the host.
        case bind(source: String, readOnly: Bool)
        /// Memory: at most `size` bytes (half of the machine's when nil), its root with permission bits `mode`.
        case tmpfs(size: Int64?, mode: UInt32, exec: Bool)
        /// What lies there anyway, where it may be written though what is around it may not.
        case writable
    }

    /// Where it lies below the root, without symbolic links: empty for the root itself, else for example `usr`.
    public let path: String
    /// Its name for CRIU; of an overlay and a tmpfs also the name of its directory in every upper and layer.
    public let key: String
    public let kind: Kind

    init(path: String, key: String, kind: Kind) {
        (self.path, self.key, self.kind) = (path, key, kind)
    }

    /// The base's directories that an overlay starts from; none for another mount.
    public var lowers: [String] {
        if case .overlay(let lowers, _) = kind { lowers } else { [] }
    }

    public var isOverlay: Bool {
        if case .overlay = kind { true } else { false }
    }

    public var isTmpfs: Bool {
        if case .tmpfs = kind { true } else { false }
    }

    /// Part of the path, by `/`.
    var names: [Substring] { path.split(separator: "/") }

    /// The rest of `path`, which lies in this mount or below; nil where it does not.
    func below(_ path: String) -> [Substring]? {
        let (own, names) = (names, path.split(separator: "/"))
        return names.starts(with: own) ? Array(names.dropFirst(own.count)) : nil
    }
}

extension RootMount {
    /// A part of a base. Its key is `root`, `usr`, `var+lib+dpkg`.
    static func part(_ path: String, lowers: [String]) -> RootMount {
        let key = path.isEmpty ? "root" : path.split(separator: "/").joined(separator: "+")
        return RootMount(path: path, key: key, kind: .overlay(lowers: lowers, readOnly: false))
    }

    /// A key of a mount that is no part of the base: unlike each of those, and told by kind and path alone, so that it
    /// is the same at every restore.
    static func key(_ kind: String, _ path: String) -> String {
        let plain = path.replacing("%", with: "%25").replacing("+", with: "%2B")
        return "\(kind)+" + plain.split(separator: "/").joined(separator: "+")
    }
}

extension [RootMount] {
    /// The mount that a path lies in: the deepest that begins it.
    func holding(_ path: String) -> (mount: RootMount, below: [Substring]) {
        let candidates = compactMap { mount in mount.below(path).map { (mount: mount, below: $0) } }
        return candidates.min { $0.below.count < $1.below.count }!
    }

    /// The order they can be mounted in: what lies in another after that.
    func byDepth() -> [RootMount] {
        enumerated().sorted { ($0.element.names.count, $0.offset) < ($1.element.names.count, $1.offset) }
            .map(\.element)
    }
}
