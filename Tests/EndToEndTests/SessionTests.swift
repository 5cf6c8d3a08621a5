import Foundation
import Testing

/// A session is one bash that lives from call to call.
@Suite struct SessionTests {
    @Test func statePersists() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("session")
            try box.say(
                """
                x=1; cd /usr; f() { echo "f:$1"; }
                export EXPORTED=yes; shopt -s expand_aliases; alias hi='echo hello'
                """
            )
            #expect(try box.say("echo $x; pwd; f a; env | grep EXPORTED") == "1\n/usr\nf:a\nEXPORTED=yes")
            #expect(try box.say("hi") == "hello")
            #expect(try box.say("x=other; echo $x", "second") == "other")
            #expect(try box.say("echo $x") == "1", "sessions share variables")
            #expect(try box.say("echo $$") == (try box.say("echo $$")))
            #expect(try box.info().sessions.sorted() == ["main", "second"])
            // argv is joined by spaces and run as shell text.
            let joined = try ckpt.ok("exec", "--session", "main", "session", "--", "echo", "$x", "two")
            #expect(joined.stdout == "1 two\n")
        }
    }

    @Test func textOfEveryShape() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("text")
            #expect(try box.say("for i in 1 2\ndo\n  echo $i\ndone\n") == "1\n2")
            #expect(try box.say("cat <<'END'\na $b `c`\nEND\necho after") == "a $b `c`\nafter")
            #expect(try box.say("# only a comment") == "")
            #expect(try box.say("printf 'no newline'") == "no newline")
            #expect(try box.say("echo 'quote\"s' \"$(echo in)\" \\\\ 日本") == "quote\"s in \\ 日本")
            #expect(try box.session("printf out; printf err >&2").stderr == "err")
            #expect(try box.session("printf 'a\\0b\\xff'").stdoutData == Data([97, 0, 98, 255]))
            #expect(try box.session("cat").stdout == "", "a session's command has no stdin to steal")
            #expect(try box.session("true && false").status == 1)
            #expect(try box.session("(exit 77)").status == 77)
            #expect(try box.say("echo \(String(repeating: "x", count: 100_000)) | wc -c") == "100001")
            let much = try box.session("head -c 3000000 /dev/zero | tr '\\0' y")
            #expect(much.stdoutData.count == 3_000_000)
        }
    }

    @Test func errorsDoNotEndTheSession() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("errors")
            try box.say("x=kept")
            let syntax = try box.session("if then; (")
            #expect(syntax.status != 0 && syntax.stderr.contains("syntax error"), "\(syntax)")
            #expect(try box.session("echo 'unterminated").status != 0)
            #expect(try box.session("no-such-command").status == 127)
            #expect(
                try box.session("set -e; false; echo not reached").stdout.contains("not reached") == false)
            let left = try box.session("exit 3")
            #expect(left.status == 3, "\(left)")
            #expect(try box.say("echo usable") == "usable", "no session after exit")
            #expect(try box.session("kill -9 $$").status == 137)
            #expect(try box.say("echo usable") == "usable", "no session after a kill")
        }
    }

    @Test func timeoutKeepsTheShell() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("patience")
            try box.say("x=kept; cd /usr; sleep 6666 &")
            let late = try box.session("echo begun; sleep 9999", options: ["--timeout", "1"], deadline: 20)
            #expect(late.status == 124 && late.stdout == "begun\n", "\(late)")
            #expect(try box.say("echo $x $PWD") == "kept /usr")
            let loop = try box.session("while :; do :; done", options: ["--timeout", "1"], deadline: 20)
            #expect(loop.status == 124, "\(loop)")
            #expect(try box.say("echo $x $PWD") == "kept /usr", "a shell loop took the shell with it")
            #expect(try box.sh("pgrep -fc 'sleep 999[9]'; true") == "0", "the sleep lives on")
            #expect(try box.say("jobs -r | grep -c 6666") == "1", "the timeout killed an older job")
        }
    }

    @Test func backgroundJobsOutliveTheirCall() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("jobs")
            // The call must not wait for the job, which holds the call's stdout.
            #expect(
                try box.say(
                    "(while [ ! -e /root/go ]; do sleep 0.02; done; echo late > /root/late) & echo at once")
                    == "at once")
            try box.sh("touch /root/go")
            try box.waitFor("grep -q late /root/late")
            #expect(try box.say("wait; echo waited") == "waited")
            // What a job prints between two calls comes with the next one, as on a terminal.
            try box.say("(while [ ! -e /root/speak ]; do sleep 0.02; done; echo spoken; touch /root/spoke) &")
            try box.sh("touch /root/speak")
            try box.waitFor("test -e /root/spoke")
            #expect(try box.say("wait; echo waited") == "spoken\nwaited")
        }
    }

    @Test func sessionsLiveThroughRestoreAndFork() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("through")
            try box.say("x=1")
            try box.say("y=2", "other")
            let snapshot = try box.save("--stop")
            #expect(try box.info().state == .stopped)
            try box.restore(snapshot)
            let fork = try ckpt.fork(snapshot)[0]
            for each in [box, fork] {
                #expect(try each.say("echo $x$y") == "1")
                #expect(try each.say("echo $x$y", "other") == "2")
                #expect(try each.info().sessions.sorted() == ["main", "other"])
            }
            try ckpt.ok("reset", "through")
            #expect(try box.info().sessions == [])
            #expect(try box.say("echo \"[$x]\"") == "[]")
        }
    }
}
