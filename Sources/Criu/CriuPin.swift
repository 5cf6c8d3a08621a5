/// The one CRIU that ckpt is built and tested with; `criu-images/PIN` says the same to the scripts.
public enum CriuPin {
    /// Its version, as it names itself.
    public static let version = CriuVersion(major: 4, minor: 2, sublevel: 0)
    /// The SHA-256 of the binary, in lower-case hexadecimal.
    public static let sha256 = "9553f98b36570c7a9d7ca69b71e11332c454eb9815cff66b5ecc256f82c0614e"
}

/// A version of CRIU.
public struct CriuVersion: Equatable, Sendable, CustomStringConvertible {
    public let major: Int32
    public let minor: Int32
    public let sublevel: Int32

    public var description: String { sublevel == 0 ? "\(major).\(minor)" : "\(major).\(minor).\(sublevel)" }
}
