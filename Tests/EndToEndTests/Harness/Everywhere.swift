import Foundation
import Messages
import Testing

/// Gives the body a `ckpt` and a directory of the host beside its root, filled by a script and gone afterwards.
func withHost(_ script: String, _ body: (Ckpt, String) throws -> Void) throws {
    // Gone after the last look at the snapshots, which need their base.
    var host: String?
    defer { if let host { try? FileManager.default.removeItem(atPath: host) } }
    try withCkpt { ckpt in
        let directory = ckpt.root + "-host"
        host = directory
        let made = try run(["bash", "-ec", "mkdir -p \"$1\"; cd \"$1\"; \(script)", "bash", directory])
        guard made.status == 0 else { throw HarnessError("the host's files: \(made)") }
        try body(ckpt, directory)
    }
}

/// Looks at a sandbox and at what comes of it: after a save, a restore, in a fork and in the generation after. Returns
/// the fork.
@discardableResult
func everywhere(_ box: Sandbox, _ look: (Sandbox, String) throws -> Void) throws -> Sandbox {
    try look(box, "at first")
    let snapshot = try box.save()
    try look(box, "after the save")
    try box.restore(snapshot)
    try look(box, "after the restore")
    let fork = try box.ckpt.fork(snapshot)[0]
    try look(fork, "in the fork")
    try fork.restore(try fork.save())
    try look(fork, "in the fork's restore")
    let spec = try box.info().spec
    #expect(try box.ckpt.show(snapshot).spec == spec, "show tells another spec")
    #expect(try fork.info().spec == spec)
    return fork
}
