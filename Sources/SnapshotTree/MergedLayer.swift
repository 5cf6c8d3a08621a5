import Digests
import Glibc
import LinuxSystem

/// A layer that was made of others and shows what they show, one over the other.
///
/// Kept as `merges/ID` beside the layer: text, sealed by a digest of its own.
struct MergedLayer: Equatable, Sendable {
    /// The layer's id.
    let id: String
    /// 1 where it was made of layers that snapshots brought, one more than its parts' else.
    let level: Int
    /// The layers it was made of, lowest first.
    let parts: [String]
    /// The digest of the layer's digest list.
    let digest: Digest
    /// Bytes on disk, files that the parts have too included.
    let bytes: Int64

    private static let heading = "ckpt merge 1"

    /// The file's bytes.
    var encoded: [UInt8] {
        let text = """
            \(Self.heading)
            id \(id)
            level \(level)
            digest \(digest)
            bytes \(bytes)
            parts \(parts.joined(separator: " "))

            """
        return Array((text + "sealed \(Digest(of: Array(text.utf8)))\n").utf8)
    }

    init(id: String, level: Int, parts: [String], digest: Digest, bytes: Int64) {
        (self.id, self.level, self.parts, self.digest, self.bytes) = (id, level, parts, digest, bytes)
    }

    /// Reads what `encoded` wrote; nil for anything else.
    init?(_ stored: [UInt8]) {
        let lines = String(decoding: stored, as: UTF8.self).split(separator: "\n")
            .map { $0.split(separator: " ").map(String.init) }
        guard lines.count == 7, lines[1...4].allSatisfy({ $0.count == 2 }), lines[5].count > 2,
            let level = Int(lines[2][1]), let digest = Digest(lines[3][1]), let bytes = Int64(lines[4][1])
        else { return nil }
        self.init(
            id: lines[1][1], level: level, parts: Array(lines[5].dropFirst()), digest: digest, bytes: bytes)
        guard ([id] + parts).allSatisfy(Identifier.isValid), encoded == stored else { return nil }
    }
}

extension Layout {
    func mergePath(_ id: String) -> String { "\(root)/merges/\(id)" }

    /// Has every merged layer stand for nothing: its parts serve again.
    func forgetMerges() throws(SystemError) {
        for name in try DirectoryEntries(of: self.merges).names() { unlinkat(self.merges.raw, name, 0) }
    }

    /// Reads what is known of merged layers; files that name none, or cannot be read, go, and are named.
    ///
    /// A merged layer whose file is gone is a layer like any other: only what could use it instead of its parts does
    /// not find it any more.
    func readMerges() throws(SystemError) -> (merges: [MergedLayer], removed: [String]) {
        var (merges, removed): ([MergedLayer], [String]) = ([], [])
        for name in try DirectoryEntries(of: self.merges).names() {
            if let stored = try? Files.read(mergePath(name)), let merge = MergedLayer(stored),
                merge.id == name,
                faccessat(layers.raw, name, F_OK, 0) == 0
            {
                merges.append(merge)
            } else {
                unlinkat(self.merges.raw, name, 0)
                removed.append(name)
            }
        }
        return (merges, removed.sorted())
    }
}
