import Glibc
import LinuxSystem
import Messages

@testable import SnapshotTree

/// A directory of its own for one test, removed with all below it when the test is over.
final class TemporaryStore: Sendable {
    let path: String
    var root: String { "\(path)/root" }

    init() throws {
        var template = Array("/tmp/snapshot-tree-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw SystemError.last("mkdtemp") }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit {
        _ = try? TreeRemoval.remove(
            String(path.dropFirst("/tmp/".count)), below: Descriptor.directory("/tmp"))
    }

    func open(
        _ durability: Durability = .none,
        step: @escaping PublishHook = { (_) throws(SnapshotTreeError) in }
    ) throws -> SnapshotTree {
        try SnapshotTree(root: root, durability: durability, step: step)
    }

    /// A file's path below this directory, with the directories above it made.
    @discardableResult
    func write(_ relative: String, _ text: String) throws -> String {
        let file = "\(path)/\(relative)"
        try writeFile(file, text)
        return file
    }
}

/// Notes what a piece of work tells of itself.
final class WatchedWork: Sendable {
    private let parts = Monitor<[(phase: String, unit: ProgressUnit, done: WorkCount, total: Int64?)]>([])

    var watch: WorkWatch {
        { phase, unit, done, total in self.parts.with { $0.append((phase, unit, done, total)) } }
    }

    /// Each part, with how much of it was done in the end.
    var told: [String] {
        parts.with { parts in
            parts.map { "\($0.phase): \($0.done.value) of \($0.total ?? -1) \($0.unit.rawValue)" }
        }
    }
}

func writeFile(_ path: String, _ text: String) throws {
    var directory = ""
    for part in path.split(separator: "/").dropLast() {
        directory += "/\(part)"
        mkdir(directory, 0o755)
    }
    try Descriptor.open(path, O_WRONLY | O_CREAT | O_TRUNC, mode: 0o644).writeAll(Array(text.utf8))
}

func readFile(_ path: String) throws -> String {
    String(decoding: try Descriptor.open(path, O_RDONLY).readAll(), as: UTF8.self)
}

func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

func names(in directory: String) throws -> [String] {
    try DirectoryEntries(of: Descriptor.directory(directory)).names().sorted()
}

func draft(
    parent: SnapshotInfo? = nil, sandbox: String = "box", created: Double = 1_700_000_000
) -> Manifest {
    Manifest(
        parent: parent?.id, sandbox: sandbox, created: created, message: "a message",
        spec: SandboxSpec(env: ["A": "1"]), layers: parent?.layers ?? [], processes: 2,
        timings: Timings(totalMs: 12.5), architecture: "x86_64", kernel: "6.18", criu: "4.2",
        engine: #"{"x":1}"#)
}

extension SnapshotTree {
    /// Publishes a snapshot with one image file and, where `layer` is given, a layer of one file.
    @discardableResult
    func publish(
        parent: SnapshotInfo? = nil, layer: String? = nil, tag: String? = nil,
        created: Double = 1_700_000_000
    ) throws -> SnapshotInfo {
        let staging = try stage()
        try writeFile("\(staging.processPath)/core-1.img", "image")
        if let layer {
            try staging.makeLayer()
            try writeFile("\(staging.layerPath)/file", layer)
        }
        return try publish(staging, manifest: draft(parent: parent, created: created), tag: tag)
    }
}
