import Foundation
import Messages
import Testing

/// A command run with `exec` behaves as it would on the host.
@Suite struct ExecTests {
    @Test func streamsAreApartAndBinarySafe() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("streams")
            let both = try box.exec("bash", "-c", #"printf 'a\0b\xff\r\n'; printf 'err\0' >&2; printf end"#)
            #expect(both.stdoutData == Data([97, 0, 98, 255, 13, 10]) + Data("end".utf8))
            #expect(both.stderrData == Data("err\0".utf8))
            let text = """
                import random, sys
                for seed in range(8):
                    (sys.stdout, sys.stderr)[seed % 2].buffer.write(random.Random(seed).randbytes(700_001))
                """
            let inside = try box.exec("/usr/bin/python3", "-c", text)
            let outside = try run(["/usr/bin/python3", "-c", text])
            #expect(outside.stdoutData.count == 4 * 700_001)
            #expect(inside.stdoutData == outside.stdoutData && inside.stderrData == outside.stderrData)
        }
    }

    @Test func exitCodes() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("codes")
            for code in [0, 1, 42, 124, 125, 255] {
                #expect(try box.exec("bash", "-c", "exit \(code)").status == Int32(code))
            }
            for signal: Int32 in [1, 2, 9, 11, 15] {
                #expect(try box.exec("bash", "-c", "kill -\(signal) $$; sleep 5").status == 128 + signal)
            }
            let missing = try box.exec("no-such-program")
            #expect(missing.status == 127 && missing.stderr.contains("no-such-program"), "\(missing)")
            let notExecutable = try box.exec("/etc/passwd")
            #expect(
                notExecutable.status == 126 && notExecutable.stderr.contains("/etc/passwd"),
                "\(notExecutable)")
            #expect(try box.exec("/etc").status == 126)
            let buffered = try ckpt.call([
                "exec", "--json", "codes", "--", "bash", "-c", "echo out; echo err >&2; exit 7",
            ])
            let result = try JSONDecoder().decode(ExecResult.self, from: buffered.stdoutData)
            #expect(
                result.exitCode == 7 && result.stdout == "out\n" && result.stderr == "err\n", "\(buffered)")
            #expect(result.timedOut == false && result.durationMs > 0)
        }
    }

    @Test func directoryEnvironmentAndUser() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("context")
            let result = try box.exec(
                "bash", "-c", "pwd; echo \"$ONE|$TWO\"; id -u; id -g; hostname; echo \"$HOME|$PATH\"",
                options: ["--cwd", "/usr/lib", "--env", "ONE=1 1", "--env", "TWO=a=b", "--user", "nobody"])
            let lines = result.stdout.components(separatedBy: "\n")
            #expect(lines.prefix(5) == ["/usr/lib", "1 1|a=b", "65534", "65534", "context"], "\(result)")
            #expect(lines[5].contains("/usr/bin"))
            let here = try box.exec(
                "bash", "-c", "pwd; echo \"$ONE|$PATH|${NOT_HERE-unset}\"",
                options: ["-w", "/usr/lib", "-e", "ONE=0", "-eONE=1", "-e", "PATH", "-e", "NOT_HERE"])
            let path = String(cString: getenv("PATH"))
            #expect(here.stdout == "/usr/lib\n1|\(path)|unset\n", "\(here)")
            #expect(
                try box.sh("pwd; id -u; tty; readlink /proc/self/fd/0 | cut -c1-4").hasPrefix(
                    "/root\n0\nnot a tty"))
            #expect(try box.exec("id", "-un", options: ["--user", "33:33"]).line == "www-data")
            let unknown = try box.exec("id", options: ["--user", "no-such-user"])
            #expect(unknown.status == 125 && unknown.stderr.contains("no-such-user"), "\(unknown)")
            let nowhere = try box.exec("pwd", options: ["--cwd", "/no/such/directory"])
            #expect(nowhere.status == 126 && nowhere.stderr.contains("/no/such/directory"), "\(nowhere)")
            #expect(try box.sh("echo $$; ps -e -o pid= | sort -n | head -1 | xargs").hasSuffix("\n1"))
        }
    }

    @Test func timeoutKillsOnlyWhatItStarted() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("timeout")
            try box.say("sleep 7777 &")
            let result = try box.exec(
                "bash", "-c",
                """
                echo kept; echo kept too >&2
                sleep 8888 & setsid sleep 8888 & (setsid bash -c 'sleep 8888 & disown'); sleep 8888
                """,
                options: ["--timeout", "1"], deadline: 20)
            #expect(result.status == 124, "\(result)")
            #expect(result.stdout == "kept\n" && result.stderr.hasPrefix("kept too\n"), "\(result)")
            try box.waitFor("! pgrep -f 'sleep 888[8]'", within: 30)
            #expect(try box.sh("pgrep -fc 'sleep 777[7]'") == "1", "the timeout killed a bystander")
            let stubborn = try box.exec(
                "bash", "-c", "trap '' TERM INT HUP; echo deaf; while :; do sleep 0.1; done",
                options: ["--timeout", "0.5"],
                deadline: 20)
            #expect(stubborn.status == 124 && stubborn.stdout == "deaf\n", "\(stubborn)")
            let quick = try box.exec("bash", "-c", "echo quick; exit 3", options: ["--timeout", "30"])
            #expect(quick.status == 3 && quick.stdout == "quick\n")
        }
    }

    @Test func stdinStreams() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("stdin")
            let megabytes = try run(
                [
                    "/usr/bin/python3", "-c",
                    "import random,sys; sys.stdout.buffer.write(random.Random(5).randbytes(6_000_000))",
                ]
            ).stdoutData
            let echoed = try box.exec("cat", stdin: megabytes)
            #expect(
                echoed.status == 0 && echoed.stdoutData == megabytes,
                "\(echoed.stdoutData.count) bytes came back")
            let head = try box.exec("head", "-c", "10", stdin: megabytes)
            #expect(head.status == 0 && head.stdoutData == megabytes.prefix(10))
            #expect(try box.exec("cat", stdin: Data()).stdout == "")
            #expect(try box.exec("cat").stdout == "", "without -i stdin is empty")

            let conversation = try ckpt.start(
                "exec", "-i", "stdin", "--", "bash", "-c", "while read x; do echo got $x; done", stdin: nil)
            for word in ["one", "two", "three"] {
                conversation.write(word + "\n")
                #expect(
                    eventually { conversation.output.hasSuffix("got \(word)\n") }, "\(conversation.output)")
            }
            conversation.closeStdin()
            #expect(conversation.wait().status == 0)
        }
    }

    @Test(.enabled(if: Machine.has("script"), "needs script(1)")) func terminals() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("tty")
            func onTerminal(_ command: String, stdin: String = "") throws -> CommandResult {
                try run(
                    ["script", "-qec", "\(Ckpt.binary) exec -it tty -- \(command)", "/dev/null"],
                    environment: ckpt.environment, stdin: Data(stdin.utf8))
            }
            let answer = try onTerminal("bash -c 'tty; test -t 0 -a -t 1 -a -t 2 && echo terminals; exit 9'")
            #expect(answer.status == 9, "\(answer)")
            #expect(answer.stdout.contains("/dev/pts/") && answer.stdout.contains("terminals"), "\(answer)")
            let size = try run(
                [
                    "script", "-qec", "stty rows 31 cols 97; \(Ckpt.binary) exec -it tty -- stty size",
                    "/dev/null",
                ],
                environment: ckpt.environment)
            #expect(size.stdout.contains("31 97"), "\(size)")
            let typed = try onTerminal("bash --norc", stdin: "echo sum-$((1+1))\nexit 5\n")
            #expect(typed.status == 5 && typed.stdout.contains("sum-2"), "\(typed)")
            let interrupted = try RunningCommand(
                [
                    "script", "-qec",
                    Ckpt.binary + " exec -it tty -- bash -c "
                        + "'trap \"echo caught; exit 6\" INT; echo go; while :; do sleep 0.05; done'",
                    "/dev/null",
                ], environment: ckpt.environment, stdin: nil)
            #expect(eventually { interrupted.output.contains("go") })
            interrupted.write("\u{3}")
            let end = interrupted.wait()
            #expect(end.status == 6 && end.stdout.contains("caught"), "\(end)")
            #expect(try box.exec("test", "-t", "1").status == 1, "without -t there is no terminal")
        }
    }

    @Test func signalsReachTheCommand() throws {
        try withCkpt { ckpt in
            _ = try ckpt.create("signals")
            let command = try ckpt.start(
                "exec", "signals", "--", "bash", "-c",
                "trap 'echo caught; exit 7' INT; echo go; while :; do sleep 0.05; done")
            #expect(eventually { command.output == "go\n" })
            command.signal(SIGINT)
            let result = command.wait()
            #expect(result.status == 7 && result.stdout == "go\ncaught\n", "\(result)")
        }
    }

    @Test func runCreatesAndCleansUp() throws {
        try withCkpt { ckpt in
            let result = try ckpt("run", "--rm", "--", "bash", "-c", "echo inside; exit 4")
            #expect(result.status == 4 && result.stdout == "inside\n", "\(result)")
            #expect(try ckpt.sandboxes().isEmpty)
            try ckpt.ok("run", "--name", "stays", "--", "touch", "/root/was-here")
            #expect(try ckpt.sandboxes().map(\.name) == ["stays"])
            #expect(try ckpt("exec", "stays", "--", "test", "-e", "/root/was-here").status == 0)
        }
    }
}
