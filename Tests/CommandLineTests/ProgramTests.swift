import Foundation
import Testing

/// Every command that `ckpt help` lists.
private let commandNames: [String] = {
    let overview = (try? CkptProgram.call("help").output) ?? ""
    return overview.split(separator: "\n").compactMap { line in
        let words = line.split(separator: " ")
        let isEntry = line.hasPrefix("  ") && !line.hasPrefix("   ") && !words[0].hasPrefix("-")
        return isEntry ? String(words[0]) : nil
    }
}()

@Suite("The program")
struct ProgramTests {
    @Test("Every command of the contract is there")
    func allCommands() {
        let contract = [
            "create", "run", "exec", "save", "restore", "fork", "reset", "tree", "show", "tag", "delete",
            "gc", "verify", "du", "export", "import", "objects", "events", "metrics",
            "jobs", "job", "wait", "top", "read", "write", "check",
            "stats", "update", "reclaim", "pause", "unpause", "inspect", "mem", "diff", "core", "debug",
            "ps", "rm", "kill", "logs", "cp", "serve", "doctor", "bench", "version", "completion", "help",
        ]
        #expect(Set(commandNames) == Set(contract))
    }

    @Test("The help of every command has usage, options, examples and exit codes", arguments: commandNames)
    func help(name: String) throws {
        let help = try CkptProgram.call(name, "--help")
        #expect(help.code == 0 && help.errors.isEmpty)
        let lines = help.output.split(separator: "\n").map(String.init)
        #expect(lines[0].hasPrefix("ckpt \(name) — "))
        #expect(lines[1].hasPrefix("usage: ckpt \(name)"))
        let start = try #require(lines.firstIndex(of: "examples"))
        let end = try #require(lines.firstIndex(of: "exit codes"))
        let examples = lines[start..<end].filter { $0.hasPrefix("  ") && !$0.hasPrefix("   ") }
        #expect((2...6).contains(examples.count))
        #expect(examples.allSatisfy { $0.contains("ckpt") })
        for option in ["--json", "--root DIR", "--verbose", "--help"] {
            #expect(help.output.contains(option))
        }
        #expect(lines.allSatisfy { $0.count <= 100 })
        #expect(try CkptProgram.call("help", name).output == help.output)
        let ascii = try CkptProgram.call(name, "--help", locale: "C").output
        #expect(ascii.utf8.allSatisfy { $0 < 128 } || name == "tree")
    }

    @Test("The manual is current; make it with: ckpt help --markdown > docs/commands.md")
    func manual() throws {
        let page = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("../../docs/commands.md").standardized
        let written = try String(contentsOf: page, encoding: .utf8)
        #expect(try CkptProgram.call("help", "--markdown").output == written)
    }

    @Test("Wrong usage exits with 2, prints nothing on stdout and points to the help")
    func usage() throws {
        let outcome = try CkptProgram.call("svae", "main")
        #expect(outcome.code == 2 && outcome.output.isEmpty)
        #expect(
            outcome.errors
                == "ckpt: unknown command 'svae' (hint: did you mean 'ckpt save'? see 'ckpt help')\n")
        #expect(try CkptProgram.call().code == 2)
        #expect(try CkptProgram.call("cp", "a", "b").code == 2)
        #expect(try CkptProgram.call("tag", "x").code == 2)
        #expect(try CkptProgram.call("tag", "-d", "x", "y").code == 2)
        #expect(try CkptProgram.call("exec", "main").code == 2)
        #expect(try CkptProgram.call("completion", "fish").code == 2)
    }

    @Test("With --json a wrong usage is JSON on stderr")
    func usageAsJSON() throws {
        struct Report: Decodable {
            struct Message: Decodable {
                let code: String
                let message: String
                let hint: String
            }
            let error: Message
        }
        let outcome = try CkptProgram.call("save", "--json", "--tga", "x")
        #expect(outcome.code == 2 && outcome.output.isEmpty)
        let report = try JSONDecoder().decode(Report.self, from: Data(outcome.errors.utf8)).error
        #expect(report.code == "bad_request")
        #expect(report.message == "unknown option --tga")
        #expect(report.hint == "did you mean --tag? see 'ckpt save --help'")
    }

    @Test("version tells the client's version and starts no server")
    func version() throws {
        let outcome = try CkptProgram.call("version")
        #expect(outcome.code == 0)
        #expect(
            outcome.output.hasPrefix(
                "ckpt 0.1.0 (store format 2, API v1)\nno server runs for /nonexistent/ckpt\n"))
        #expect(try CkptProgram.call("--version").output == outcome.output)
        #expect(try CkptProgram.call("version", "--json").output.hasPrefix(#"{"client":{"api":"v1","#))
        #expect(access("/nonexistent", F_OK) != 0)
    }

    @Test("A reader that goes away ends the program quietly")
    func brokenPipe() throws {
        let script =
            "set -o pipefail; for i in 1 2 3; do ckpt help --markdown | true; done; echo ${PIPESTATUS[0]}"
        let outcome = try CkptProgram.run("/bin/bash", ["-c", script])
        #expect(outcome.errors.isEmpty)
    }
}
