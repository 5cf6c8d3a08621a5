import Foundation
import Testing

/// The repository this test was built from.
private let repository = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

/// Runs a program to its end: its exit code, and what it wrote to stdout and stderr.
private func run(_ path: String, _ arguments: [String]) throws -> (status: Int32, output: String) {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: path)
    process.arguments = arguments
    process.standardInput = FileHandle.nullDevice
    let pipe = Pipe()
    process.standardOutput = pipe
    process.standardError = pipe
    try process.run()
    let output = try pipe.fileHandleForReading.readToEnd() ?? Data()
    process.waitUntilExit()
    return (process.terminationStatus, String(decoding: output, as: UTF8.self))
}

private func script(_ name: String, _ arguments: String...) throws -> (status: Int32, output: String) {
    try run("\(repository.path)/scripts/\(name)", arguments)
}

@Suite struct ProductScripts {
    @Test func mainJobKeepsEveryStateInMemory() throws {
        let (status, output) = try script("main-job")
        #expect(status == 0, "\(output)")
        #expect(output.contains("checks passed"))
    }

    @Test func everyExampleOfTheReadmePrintsWhatItSays() throws {
        let (status, output) = try script("test-readme")
        #expect(status == 0, "\(output)")
    }

    /// Each save that has returned is there after a power cut, whole, on three filesystems.
    @Test func powerCutsLeaveEverySnapshotWholeOrAbsent() throws {
        let (status, output) = try script("power-loss", "--rounds", "2", "--seed", "1")
        #expect(status == 0, "\(output)")
        #expect(output.contains("every promise kept"))
    }

    @Test func powerCutsOfAStoreThatIsNeverFlushedLeaveNothingHalfMade() throws {
        let (status, output) = try script(
            "power-loss", "--rounds", "2", "--seed", "2", "--durability", "none", "--filesystems", "ext4,xfs")
        #expect(status == 0, "\(output)")
    }

    /// A disk, a tmpfs, inodes and a quota used up, and a filesystem that turned read-only.
    @Test func storesWithoutRoomRefuseAndGoOn() throws {
        let (status, output) = try script("full-disk", "--verbose")
        #expect(status == 0, "\(output)")
        #expect(output.contains("every store is whole"))
    }

    @Test func damageIsFoundAndNamed() throws {
        let (status, output) = try script("damage", "--rounds", "8", "--seed", "3", "--verbose")
        #expect(status == 0, "\(output)")
        #expect(output.contains("all damage found and named"))
    }

    /// The page has every figure of a run, and the chart is an XML document.
    @Test func benchmarkWritesAPageAndAChart() throws {
        let out = FileManager.default.temporaryDirectory.appendingPathComponent("ckpt-page-\(UUID())")
        defer { try? FileManager.default.removeItem(at: out) }
        let (status, output) = try script(
            "bench", "--no-peers", "--note", "One pass.", "--out", out.path, "--", "--passes", "1", "--only",
            "create", "--only", "rm", "--only", "chain-1", "--only", "chain-10")
        try #require(status == 0, "\(output)")
        let page = try String(contentsOf: out.appendingPathComponent("performance.md"), encoding: .utf8)
        for words in ["| `create` |", "| `rm` |", "A chain 10 deep", "## How cost grows", "- One pass."] {
            #expect(page.contains(words), "\(words)")
        }
        let host = ProcessInfo.processInfo.hostName
        #expect(host == "localhost" || !page.contains(host), "it names no host")
        let chart = try run(
            "/usr/bin/python3",
            [
                "-c",
                "import sys, xml.dom.minidom as m; print(len(m.parse(sys.argv[1]).getElementsByTagName('rect')))",
                out.appendingPathComponent("performance.svg").path,
            ])
        #expect(chart.status == 0 && Int(chart.output.dropLast()) ?? 0 > 3, "\(chart)")
        // The same page comes from the figures alone.
        let again = out.appendingPathComponent("again")
        let source = out.appendingPathComponent("performance.json").path
        #expect(try script("bench", "--from", source, "--out", again.path).status == 0)
        #expect(
            try String(contentsOf: again.appendingPathComponent("performance.md"), encoding: .utf8) == page)
    }
}

/// The checks find what they are there to find.
@Suite struct CheckingScripts {
    private let temporary = FileManager.default.temporaryDirectory

    /// Runs `check-levels` in a repository with the level table, the script and one file.
    private func checked(_ path: String, _ text: String) throws -> (status: Int32, output: String) {
        let directory = temporary.appendingPathComponent("ckpt-levels-\(UUID())")
        defer { try? FileManager.default.removeItem(at: directory) }
        func write(_ content: Data, to name: String) throws {
            let file = directory.appendingPathComponent(name)
            try FileManager.default.createDirectory(
                at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
            try content.write(to: file)
        }
        for name in ["docs/architecture.md", "scripts/check-levels"] {
            try write(try Data(contentsOf: repository.appendingPathComponent(name)), to: name)
        }
        try write(Data(text.utf8), to: path)
        let (status, output) = try run("/usr/bin/git", ["init", "-q", directory.path])
        try #require(status == 0, "\(output)")
        return try run("/usr/bin/python3", ["\(directory.path)/scripts/check-levels"])
    }

    @Test func aCleanRepositoryPasses() throws {
        let text = "import Glibc\npublic import LinuxSystem\n"
        let (status, output) = try checked("Sources/Criu/Worker.swift", text)
        #expect(status == 0, "\(output)")
    }

    @Test(arguments: [
        ("import Checkpointing\n", "Criu (level 2) imports Checkpointing (level 3)"),
        ("@testable import SnapshotTree\n", "Criu (level 2) imports SnapshotTree (level 2)"),
        ("internal import struct Server.Route\n", "Criu (level 2) imports Server (level 4)"),
        ("import Foundation\n", "imports Foundation, which is neither"),
        ("func save() async {}\n", "uses Swift concurrency (async)"),
        ("let path = \"/" + "Users/ann/x\"\n", "a path of one machine"),
    ])
    func aBreachIsNamed(text: String, message: String) throws {
        let (status, output) = try checked("Sources/Criu/Worker.swift", text)
        #expect(status == 1)
        #expect(output.contains(message), "\(output)")
    }

    @Test func aTargetMissingFromTheTableIsNamed() throws {
        let (status, output) = try checked("Sources/Extra/Extra.swift", "")
        #expect(status == 1)
        #expect(output.contains("Sources/Extra: missing from the table"), "\(output)")
    }

    @Test(arguments: [
        ("$ echo one two\none …\n", 0), ("$ seq 9\n1\n…\n9\n", 0), ("$ echo one\ntwo\n", 1),
        ("$ seq 3\n1\n2\n", 1),
    ])
    func readmeExamplesAreCompared(example: String, expected: Int32) throws {
        let file = temporary.appendingPathComponent("ckpt-example-\(UUID()).md")
        defer { try? FileManager.default.removeItem(at: file) }
        try Data("```console\n\(example)```\n".utf8).write(to: file)
        let (status, output) = try script("test-readme", file.path)
        #expect(status == expected, "\(output)")
    }
}
