import Glibc

/// The CRIU program to run, checked before it is ever started.
public struct CriuBinary: Equatable, Sendable {
    /// Where it is, absolute.
    public let path: String
    /// Whether its SHA-256 is the pinned one; false only for a binary named by `CKPT_CRIU`.
    public let isPinned: Bool

    /// Finds CRIU and checks it.
    ///
    /// `CKPT_CRIU` names any binary, whose digest is then not asked for. Otherwise it is
    /// `libexec/ckpt/criu` beside the program's directory, in it, or one further up, and must have the pinned digest.
    /// Throws `CriuError` with `.binaryMissing` or `.binaryWrong`.
    public static func find() throws(CriuError) -> CriuBinary {
        if let named = getenv("CKPT_CRIU").map({ String(cString: $0) }), !named.isEmpty {
            guard access(named, X_OK) == 0 else {
                throw CriuError(.binaryMissing, "CKPT_CRIU names \(named), which is not an executable file")
            }
            return CriuBinary(path: absolute(named), isPinned: false)
        }
        let directory = programDirectory
        // The last one is for a build directory, .build/TRIPLE/release, whose CRIU all configurations share.
        let places = ["..", ".", "../.."].map { "\(directory)/\($0)/libexec/ckpt/criu" }
        guard let path = places.first(where: { access($0, F_OK) == 0 }) else {
            throw CriuError(
                .binaryMissing, "the bundled CRIU is not at \(places[0])",
                hint: "run scripts/fetch-criu, or set CKPT_CRIU to a CRIU \(CriuPin.version) binary")
        }
        return try CriuBinary(checking: path)
    }

    /// Takes the binary at `path` if it has the pinned digest.
    ///
    /// A file that passed once is taken again without reading it while its inode, size and time are the same.
    public init(checking path: String) throws(CriuError) {
        let digest: String
        do {
            digest = try DigestCache.shared.sha256(of: path)
        } catch {
            throw CriuError(.binaryMissing, "\(path) cannot be read", cause: error)
        }
        guard digest == CriuPin.sha256 else {
            throw CriuError(
                .binaryWrong, "\(path) is not CRIU \(CriuPin.version) as pinned: its SHA-256 is \(digest)",
                hint: "run scripts/fetch-criu")
        }
        guard access(path, X_OK) == 0 else {
            throw CriuError(.binaryWrong, "\(path) is not executable", hint: "run scripts/fetch-criu")
        }
        self.init(path: absolute(path), isPinned: true)
    }

    init(path: String, isPinned: Bool) {
        self.path = path
        self.isPinned = isPinned
    }
}

/// The directory this program lies in, with symbolic links resolved; looked up once, as an upgrade that replaces the
/// program leaves a running one without a name.
private let programDirectory: String = {
    let program = absolute("/proc/self/exe")
    return program.lastIndex(of: "/").map { String(program[..<$0]) } ?? "."
}()

private func absolute(_ path: String) -> String {
    guard let resolved = realpath(path, nil) else { return path }
    defer { free(resolved) }
    return String(cString: resolved)
}
