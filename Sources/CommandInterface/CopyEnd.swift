/// One end of `ckpt cp`.
public enum CopyEnd: Equatable, Sendable {
    /// A path of this machine.
    case here(String)
    /// An absolute path inside a sandbox.
    case inside(sandbox: String, path: String)
    /// A tar stream on stdin or stdout.
    case stream

    /// Reads `NAME:PATH`, a path, or `-`; a local path with a colon is written with `./` before it.
    public init(_ word: String) throws(UsageError) {
        if word == "-" {
            self = .stream
            return
        }
        guard !word.hasPrefix("/"), !word.hasPrefix("."), let colon = word.firstIndex(of: ":") else {
            self = .here(word)
            return
        }
        let name = String(word[..<colon])
        let path = String(word[word.index(after: colon)...])
        guard isName(name) else {
            throw UsageError(
                "bad sandbox name '\(name)' in '\(word)'", command: "cp", suggestion: "'./\(word)'")
        }
        guard path.hasPrefix("/") else {
            let meant = "'\(name):/\(path)'"
            throw UsageError(
                "bad path '\(path)' in '\(word)': a path inside a sandbox starts with /", command: "cp",
                suggestion: meant)
        }
        self = .inside(sandbox: name, path: path)
    }
}

/// A path taken apart as `cp` needs it.
public struct CopyPath: Equatable, Sendable {
    /// The path without what `/` and `/.` say at its end; `/` for the root.
    public let path: String
    /// Whether it ended in `/.`: what the directory contains is meant.
    public let contentsOnly: Bool
    /// Whether it ended in a slash: it has to be a directory.
    public let mustBeDirectory: Bool

    /// Takes a path apart.
    public init(_ text: String) {
        var path = text
        let contents = path == "." || path.hasSuffix("/.")
        mustBeDirectory = contents || path.hasSuffix("/")
        if path.hasSuffix("/.") { path.removeLast() }
        while path.count > 1, path.hasSuffix("/") { path.removeLast() }
        contentsOnly = contents || path == "/"
        self.path = path
    }

    /// The last component; empty when it has none that could name a copy (`/`, `.` and `..`).
    public var name: String {
        let last = path.split(separator: "/").last.map(String.init) ?? ""
        return last == "." || last == ".." ? "" : last
    }

    /// The path without its last component: `/` or `.` where nothing is left.
    public var parent: String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }
}
