import Foundation
import Messages
import Testing

/// Each refusal that a program can bring about on this kernel: the message names the program and
/// what it holds, `ckpt check` tells it beforehand where docs/refusals.md says so, and the sandbox is unharmed.
@Suite struct RefusedSaveTests {
    /// The modes of Programs/refusals.c with the words that the message must have, and what `check` says.
    static let modes: [(mode: String, words: [String], check: String?)] = [
        ("io-uring", ["an io_uring (fd 9)"], "io-uring"),
        ("io-uring-mapping", ["an io_uring mapped"], "io-uring-mapping"),
        ("perf-event", ["a perf event counter (fd 9)"], "perf-event"),
        ("userfaultfd", ["a userfaultfd (fd 9)"], "userfaultfd"),
        ("bpf-map", ["a BPF map (fd 9)"], "bpf-map"),
        ("bpf-program", ["a BPF program (fd 9)"], "bpf-program"),
        ("landlock-ruleset", ["a Landlock ruleset (fd 9)"], "landlock-ruleset"),
        ("packet-pipe", ["a pipe in packet mode (fd 9)"], "packet-pipe"),
        ("mptcp", ["an MPTCP socket (fd 9)"], "mptcp"),
        ("unaccepted", ["has not accepted a connection", "(fd 9)"], "unaccepted-connection"),
        ("corked-udp", ["a half-written datagram", "(fd 9)"], nil),
        ("vsock", ["AF_VSOCK (fd 9)"], "socket-family"),
        ("alg-socket", ["AF_ALG (fd 9)"], "socket-family"),
        ("key-socket", ["AF_KEY (fd 9)"], "socket-family"),
        ("sctp", ["a socket of protocol 132 (fd 9)"], "internet-protocol"),
        ("netlink-data", ["has not read yet", "(fd 9)"], "netlink-data"),
        ("nested-pid", ["a pid namespace of its own"], "nested-namespace"),
        ("nested-user", ["a user namespace of its own"], "nested-namespace"),
        ("nested-uts", ["a uts namespace of its own"], "nested-namespace"),
        ("traced", ["is traced by process"], "traced"),
        ("dead-leader", ["has ended its first thread"], "dead-leader"),
        ("secret-memory", ["secret memory"], "secret-memory"),
        ("large-deleted-file", ["/root/ghost", "(fd 9)"], "large-deleted-file"),
        ("message-queue", ["the POSIX message queue /refusals (fd 9)"], "message-queue"),
        ("mount-context", ["an unfinished mount (fd 9)"], "mount-context"),
        ("detached-mount", ["an unfinished mount"], "mount-context"),
        ("overmounted", ["/root/under/x (fd 9)"], nil),
        ("replaced-file", ["(fd 9) by whose name there is another one"], nil),
        ("credentials-in-queue", ["(fd 9) in which a message with credentials waits"], nil),
    ]

    @Test(.enabled(if: Machine.has("gcc"), "needs gcc")) func eachNamesItsCause() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("refused", "--privileged")
            try box.compile("refusals.c", "-pthread -lrt")
            let witness = try Witness(box)
            var refused = 0
            for (mode, words, check) in Self.modes {
                try box.say(
                    """
                    rm -f /root/out; { /root/refusals \(mode); echo "ended $?"; } > /root/out 2>&1 & culprit=$!
                    until [ -s /root/out ]; do sleep 0.01; done
                    """)
                let said = try box.sh("cat /root/out")
                if said == "ready" {
                    refused += 1
                    try expectRefused(box, mode, words, check)
                    try witness.check("a save refused for \(mode)")
                } else {
                    print("SKIPPED: \(mode) cannot be had here: \(said)")
                    #expect(try box.sh("cat /root/out").contains("ended 77"), "\(mode)")
                }
                try box.say(
                    "pkill -9 -x refusals; wait; umount -q /root/under /root/under; rm -f /root/re*d /root/other; true"
                )
            }
            #expect(refused >= 20, "only \(refused) could be had")
            // Once all of them are gone it saves.
            #expect(try ckpt("check", "refused").status == 0)
            let id = try box.save()
            try box.restore(id)
            try witness.check("a save after all the refusals")
            #expect(try ckpt.tree().snapshots.map(\.id) == [id])
        }
    }

    private func expectRefused(_ box: Sandbox, _ mode: String, _ words: [String], _ check: String?) throws {
        let checked = try box.ckpt("check", box.name, "--json")
        let result = try JSONDecoder().decode(CheckResult.self, from: checked.stdoutData)
        #expect(result.problems.contains { $0.id == check } == (check != nil), "\(mode): \(checked)")
        #expect(checked.status == (check == nil ? 0 : 1), "\(mode): \(checked)")
        for problem in result.problems {
            #expect(problem.message.contains("(refusals)") && !problem.hint.isEmpty, "\(mode): \(checked)")
        }
        expectRefusal(try box.ckpt("save", box.name), names: ["(refusals)"] + words)
    }

    @Test func checkTellsPeopleToo() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("checked")
            #expect(try ckpt.ok("check", "checked").stdout == "checked can be saved\n")
            try box.say("exec 9< <(sleep 1000)")
            #expect(try ckpt("check", "checked").status == 0)
            expectRefusal(try ckpt("check", "absent"), names: ["absent"])
            try box.ckpt.ok("kill", "checked")
            expectRefusal(try ckpt("check", "checked"), names: ["stopped"])
        }
    }

    /// A restore that is refused says which file and why, and what ran before runs on.
    @Test func aFileOfTheBaseThatChangedIsNamed() throws {
        let base = "/tmp/ckpt-e2e-base-\(getpid())"
        defer { try? FileManager.default.removeItem(atPath: base) }
        let made = try run([
            "bash", "-ec",
            """
            mkdir -p "$1"/{bin,lib,lib64,etc,root,tmp,usr/bin,proc,sys,dev}
            cp -L /bin/bash /bin/sleep "$1/bin/"; ln -s bash "$1/bin/sh"
            ldd /bin/bash /bin/sleep | grep -o '/[^ :]*' | sort -u | grep '^/lib\\|^/usr/lib' |
                while read f; do mkdir -p "$1/$(dirname $f)"; cp -L "$f" "$1/$f"; done
            echo 0123456789 > "$1/etc/data"; echo gone > "$1/etc/other"
            """, "bash", base,
        ])
        try #require(made.status == 0, "\(made)")
        try withCkpt { ckpt in
            let box = try ckpt.create("based", "--base", base)
            try box.say("exec 8</etc/data 9</etc/other; echo $$ > /root/shell")
            let id = try box.save()
            let kept = try box.say("echo here $$")
            try "longer than it was before\n".write(
                toFile: base + "/etc/data", atomically: false, encoding: .utf8)
            expectRefusal(
                try ckpt("restore", "based", id),
                names: ["process", "(bash)", "/etc/data", "11 bytes", "26 now"])
            #expect(try box.say("echo here $$") == kept)
            try "0123456789\n".write(toFile: base + "/etc/data", atomically: false, encoding: .utf8)
            try FileManager.default.removeItem(atPath: base + "/etc/other")
            expectRefusal(try ckpt("restore", "based", id), names: ["(bash)", "/etc/other", "No such file"])
            try "gone\n".write(toFile: base + "/etc/other", atomically: false, encoding: .utf8)
            try box.restore(id)
            #expect(try box.say("echo here $$") == kept)
        }
    }

    @Test func anotherProgramInCriusPlaceIsNoticed() throws {
        try withCkpt(environment: ["CKPT_CRIU": "/bin/true"]) { ckpt in
            let doctor = try ckpt("doctor")
            #expect(doctor.status == 1)
            #expect(doctor.stdout.contains("/bin/true") && doctor.stdout.contains("unset"), "\(doctor)")
            let box = try ckpt.create("unsaved")
            let witness = try Witness(box)
            expectRefusal(try ckpt("save", "unsaved"), names: ["CKPT_CRIU", "/bin/true"])
            try witness.check("a save without a CRIU")
        }
    }
}
