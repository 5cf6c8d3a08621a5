import Digests
import Foundation
import Glibc
import Messages
import Testing

/// What is stored is what was saved, or somebody says so.
@Suite struct IntegrityTests {
    private func flip(_ path: String) throws {
        let file = fopen(path, "r+")
        try #require(file != nil, "\(path)")
        defer { fclose(file) }
        var status = stat()
        try #require(fstat(fileno(file), &status) == 0 && status.st_size > 0, "\(path)")
        fseek(file, Int(status.st_size / 2), SEEK_SET)
        let byte = fgetc(file)
        fseek(file, Int(status.st_size / 2), SEEK_SET)
        fputc(byte ^ 4, file)
    }

    /// The files of the store that snapshots need, but for the catalog; those without bytes have no bit to flip.
    private func files(_ ckpt: Ckpt) throws -> [String] {
        let tops = ["snapshots", "layers", "digests", "init"].map { "\(ckpt.root)/\($0)" }
        let found = try run(["find"] + tops + ["-type", "f", "-size", "+0"]).lines
        return found.map { String($0.dropFirst(ckpt.root.count + 1)) }
    }

    /// CRIU writes its statistics when such a snapshot is published already: they were a file too much in it.
    @Test func whatWasSavedAndStoppedIsWhole() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("stopped")
            try box.say("x=1")
            let id = try box.save("--stop")
            #expect(try ckpt.json(VerifyReport.self, ["verify"]).damage == [])
            try box.restore(id)
            #expect(try box.say("echo $x") == "1")
        }
    }

    /// The catalog holds what a damaged manifest said; where both are gone, nothing else can be named by it.
    @Test func aManifestThatIsLostWithTheCatalogIsToldOf() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("box")
            try box.say("x=1")
            let lost = try box.save()
            try box.say("x=2")
            let whole = try box.save()
            try ckpt.ok("serve", "--stop")
            for suffix in ["", "-wal", "-shm"] { unlink("\(ckpt.root)/catalog.sqlite\(suffix)") }
            try "".write(
                toFile: "\(ckpt.root)/snapshots/\(lost)/manifest.json", atomically: false, encoding: .utf8)
            let report = try ckpt("verify")
            #expect(
                report.status == 1 && report.stdout.contains("\(lost)/manifest.json cannot be read"),
                "\(report)")
            let doctor = try ckpt("doctor", "--quick").stdout
            #expect(doctor.contains("warning  recovery: ") && doctor.contains(lost), "\(doctor)")
            try box.restore(whole)
            #expect(try box.say("echo $x") == "2")
            #expect(try ckpt.ok("gc").stdout.contains("removed snapshots/\(lost)"))
            #expect(try ckpt("verify").status == 0)
            try box.restore(whole)
            #expect(try box.say("echo $x") == "2")
        }
    }

    @Test func everyFlippedBitIsFoundAndNamed() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("bits")
            try box.sh(
                "mkdir -p /root/d && seq 1000 > /root/d/numbers && echo x > /root/d/x && ln /root/d/x /root/y"
            )
            try box.say("state=1")
            let first = try box.save("-t", "first")
            try box.sh("seq 2000 > /root/d/more")
            try box.say("state=2")
            let second = try box.save()
            #expect(
                eventually {
                    !FileManager.default.fileExists(atPath: "\(ckpt.root)/snapshots/\(second)/boot")
                })
            #expect(try ckpt.json(VerifyReport.self, ["verify"]).damage == [])
            for file in try files(ckpt) {
                let times = try run(["stat", "-c", "%y", "\(ckpt.root)/\(file)"]).line
                func flipped() throws {
                    try flip("\(ckpt.root)/\(file)")
                    _ = try run(["touch", "-d", times, "\(ckpt.root)/\(file)"])
                }
                try flipped()
                let result = try ckpt("verify", "--json")
                #expect(result.status == 1, "\(file)")
                let report = try JSONDecoder().decode(VerifyReport.self, from: result.stdoutData)
                let inode = try run(["stat", "-c", "%i", "\(ckpt.root)/\(file)"]).line
                let named = try report.damage.contains { damage in
                    try damage.path == file
                        || run(["stat", "-c", "%i", "\(ckpt.root)/\(damage.path)"]).line == inode
                }
                #expect(named, "\(file): \(report.damage)")
                #expect(report.damage.allSatisfy { !$0.snapshots.isEmpty }, "\(file): \(report.damage)")
                try flipped()
            }
            #expect(try ckpt.json(VerifyReport.self, ["verify"]).damage == [])
            #expect(try ckpt("verify", first, second).status == 0)
        }
    }

    @Test func damagedSnapshotIsRefusedBeforeAnythingIsTouched() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("kept")
            try box.sh("echo before > /root/file")
            try box.say("state=1")
            let id = try box.save()
            try box.say("state=2")
            let process = "snapshots/\(id)/process"
            let core = try #require(try files(ckpt).first { $0.hasPrefix("\(process)/core-") })
            let pages = try #require(try files(ckpt).first { $0.hasPrefix("\(process)/pages-") })
            try flip("\(ckpt.root)/\(core)")
            expectRefusal(try ckpt("restore", "kept", id), names: [id, core])
            expectRefusal(try ckpt("fork", id), names: [id, core])
            #expect(try box.say("echo $state") == "2", "the sandbox runs on")
            #expect(try ckpt.sandboxes().map(\.name) == ["kept"])
            try flip("\(ckpt.root)/\(core)")
            // Pages are read only where that is asked for.
            try flip("\(ckpt.root)/\(pages)")
            expectRefusal(try ckpt("restore", "kept", id, "--verify"), names: [id, pages])
            try flip("\(ckpt.root)/\(pages)")
            try ckpt.ok("restore", "kept", id, "--verify")
            #expect(try box.say("echo $state") == "1")
        }
    }

    /// A flipped bit of a page would be shown as memory.
    @Test func whoeverShowsMemoryNamesADamagedPageFile() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("shown")
            try box.say("state=1")
            let id = try box.save("-t", "first")
            try box.say("state=2")
            _ = try box.save("-t", "second")
            let pid = try box.say("echo $$")
            let pages = try #require(try files(ckpt).first { $0.hasPrefix("snapshots/\(id)/process/pages-") })
            let commands = [
                ["inspect", "first"], ["mem", "first", "--pid", pid, "--search", "state"],
                ["mem", "first", "--pid", pid], ["diff", "first", "second"],
                ["core", "first", "--pid", pid, "-o", ckpt.root + "/core"],
            ]
            for command in commands { try ckpt.succeed(command) }
            try flip("\(ckpt.root)/\(pages)")
            let name = "process/" + pages.split(separator: "/").last!
            for command in commands { expectRefusal(try ckpt.call(command), names: ["is damaged", name]) }
            try flip("\(ckpt.root)/\(pages)")
            for command in commands { try ckpt.succeed(command) }
        }
    }

    @Test func snapshotOfAnotherMachineIsRefused() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("moved")
            try box.say("state=1")
            let id = try box.save()
            let origin = try #require(try ckpt.show(id).origin)
            #expect(origin.architecture == "x86_64" && origin.cpuFeatures.contains("sse2"))
            #expect(origin.criu == "4.2" && origin.format == 2 && !origin.kernel.isEmpty)
            let shown = try ckpt.ok("show", id).stdout
            for word in ["CRIU 4.2", "sse2", origin.kernel, "x86_64"] { #expect(shown.contains(word)) }
            #expect(
                eventually { !FileManager.default.fileExists(atPath: "\(ckpt.root)/snapshots/\(id)/boot") })
            let manifest = "\(ckpt.root)/snapshots/\(id)/manifest.json"
            let whole = try String(contentsOfFile: manifest, encoding: .utf8)
            for (old, other, named) in [
                ("\"sse2\"", "\"sse2\",\n    \"zzz_of_tomorrow\"", "zzz_of_tomorrow"),
                ("\"architecture\" : \"x86_64\"", "\"architecture\" : \"riscv64\"", "riscv64"),
                ("\"criu\" : \"4.2\"", "\"criu\" : \"5.1\"", "CRIU 5.1"),
            ] {
                try ckpt.ok("serve", "--stop")
                try whole.write(toFile: manifest, atomically: false, encoding: .utf8)
                try Manifest.rewrite(manifest) { $0.replacingOccurrences(of: old, with: other) }
                for suffix in ["", "-wal", "-shm"] { unlink("\(ckpt.root)/catalog.sqlite\(suffix)") }
                expectRefusal(try ckpt("restore", "moved", id), names: [id, named])
                expectRefusal(try ckpt("fork", id), names: [id, named])
                #expect(try box.say("echo $state") == "1", "the sandbox runs on")
            }
        }
    }
}

/// A manifest, changed and sealed again as if another machine had written it.
private enum Manifest {
    static func rewrite(_ path: String, _ change: (String) -> String) throws {
        let text = try String(contentsOfFile: path, encoding: .utf8)
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        let bare = change(lines.filter { !$0.hasPrefix("  \"digest\" : ") }.joined(separator: "\n"))
        let seal = Digest(of: Array(bare.utf8))
        let position = lines.firstIndex { $0.hasPrefix("  \"digest\" : ") }
        var sealed = bare.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        let at = try #require(position) + sealed.count - (lines.count - 1)
        sealed.insert("  \"digest\" : \"\(seal)\",", at: at)
        try sealed.joined(separator: "\n").write(toFile: path, atomically: false, encoding: .utf8)
    }
}
