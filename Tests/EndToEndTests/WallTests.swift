import Foundation
import Messages
import Testing

/// What a sandbox's commands are kept from: seen from inside, after a restore, in a fork, and told by show.
@Suite struct WallTests {
    private static let usual = "00000000a80425fb"

    /// The line of /proc/self/status that begins with `key`, without it.
    private static func status(_ keys: String) -> String {
        "grep -E '^(\(keys)):' /proc/self/status | cut -f 2 | paste -sd ' '"
    }

    /// What `probe` prints in a fresh command, in a session that is older than the snapshot, and in both again after a
    /// restore and in a fork.
    private func expectEverywhere(
        _ box: Sandbox, _ probe: String, prints expected: String, options: [String] = [],
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        func check(_ box: Sandbox, _ when: String) throws {
            #expect(
                try box.sh(probe, options: options) == expected, "command \(when)",
                sourceLocation: sourceLocation)
            guard options.isEmpty else { return }
            #expect(try box.say(probe) == expected, "session \(when)", sourceLocation: sourceLocation)
        }
        try check(box, "at first")
        let snapshot = try box.save()
        try box.restore(snapshot)
        try check(box, "after a restore")
        let fork = try box.ckpt.fork(snapshot)[0]
        try check(fork, "in a fork")
        #expect(try box.ckpt.show(snapshot).spec == box.ckpt.show(try fork.save()).spec)
        try box.ckpt.succeed(["rm", "-f", fork.name])
    }

    @Test func theUsualWalls() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("usual")
            let keys = Self.status("CapInh|CapPrm|CapEff|CapBnd|NoNewPrivs|Seccomp|Seccomp_filters")
            let (none, usual) = ("0000000000000000", Self.usual)
            try expectEverywhere(box, keys, prints: "\(none) \(usual) \(usual) \(usual) 1 2 1")
            // Who is not root has none of them.
            try expectEverywhere(
                box, keys, prints: "\(none) \(none) \(none) \(usual) 1 2 1", options: ["--user", "nobody"])
            try expectEverywhere(
                box, "unshare -m true 2>/dev/null; echo $?; chroot / true; echo $?", prints: "1\n0")
        }
    }

    @Test func capabilities() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create(
                "few", "--cap-drop", "ALL", "--cap-add", "CAP_CHOWN", "--cap-add", "kill")
            try expectEverywhere(
                box, Self.status("CapEff|CapBnd"), prints: "0000000000000021 0000000000000021")
            let spec = try ckpt.show(try box.save()).spec
            #expect(spec.security.capabilities == 0x21)
            let more = try ckpt.create("more", "--cap-add", "SYS_ADMIN", "--cap-drop", "MKNOD")
            // With the capability come the calls that need it.
            try expectEverywhere(
                more, Self.status("CapEff") + "; unshare -m true && echo yes", prints: "00000000a02425fb\nyes"
            )
        }
    }

    @Test func newPrivileges() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("setuid", "--security-opt", "no-new-privileges=false")
            try box.sh(
                "cp /bin/cat /tmp/cat && chmod 4755 /tmp/cat && echo secret > /tmp/s && chmod 600 /tmp/s")
            try expectEverywhere(
                box, Self.status("NoNewPrivs|Seccomp") + "; cat /tmp/s 2>/dev/null; /tmp/cat /tmp/s",
                prints: "0 2\nsecret",
                options: ["--user", "nobody"])
        }
    }

    @Test func noFilterAndFiltersOfOnesOwn() throws {
        try withCkpt { ckpt in
            let open = try ckpt.create("open", "--security-opt", "seccomp=unconfined")
            try expectEverywhere(
                open, Self.status("CapEff|NoNewPrivs|Seccomp"), prints: "\(Self.usual) 1 0")
            let file = ckpt.root + "/profile.json"
            let profile = #"""
                {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                    {"names": ["sync", "chroot"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}
                """#
            try profile.write(toFile: file, atomically: true, encoding: .utf8)
            for (name, options) in [
                ("own", []),
                ("own-as-nobody", ["--security-opt", "no-new-privileges=false", "-u", "nobody"]),
            ] {
                try ckpt.succeed(["create", name, "--security-opt", "seccomp=\(file)"] + options)
                try expectEverywhere(
                    Sandbox(ckpt: ckpt, name: name), "chroot / true 2>&1 | grep -o 'No space.*'",
                    prints: "No space left on device")
            }
            try #"{"defaultAction": "SCMP_ACT_MAYBE"}"#.write(toFile: file, atomically: true, encoding: .utf8)
            expectRefusal(
                try ckpt("create", "bad", "--security-opt", "seccomp=\(file)"),
                names: ["defaultAction", "SCMP_ACT_MAYBE", "SCMP_ACT_ALLOW"])
            #expect(try !ckpt.sandboxes().contains { $0.name == "bad" })
        }
    }

    @Test func whatIsHiddenMayBeShown() throws {
        try withCkpt { ckpt in
            let probe = """
                grep -q CPU /proc/interrupts && echo shown; [ -w /proc/sys/kernel/core_pattern ] || echo read-only
                """
            let box = try ckpt.create("shown", "--security-opt", "systempaths=unconfined")
            try expectEverywhere(box, probe, prints: "shown\nread-only")
            #expect(try ckpt.create("hidden").sh(probe) == "read-only")
            #expect(try ckpt.create("trusted", "--privileged").sh(probe) == "shown\nread-only")
        }
    }

    @Test func privileged() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("privileged", "--privileged")
            try expectEverywhere(
                box,
                Self.status("CapEff|NoNewPrivs|Seccomp")
                    + "; unshare -m mount -t tmpfs x /mnt && echo mounted",
                prints: "000001ffffffffff 0 0\nmounted")
        }
    }

    @Test func limits() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create(
                "limits", "--ulimit", "nofile=100:200", "--ulimit", "core=0", "--ulimit", "fsize=4096",
                "--oom-score-adj", "321")
            try expectEverywhere(
                box, "ulimit -Sn; ulimit -Hn; ulimit -c; ulimit -f; cat /proc/self/oom_score_adj",
                prints: "100\n200\n0\n4\n321")
            #expect(try box.exec("sh", "-c", "ulimit -Hn 201").status != 0)
            // PID 1 is not under them: it goes on serving.
            #expect(try box.exec("dd", "if=/dev/zero", "of=/tmp/big", "bs=8k", "count=1").status == 128 + 25)
            let spec = try ckpt.show(try box.save()).spec
            #expect(spec.ulimits.map(\.description) == ["nofile=100:200", "core=0", "fsize=4096"])
            #expect(spec.oomScoreAdj == 321)
            expectRefusal(
                try ckpt("create", "x", "--ulimit", "nofile=2000000000"),
                names: ["nofile", "2000000000", "hard"])
        }
    }

    @Test func users() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("users", "--user", "nobody:daemon", "--workdir", "/usr", "-e", "A=b")
            try expectEverywhere(box, "id -un; id -gn; pwd; echo $A", prints: "nobody\ndaemon\n/usr\nb")
            #expect(try box.sh("id -un", options: ["--user", "root"]) == "root")
            let job = try ckpt.succeed(["exec", "-d", box.name, "--", "sh", "-c", "id -un > /tmp/who"])
            #expect(!job.line.isEmpty)
            try box.waitFor("grep -qx nobody /tmp/who")
            #expect(try ckpt.show(try box.save()).spec.user == "nobody:daemon")
            expectRefusal(try ckpt("create", "x", "--user", "nosuch"), names: ["nosuch"])
            #expect(try ckpt("run", "--rm", "--entrypoint", "/bin/echo", "--", "-n", "a b").stdout == "a b")
            let file = ckpt.root + "/variables"
            try "# a comment\nONE=1\nTWO=a=b\n".write(toFile: file, atomically: true, encoding: .utf8)
            let result = try ckpt.ok(
                "run", "--rm", "--env-file", file, "-e", "ONE=2", "--", "sh", "-c", "echo $ONE $TWO")
            #expect(result.line == "2 a=b")
        }
    }
}
