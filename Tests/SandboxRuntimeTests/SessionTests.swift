import CLinux
import Glibc
import LinuxSystem
import Messages
import Testing

@testable import SandboxRuntime

extension CommandSuite {
    @Suite struct Sessions {
        /// Runs texts one after the other in one session of a fresh sandbox.
        private func calls(_ texts: [String], _ check: ([Finished]) throws -> Void) throws {
            try inSandbox { box in
                var done: [Finished] = []
                for (number, text) in texts.enumerated() {
                    done.append(try box.run(box.call("call-\(number)", "main", text)))
                }
                try check(done)
            }
        }

        @Test func stateStays() throws {
            try calls([
                "cd /etc; x=5; f() { echo \"f $1\"; }; alias ll=ls; echo one", "pwd; echo $x; f 2; false",
                "echo $?",
                "(exit 42)", "echo $?; echo $$", "echo $$",
            ]) { done in
                #expect(done[0].stdout == "one\n" && done[0].code == 0)
                #expect(done[1].stdout == "/etc\n5\nf 2\n" && done[1].code == 1)
                #expect(done[2].stdout == "1\n")
                #expect(done[3].code == 42)
                #expect(done[4].stdout == "42\n" + done[5].stdout)
                for call in done { #expect(call.stderr == "") }
            }
        }

        @Test func shellTextOfEveryKind() throws {
            try calls([
                "cat <<'END'\nline 1\n\tline $2\nEND\necho after", "echo 'broken", "if true; then",
                "echo alive; echo )",
                "for i in 1 2\ndo\n  echo $i\ndone", "# only a comment", "",
                "echo no newline at the end; # x",
                "printf 'a\\0b'", "echo err >&2; echo 'ünï'", "cat", "read x; echo \"[$x] $?\"",
                "ls /proc/self/fd | wc -l",
                "echo $0 $# $-",
            ]) { done in
                #expect(done[0].stdout == "line 1\n\tline $2\nafter\n")
                #expect(done[1].code == 2 || done[1].code == 1, "\(done[1])")
                #expect(done[1].stderr.contains("unexpected EOF"))
                #expect(done[2].stderr.contains("syntax error"))
                #expect(done[3].stderr.contains("syntax error"))
                #expect(done[4].stdout == "1\n2\n")
                #expect(done[5].code == 0 && done[5].stdout == "")
                #expect(done[6].code == 0)
                #expect(done[7].stdout == "no newline at the end\n")
                #expect(done[8].stdout == "a\0b")
                #expect(done[9].stdout == "ünï\n" && done[9].stderr == "err\n")
                #expect(done[10].code == 0 && done[10].stdout == "", "stdin is empty")
                #expect(done[11].stdout == "[] 1\n")
                #expect(done[12].stdout == "4\n", "nothing of ours is open in its children: \(done[12])")
                for call in done { #expect(!call.stderr.contains("[1]"), "\(call)") }
            }
        }

        @Test func exitEndsTheSessionAndTheNextCallStartsAFreshOne() throws {
            try calls(["x=1; echo $$; exit 3", "echo \"[$x]\"; echo $$", "kill -9 $$", "echo again"]) {
                done in
                #expect(done[0].code == 3)
                #expect(done[0].stderr == "")
                #expect(done[1].stdout.hasPrefix("[]\n") && !done[1].stdout.hasSuffix("\n" + done[0].stdout))
                #expect(done[2].result.signal == SIGKILL)
                #expect(done[3].stdout == "again\n")
            }
        }

        @Test func backgroundJobs() throws {
            try inSandbox { box in
                let start = try box.run(
                    box.call("a", "s", "mkfifo /tmp/go; (read x < /tmp/go; echo late) & echo $!"))
                #expect(start.code == 0 && start.stderr == "", "\(start)")
                // It lives on after the call; what it prints goes to the call that runs then.
                let jobs = try box.run(box.call("b", "s", "jobs -p; echo $!"))
                #expect(jobs.stdout == start.stdout + start.stdout)
                let later = try box.run(box.call("c", "s", "echo > /tmp/go; wait; echo waited"))
                #expect(later.stdout == "late\nwaited\n")
                #expect(later.stderr == "")
                // And what it prints between calls waits for the next one.
                try box.run(
                    box.call(
                        "d", "s", "(read x < /tmp/go; echo between; echo > /tmp/done) & mkfifo /tmp/done"))
                try box.run(box.script("go", "echo > /tmp/go; read x < /tmp/done"))
                #expect(try box.run(box.call("e", "s", "echo next")).stdout == "between\nnext\n")
            }
        }

        @Test func callsQueueInOrder() throws {
            try inSandbox { box in
                let calls = try (0..<20).map {
                    try box.start(
                        box.call("q\($0)", "s", $0 == 10 ? "exit 5" : "n=$((n+1)); echo $n; sleep 0.01"))
                }
                for (index, call) in calls.enumerated() {
                    let done = try call.finish()
                    if index == 10 {
                        #expect(done.code == 5)
                    } else {
                        #expect(done.stdout == "\(index < 10 ? index + 1 : index - 10)\n")
                    }
                }
            }
        }

        @Test func sessionsAreApart() throws {
            try inSandbox { box in
                try box.run(box.call("a", "one", "x=1; cd /tmp"))
                try box.run(box.call("b", "two", "x=2; cd /etc"))
                #expect(try box.run(box.call("c", "one", "echo $x $PWD")).stdout == "1 /tmp\n")
                #expect(try box.run(box.call("d", "two", "echo $x $PWD")).stdout == "2 /etc\n")
                let sessions = try box.channel.list(deadline: soon()).sessions
                #expect(Set(sessions.map(\.name)) == ["one", "two"])
            }
        }

        @Test func userAndEnvironmentOfTheFirstCall() throws {
            try inSandbox { box in
                var spec = box.call("a", "s", "id -u; pwd; echo $FRUIT; cd /")
                spec.user = try SandboxUser.find("sandy", inSandboxOf: box.process.pid)
                spec.workingDirectory = "/etc"
                spec.environment.append("FRUIT=pear")
                #expect(try box.run(spec).stdout == "1234\n/etc\npear\n")
                #expect(
                    try box.run(box.call("b", "s", "id -u; pwd; echo $FRUIT")).stdout == "1234\n/\npear\n")
            }
        }

        @Test func muchOutput() throws {
            try inSandbox { box in
                try #expect(box.run(box.call("a", "s", "seq 1 200000; x=7")).stdout.hasSuffix("\n200000\n"))
                #expect(try box.run(box.call("b", "s", "echo $x")).stdout == "7\n")
            }
        }

        @Test(arguments: [
            "while true; do sleep 1; done", "while :; do :; done", "sleep 1000", "sleep 1000 | sleep 1000",
            "cat < /dev/zero > /dev/null", "(trap '' INT TERM; sleep 1000)",
            "f() { sleep 1000; }; f; echo not",
            "y=$(sleep 1000)", "trap 'echo caught' INT; sleep 1000; sleep 1000", "seq 1 1000000000",
        ])
        func timeoutBreaksTheCallAndKeepsTheSession(_ text: String) throws {
            try inSandbox { box in
                try box.run(box.call("a", "s", "x=kept; cd /etc; sleep 1000 & echo $! > /tmp/job"))
                let done = try box.run(box.call("b", "s", text, milliseconds: 200))
                #expect(done.result.timedOut && done.code == 124)
                let after = try box.run(
                    box.call("c", "s", "echo $x $PWD; jobs -p; kill -0 $(cat /tmp/job) && echo lives"))
                let job = try #require(box.file("/tmp/job"))
                #expect(after.stdout == "kept /etc\n\(job)lives\n", "\(after)")
                #expect(after.stderr == "")
                let others = try box.run(
                    box.script(
                        "ps",
                        "ps -eo pid=,args= | grep -v ps | grep -E 'sleep 1000|seq|cat' | grep -v grep | wc -l"
                    ))
                #expect(others.stdout == "1\n", "only the older job is left")
            }
        }

        @Test func whatWasPrintedBeforeATimeoutIsKept() throws {
            try inSandbox { box in
                let done = try box.run(
                    box.call("b", "s", "echo before; echo err >&2; sleep 1000", milliseconds: 2000))
                #expect(done.stdout == "before\n" && done.stderr.hasPrefix("err\n") && done.code == 124)
            }
        }

        @Test func aTrapSeesOneInterrupt() throws {
            try inSandbox { box in
                let text = """
                    trap 'echo caught' INT; sleep 1000 & job=$!; sleep 0.3
                    echo up; while kill -0 $job 2>/dev/null; do wait; done; echo end
                    """
                let call = try box.start(box.call("a", "s", text))
                _ = try call.read(until: "up")
                try call.signal(SIGINT)
                try eventually("it is caught") {
                    box.logged.with { $0["a stdout"]?.contains("caught") == true }
                }
                try box.run(box.script("kill", "pkill -x sleep"))
                let done = try call.finish()
                #expect(done.stdout == "caught\nend\n")
            }
        }

        @Test func bashThatDoesNotComeBackIsEnded() throws {
            try inSandbox { box in
                try box.run(box.call("a", "s", "trap '' INT"))
                let done = try box.run(box.call("b", "s", "while :; do :; done", milliseconds: 100))
                #expect(done.result.timedOut && done.code == 124)
                #expect(done.stderr.contains("did not come back from its timeout and was ended"))
                #expect(try box.run(box.call("c", "s", "echo fresh")).stdout == "fresh\n")
            }
        }

        @Test func aSignalInterruptsTheCall() throws {
            try inSandbox { box in
                try box.run(box.call("a", "s", "x=kept"))
                for number in 0..<10 {
                    let call = try box.start(
                        box.call("b\(number)", "s", "echo up; while :; do sleep 1; done"))
                    _ = try call.read(until: "up")
                    try call.signal(SIGINT)
                    #expect(try call.finish().code == 130)
                    let after = try box.run(box.call("c\(number)", "s", "echo $x"))
                    #expect(after.stdout == "kept\n" && after.stderr == "", "\(after)")
                }
            }
        }

        @Test func aPromptIsNobodysOutput() throws {
            try inSandbox { box in
                for number in 0..<30 {
                    let done = try box.run(box.call("c\(number)", "s", "PS1='(venv) '; (exit \(number))"))
                    #expect(done.stdout == "" && done.stderr == "" && done.code == Int32(number), "\(done)")
                }
                #expect(try box.run(box.call("after", "s", "echo \"$?[$PS1]\"")).stdout == "29[]\n")
            }
        }

        @Test func whatScriptsDoToTheShell() throws {
            try calls([
                "PROMPT_COMMAND='echo mine'", "unset PROMPT_COMMAND; PROMPT_COMMAND=:", "echo 1",
                "set -x; echo 2", "echo 3; set +x",
                "set -u; set -o pipefail", "echo 4", "exec 9>/tmp/nine; echo nine >&9",
                "cat /tmp/nine; echo again >&9; cat /tmp/nine",
                "TMOUT=1", "sleep 1.5; echo 5", "trap 'echo err' ERR", "false", "echo $?",
                "exec 2>&1; echo moved >&2", "echo moved >&2",
            ]) { done in
                #expect(done[2].stdout.hasSuffix("1\n"))
                #expect(done[6].stdout.hasSuffix("4\n"))
                #expect(done[8].stdout.hasSuffix("nine\nnine\nagain\n"))
                #expect(done[10].stdout.hasSuffix("5\n"))
                #expect(done[12].stdout == "err\nerr\n", "once in the file and once for reading it")
                #expect(done[13].stdout == "1\n")
                #expect(done[15].stdout == "moved\n")
            }
        }
    }
}
