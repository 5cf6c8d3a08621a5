import Foundation
import Testing

/// Programs that hold a conversation: each is saved in the middle of one, as a coprocess of a session's bash.
@Suite struct InteractiveProgramTests {
    @Test func bashWithFunctionsTrapAndJobs() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("bash")
            try box.say(
                """
                mkdir -p "/root/some where" && cd "/root/some where"
                plain=1; declare -i number=41; list=(a "b c" d); declare -A map=([key]="a value")
                greet() { local who=$1; echo "hello $who $number"; }
                hits=0; trap 'hits=$((hits + 1))' USR1
                shopt -s extglob; alias ll='ls -l'
                while :; do echo tick >> /root/ticks; sleep 0.02; done &
                sleep 100000 &
                """)
            let fork = try checkRoundTrip(
                box,
                read: {
                    try $0.say(
                        """
                        echo "$plain|$number|${list[1]}|${#list[@]}|${map[key]}|$hits|$PWD|$(greet you)|$$"
                        jobs -pr | xargs echo; shopt extglob; alias ll; trap -p USR1
                        """)
                },
                change: {
                    try $0.say(
                        """
                        number+=1; list+=(more); cd /; greet() { echo new; }
                        kill -USR1 $$; kill %2; wait %2 2>/dev/null; true
                        """
                    )
                })
            // Job 1 was never told anything: it must tick on in the restored sandbox and in the fork alike.
            for each in [box, fork] {
                let ticks = try each.sh("wc -l < /root/ticks")
                try each.waitFor("test $(wc -l < /root/ticks) -gt \(ticks)")
            }
        }
    }

    @Test func pythonREPL() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("python")
            try box.startPython()
            try box.say(
                #"""
                put 'import math' 'def squares():' '    n = 0' '    while True:' '        n += 1' \
                    '        yield n * n' '' 'g = squares()' 'some = [next(g) for _ in range(5)]' \
                    'big = bytearray(b"ab" * 5_000_000)' 'f = open("/root/held", "w+")' '_ = f.write("held")'
                """#)
            let fork = try checkRoundTrip(
                box,
                read: { try $0.say("ask 'print(some, g.gi_frame.f_locals, len(big), big[-2:], f.tell())'") },
                change: { try $0.say("put 'some.append(next(g))' 'big += b\"c\"' '_ = f.write(\"more\")'") })
            #expect(try fork.say("ask 'print(next(g), math.isqrt(64))'") == "49 8")
        }
    }

    @Test(.enabled(if: Machine.has("node"), "needs node")) func nodeTimersGoOn() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("node")
            try box.install("timers.js")
            try box.say(
                #"""
                coproc JS { exec node /root/timers.js; }
                put() { printf '%s\n' "$1" >&"${JS[1]}"; }
                ask() { put tell && IFS= read -r -t 20 answer <&"${JS[0]}" && printf '%s\n' "$answer"; }
                put 'label first'
                """#)
            /// The label, then the two timers' counts.
            func tell(_ box: Sandbox) throws -> (label: String, counts: [Int]) {
                let words = try box.say("ask").split(separator: " ").map(String.init)
                try #require(words.count == 4, "node answered \(words)")
                return (words[0], words[2...].compactMap(Int.init))
            }
            /// Waits until both timers are well past `counts`.
            func waitPast(_ counts: [Int], in box: Sandbox) throws {
                #expect(
                    try eventually {
                        let now = try tell(box).counts
                        return now[0] > counts[0] + 50 && now[1] > counts[1] + 30
                    }, "the timers of \(box.name) stand still")
            }
            try waitPast([0, 0], in: box)
            let saved = try tell(box)
            let snapshot = try box.save()
            try box.say("put 'label second'")
            try waitPast(saved.counts, in: box)

            try box.restore(snapshot)
            let fork = try ckpt.fork(snapshot)[0]
            for each in [box, fork] {
                let now = try tell(each)
                #expect(now.label == "first")
                #expect(now.counts[0] >= saved.counts[0] && now.counts[1] >= saved.counts[1])
                try waitPast(saved.counts, in: each)
            }
        }
    }

    @Test(.enabled(if: Machine.has("sqlite3"), "needs sqlite3")) func sqliteTransactionKeepsItsLock() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("sqlite")
            try box.say(
                #"""
                sqlite3 /root/test.db 'CREATE TABLE t(x); INSERT INTO t VALUES (1);'
                coproc DB { exec sqlite3 /root/test.db 2>/root/sqlite.err; }
                put() { printf '%s\n' "$@" >&"${DB[1]}"; }
                put 'BEGIN IMMEDIATE;' 'INSERT INTO t VALUES (2), (3);' '.shell touch /root/begun'
                """#)
            try box.waitFor("test -e /root/begun")
            let fork = try checkRoundTrip(
                box,
                read: {
                    try $0.sh(
                        """
                        sqlite3 /root/test.db 'BEGIN IMMEDIATE; ROLLBACK;' 2>&1
                        sqlite3 /root/test.db 'SELECT count(*) FROM t'
                        """
                    )
                },
                change: {
                    try $0.say("put 'COMMIT;' '.shell touch /root/committed'")
                    try $0.waitFor("test -e /root/committed")
                })
            #expect(
                try fork.sh("sqlite3 /root/test.db 'SELECT sum(x) FROM t; PRAGMA integrity_check'") == "6\nok"
            )
        }
    }

    @Test(.enabled(if: Machine.has("sqlite3"), "needs sqlite3")) func sqliteRefusesASecondWriter() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("sqlite")
            try box.say(
                #"""
                sqlite3 /root/test.db 'CREATE TABLE t(x);'
                coproc DB { exec sqlite3 /root/test.db; }
                printf '%s\n' 'BEGIN IMMEDIATE;' '.shell touch /root/begun' >&"${DB[1]}"
                """#)
            try box.waitFor("test -e /root/begun")
            let snapshot = try box.save()
            try box.restore(snapshot)
            let second = try box.exec("sqlite3", "/root/test.db", "INSERT INTO t VALUES (9)")
            #expect(second.status != 0)
            #expect(second.stderr.contains("database is locked"), "\(second)")
        }
    }

    @Test(.enabled(if: Machine.has("tmux", "vim"), "needs tmux and vim")) func vimInTmuxKeepsUnsavedText()
        throws
    {
        try withCkpt { ckpt in
            let box = try ckpt.create("vim")
            let tmux = "tmux -L test"
            try box.sh(
                """
                export TERM=screen LANG=C.UTF-8
                \(tmux) -f /dev/null new-session -d -x 80 -y 24 'vim -u NONE /root/text'
                """)
            func screen(_ box: Sandbox) throws -> String { try box.sh("\(tmux) capture-pane -p") }
            func see(_ text: String, in box: Sandbox) throws {
                try box.waitFor("\(tmux) capture-pane -p | grep -qF '\(text)'")
            }
            try see("text\" [New", in: box)
            try box.sh("\(tmux) send-keys 'i' 'unsaved words'")
            try see("unsaved words", in: box)
            let fork = try checkRoundTrip(
                box, read: screen,
                change: {
                    try $0.sh("\(tmux) send-keys ' and more'")
                    try see("unsaved words and more", in: $0)
                })
            for each in [box, fork] {
                #expect(try each.exec("test", "-e", "/root/text").status == 1, "vim wrote too early")
                try each.sh("\(tmux) send-keys Escape ':wq' Enter")
                try each.waitFor("test \"$(cat /root/text 2>/dev/null)\" = 'unsaved words and more'")
            }
        }
    }
}
