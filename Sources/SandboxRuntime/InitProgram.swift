import Glibc
import LinuxSystem

/// ckpt-init: found beside the binary, and kept in the store for as long as a snapshot may need it.
///
/// A process image refers to the very file its processes executed, so a store keeps each version of PID 1 it has
/// ever used, under `ROOT/init/ID`.
public struct InitProgram: Sendable {
    /// The version new sandboxes start with: a fingerprint of its bytes, 16 hex digits.
    public let currentID: String
    private let directory: String

    /// Finds ckpt-init and keeps it in the store.
    ///
    /// `CKPT_INIT` overrides the places beside `executable`.
    public init(executable: String, stateRoot: String, override: String?) throws(RuntimeError) {
        let folder = executable.lastIndex(of: "/").map { String(executable[..<$0]) } ?? "."
        let places =
            override.map { [$0] } ?? [
                "\(folder)/libexec/ckpt/ckpt-init", "\(folder)/../libexec/ckpt/ckpt-init",
                "\(folder)/../../libexec/ckpt/ckpt-init",
            ]
        guard let found = places.first(where: { (try? FileStatus($0))?.isRegular == true }) else {
            throw .noInit(searched: places)
        }
        directory = "\(stateRoot)/init"
        let bytes = try system { () throws(SystemError) in try Files.read(found) }
        currentID = Self.fingerprint(bytes)
        let kept = "\(directory)/\(currentID)"
        if (try? FileStatus(kept))?.size == Int64(bytes.count) { return }
        try system { () throws(SystemError) in
            try Files.makeDirectory("\(stateRoot)/init")
            try Files.replace(kept, bytes, mode: 0o700)
        }
    }

    /// The program of that version.
    func bytes(id: String) throws(RuntimeError) -> [UInt8] {
        try system { () throws(SystemError) in try Files.read("\(directory)/\(id)") }
    }

    /// The versions that are kept.
    public var keptIDs: [String] { ((try? Files.names(in: directory)) ?? []).sorted() }

    /// What is wrong with a kept version; nil when nothing is.
    public func damage(id: String) -> String? {
        do throws(SystemError) {
            let bytes = try Files.read("\(directory)/\(id)")
            return Self.problem(of: bytes, id: id)
        } catch {
            return error.code == ENOENT ? "is missing" : "cannot be read: \(error.reason)"
        }
    }

    /// What is wrong with the bytes of a version; nil when nothing is.
    public static func problem(of bytes: [UInt8], id: String) -> String? {
        fingerprint(bytes) == id ? nil : "has other content than its name says"
    }

    /// FNV-1a, 64 bits: tells builds of ours apart; no defence against forgery is meant.
    private static func fingerprint(_ bytes: [UInt8]) -> String {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        let digits = String(hash, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}
