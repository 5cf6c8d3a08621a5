import Foundation
import Glibc
import Messages
import Testing

/// A Python process whose memory comes in behind it, slowly.
private struct Filled {
    let box: Sandbox
    /// 48 MiB that no two pages of are alike, and three mappings of 8 MiB.
    init(_ ckpt: Ckpt, _ name: String) throws {
        box = try ckpt.create(name)
        try box.startPython()
        try box.install("lazy.py")
        try box.say("put 'exec(open(\"/root/lazy.py\").read())'; ask 'print(digest())'")
        try box.say(
            "put 'import signal; trapped = []; _ = signal.signal(signal.SIGTRAP, lambda *a: trapped.append(1))'"
        )
    }
    init(_ box: Sandbox) { self.box = box }

    func digest() throws -> String { try box.say("ask 'print(digest())'") }
    func play() throws -> String { try box.say("ask 'print(play())'") }

    /// Rolls it back, and checks that most of it is still to come; whether CRIU did it.
    @discardableResult
    func restore(_ snapshot: String, _ options: [String] = []) throws -> Bool {
        let result = try box.ckpt.json(
            RestoreResult.self, ["restore", box.name, snapshot, "--memory", "lazy"] + options)
        #expect(result.warnings == nil)
        #expect(try isUnderWay())
        return result.timings.criuMs != nil
    }

    func isUnderWay() throws -> Bool { (try box.info().memoryToCome ?? 0) > 16 << 20 }

    var isWhole: Bool { marks.isEmpty }

    /// What stands for unfinished memory.
    var marks: [String] {
        let path = "\(box.ckpt.root)/sandboxes/\(box.name)"
        let names = (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []
        return names.filter { $0.hasPrefix("memory-") }.map { "\(path)/\($0)" }
    }

    /// The process that brings its memory, and the one that holds its descriptors beside it.
    func pagers() throws -> (filler: pid_t, keeper: pid_t) {
        // Of an incarnation before there may be one yet.
        let newest = marks.max { Int($0.split(separator: "-").last!)! < Int($1.split(separator: "-").last!)! }
        let mark = try String(contentsOfFile: try #require(newest), encoding: .utf8)
        let filler = try #require(mark.split(separator: " ").first.flatMap { pid_t($0) })
        let children = try String(
            contentsOfFile: "/proc/\(filler)/task/\(filler)/children", encoding: .utf8)
        return (filler, try #require(children.split(separator: " ").first.flatMap { pid_t($0) }))
    }
}

/// Whether a process that is not ours has ended.
private func hasEnded(_ pid: pid_t) -> Bool { eventually { !Leftovers.isAlive(pid) } }

/// Processes that run before all of their memory is back see all of it.
@Suite struct LazyMemoryTests {
    /// MiB a second: slow enough that memory is missing while something is done.
    private let slowly = ["CKPT_MEMORY_PACE": "1"]

    @Test func everyPageIsTheRightOneWhileTheyCome() throws {
        try withCkpt(environment: slowly) { ckpt in
            let python = try Filled(ckpt, "lazy")
            let digest = try python.digest()
            let first = try python.box.save()
            let played = try python.play()
            #expect(try python.digest() != digest)

            // All of it is read by the process itself, which waits for no more than that.
            try python.restore(first)
            #expect(try python.digest() == digest)
            // What was done in it for that took nothing away: a step's own signal least of all.
            try python.box.say("put 'import os, signal; os.kill(os.getpid(), signal.SIGTRAP)'")
            #expect(try python.box.say("ask 'print(len(trapped))'").hasSuffix("1"))
            // fork(2), munmap(2), mremap(2), madvise(2) and read(2) meet pages that are missing.
            for (options, byCriu) in [([], false), (["--engine", "criu"], true)] {
                #expect(try python.restore(first, options) == byCriu, "\(ckpt.serverLog)")
                #expect(try python.play() == played)
                #expect(try python.isUnderWay(), "nothing was missing while it played")
            }

            // A save waits for the rest, which then hurries; its own pages are in two snapshots.
            let changed = try python.digest()
            try python.restore(first)
            _ = try python.play()
            let second = try python.box.save()
            #expect(python.isWhole)
            #expect(try ckpt.show(second).memory!.inheritedBytes > 16 << 20)
            try python.restore(second)
            #expect(try python.digest() == changed)
            try ckpt.ok("restore", "lazy", second, "--memory", "whole")
            #expect(eventually { python.isWhole })
            #expect(try python.box.info().memoryToCome == nil)
            #expect(try python.digest() == changed)

            // Its processes stand still, and go on; the memory comes all the same.
            try python.restore(second)
            try ckpt.ok("pause", "lazy")
            #expect(try ckpt.call(["exec", "lazy", "--", "true"]).status == 125)
            try ckpt.ok("unpause", "lazy")
            #expect(try python.digest() == changed)

            // Forked, also by its name, while its own memory is to come.
            try python.restore(second)
            let forks = try [[second, "-n", "2"], ["lazy"]].flatMap { what in
                try ckpt.json(ForkResult.self, ["fork", "--memory", "lazy"] + what).sandboxes.map {
                    Filled(Sandbox(ckpt: ckpt, name: $0.name))
                }
            }
            #expect(try python.isUnderWay(), "nothing was missing while it was forked")
            for fork in forks { #expect(try fork.digest() == changed) }
            #expect(try forks[0].play() != played)
            #expect(try python.digest() == changed)
        }
    }

    @Test func whatEndsASandboxEndsItsFillingToo() throws {
        try withCkpt(environment: slowly) { ckpt in
            let python = try Filled(ckpt, "ends")
            let digest = try python.digest()
            let snapshot = try python.box.save()
            let others = try ckpt.json(
                ForkResult.self, ["fork", snapshot, "-n", "2", "--memory", "lazy"]
            ).sandboxes.map { Filled(Sandbox(ckpt: ckpt, name: $0.name)) }
            let ends: [[String]] = [
                ["restore", "ends", snapshot, "--memory", "whole"], ["reset", "ends"], ["kill", "ends"],
                ["rm", "-f", "ends"],
            ]
            for end in ends {
                if end[0] != "restore" { try ckpt.ok("restore", "ends", snapshot, "--memory", "whole") }
                try python.restore(snapshot)
                let pagers = try python.pagers()
                try ckpt.succeed(end)
                #expect(hasEnded(pagers.filler) && hasEnded(pagers.keeper), "\(end)")
                #expect(eventually { python.marks.isEmpty }, "\(end)")
            }
            // Nobody has the snapshot any more but those whose memory still comes from it.
            for other in others { #expect(try other.isUnderWay()) }
            #expect(try others[0].digest() == digest)
        }
    }

    @Test func memoryIsNeverZeroBecauseSomebodyWasKilled() throws {
        try withCkpt(environment: slowly) { ckpt in
            let python = try Filled(ckpt, "killed")
            let digest = try python.digest()
            let snapshot = try python.box.save()
            ckpt.rememberServer()

            // The server: another one finds the sandbox, and the pager goes on.
            try python.restore(snapshot)
            kill(try #require(ckpt.serverPID), SIGKILL)
            #expect(try python.isUnderWay())
            #expect(try python.digest() == digest)
            ckpt.rememberServer()

            // The one that holds descriptors: there is another.
            try python.restore(snapshot)
            let held = try python.pagers()
            kill(held.keeper, SIGKILL)
            #expect(eventually { ((try? python.pagers().keeper) ?? held.keeper) != held.keeper })
            #expect(try python.digest() == digest)

            // The pager, with a server and without: the sandbox is ended.
            for isServed in [true, false] {
                try python.restore(snapshot)
                let pagers = try python.pagers()
                if !isServed { kill(try #require(ckpt.serverPID), SIGKILL) }
                kill(pagers.filler, SIGKILL)
                #expect(hasEnded(pagers.filler) && hasEnded(pagers.keeper))
                #expect(eventually { (try? python.box.info().state) == .dead })
                ckpt.rememberServer()
                let refused = try ckpt.call(["exec", "killed", "--", "true"])
                let why =
                    "its memory was not whole yet, and the process that brought its memory back ended"
                #expect(refused.status == 125 && refused.stderr.contains(why), "\(refused)")
                #expect(refused.stderr.contains("ckpt restore killed"), "\(refused)")
                #expect(eventually { python.marks.isEmpty })
            }

            // Both, at once as far as can be, and no server that sees it.
            try python.restore(snapshot)
            let pagers = try python.pagers()
            kill(try #require(ckpt.serverPID), SIGKILL)
            kill(pagers.keeper, SIGKILL)
            kill(pagers.filler, SIGKILL)
            let answer = try ckpt.call(["exec", "killed", "--", "true"])
            #expect(
                answer.status == 125 && answer.stderr.contains("its memory was not whole yet"), "\(answer)")
            ckpt.rememberServer()
            try python.restore(snapshot)
            #expect(try python.digest() == digest)

            // Pages that cannot be read any more.
            try python.restore(snapshot)
            let images = "\(ckpt.root)/snapshots/\(snapshot)/process"
            ckpt.damaged.insert(snapshot)
            for name in try FileManager.default.contentsOfDirectory(atPath: images)
            where name.hasPrefix("pages-") { truncate("\(images)/\(name)", 4096) }
            #expect(eventually { (try? python.box.info().state) == .dead })
            let reason = try python.box.info().reason ?? ""
            #expect(reason.contains("a part of its memory cannot be read from the store"), "\(reason)")
        }
    }
}
