import CCrypto
import Glibc
import LinuxSystem

/// SHA-256 digests of files, each computed once while the file stays the same.
final class DigestCache: Sendable {
    static let shared = DigestCache()

    /// What tells one state of a file from another without reading it.
    private struct Identity: Hashable {
        let device: dev_t
        let inode: ino_t
        let size: off_t
        let seconds: Int
        let nanoseconds: Int
    }

    private let known = Monitor<[Identity: String]>([:])

    /// The digest of the file at `path` in lower-case hexadecimal.
    func sha256(of path: String) throws(SystemError) -> String {
        let file = try Descriptor.open(path, O_RDONLY)
        var status = stat()
        try retrying("fstat", path) { fstat(file.raw, &status) }
        let identity = Identity(
            device: status.st_dev, inode: status.st_ino, size: status.st_size,
            seconds: status.st_mtim.tv_sec, nanoseconds: status.st_mtim.tv_nsec)
        if let digest = known.with({ $0[identity] }) { return digest }
        let digest = try hash(file)
        known.with { $0[identity] = digest }
        return digest
    }

    private func hash(_ file: borrowing Descriptor) throws(SystemError) -> String {
        let context = EVP_MD_CTX_new()
        defer { EVP_MD_CTX_free(context) }
        precondition(EVP_DigestInit_ex(context, EVP_sha256(), nil) == 1, "libcrypto has no SHA-256")
        while true {
            let part = try file.read(upTo: 1 << 20)
            if part.isEmpty { break }
            precondition(EVP_DigestUpdate(context, part, part.count) == 1)
        }
        var digest = [UInt8](repeating: 0, count: 32)
        precondition(EVP_DigestFinal_ex(context, &digest, nil) == 1)
        return digest.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
}
