import Foundation
import Testing

/// A filesystem on a sparse file of its own, mounted for the while.
struct LoopFilesystem {
    let image: String
    let point: String

    /// Makes and mounts one of `kind`, gives it to `body`, and takes it away.
    static func with(_ kind: String, megabytes: Int, _ body: (LoopFilesystem) throws -> Void) throws {
        let directory = try run(["mktemp", "-d", "/tmp/ckpt-loop-XXXXXX"]).line
        let made = LoopFilesystem(image: "\(directory)/image", point: "\(directory)/mnt")
        defer { try? FileManager.default.removeItem(atPath: directory) }
        try FileManager.default.createDirectory(atPath: made.point, withIntermediateDirectories: true)
        for command in [
            ["truncate", "-s", "\(megabytes)M", made.image], ["mkfs.\(kind)", "-q", made.image],
            ["mount", "-o", "loop", made.image, made.point],
        ] {
            let result = try run(command)
            guard result.status == 0 else { throw HarnessError("\(command): \(result)") }
        }
        defer {
            #expect(eventually { (try? run(["umount", made.point]).status) == 0 }, "\(made.point) stays")
        }
        try body(made)
    }

    /// Bytes that are taken once everything has been written back.
    func used() throws -> Int {
        _ = try run(["sync", "-f", point])
        return try Int(run(["df", "--output=used", "-B1", point]).lines.last ?? "") ?? 0
    }
}

/// Whether blocks of a file are shared with another one (FIEMAP).
func sharesBlocks(_ path: String) throws -> Bool {
    let extents = try run(["filefrag", "-v", path])
    guard extents.status == 0 else { throw HarnessError("filefrag: \(extents)") }
    return extents.stdout.contains("shared")
}
