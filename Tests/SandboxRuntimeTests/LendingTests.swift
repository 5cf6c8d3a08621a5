import CLinux
import Glibc
import LinuxSystem
import Messages
import Testing

@testable import SandboxRuntime

/// Who has borrowed a session.
private final class Borrower {
    let lent: LentSession
    private(set) var commands: UInt64
    /// What came of output and error.
    var printed = ""

    init(_ box: CommandBox, _ session: String) throws {
        lent = try box.channel.lend(session, pid: box.process.pid, deadline: soon())
        commands = lent.commands
    }

    var isTakenBack: Bool {
        var status = stat()
        return fstat(lent.descriptors[4], &status) == 0 && status.st_mode & S_IWUSR == 0
    }

    func lock(_ kind: Int32) -> Bool {
        var lock = flock()
        lock.l_type = Int16(kind)
        let operation: Int32 = 37  // F_OFD_SETLK
        return fcntl(lent.descriptors[4], operation, &lock) == 0
    }

    func begin(_ text: String) throws {
        try #require(lock(F_WRLCK) && !isTakenBack)
        try #require(ftruncate(lent.descriptors[4], 0) == 0)
        try #require(pwrite(lent.descriptors[4], text, text.utf8.count, 0) == text.utf8.count)
        try #require(write(lent.descriptors[0], lent.line, lent.line.utf8.count) == lent.line.utf8.count)
    }

    /// Its status.
    func run(_ text: String) throws -> Int {
        try begin(text)
        var control = ""
        while true {
            var poller = pollfd(fd: lent.descriptors[1], events: Int16(POLLIN), revents: 0)
            try #require(poll(&poller, 1, 20_000) == 1, "\(text) does not end")
            control += Self.take(lent.descriptors[1])
            let words = control.split(separator: "\n").last?.split(separator: " ") ?? []
            guard words.count == 2, let number = UInt64(words[1]), number > commands else { continue }
            commands = number
            printed = Self.take(lent.descriptors[2]) + Self.take(lent.descriptors[3])
            try #require(lock(F_UNLCK))
            return Int(words[0])!
        }
    }

    private static func take(_ descriptor: Int32) -> String {
        var bytes = [UInt8](repeating: 0, count: 65536)
        let got = read(descriptor, &bytes, bytes.count)
        return String(decoding: bytes[..<max(0, got)], as: UTF8.self)
    }
}

extension CommandSuite {
    @Suite struct Lending {
        private func expectRefusal(_ code: Int32, _ body: () throws -> Void) {
            do {
                try body()
                Issue.record("not refused with \(code)")
            } catch CommandError.refused(let found, _) {
                #expect(found == code)
            } catch {
                Issue.record("\(error)")
            }
        }

        @Test func theBorrowerMakesItsCalls() throws {
            try inSandbox { box in
                expectRefusal(ENOENT) { _ = try Borrower(box, "s") }
                try box.run(box.call("a", "s", "x=5; cd /etc"))
                let borrower = try Borrower(box, "s")
                #expect(try borrower.run("echo $x; pwd; echo e >&2") == 0)
                #expect(borrower.printed == "5\n/etc\ne\n")
                #expect(try borrower.run("x=6; (exit 42)") == 42)
                #expect(try borrower.run("echo 'broken") != 0)
                #expect(try borrower.run("echo $?; ls /proc/self/fd | wc -l") == 0)
                #expect(borrower.printed.hasSuffix("\n4\n"), "nothing of ours is open in its children")
                expectRefusal(EBUSY) { _ = try Borrower(box, "s") }
                try box.channel.takeBack("s", borrower.lent, call: nil, deadline: soon())
                try eventually("it is taken back") { borrower.isTakenBack }
                #expect(try box.run(box.call("b", "s", "echo $x")).stdout == "6\n")
                try box.channel.takeBack("s", borrower.lent, call: nil, deadline: soon())
                #expect(try box.run(box.call("c", "s", "echo $x")).stdout == "6\n")
            }
        }

        /// Somebody else's call takes the session back between two of the borrower's, not during one.
        @Test func anotherCallWaitsForTheBorrowersOne() throws {
            try inSandbox { box in
                try box.run(box.call("a", "s", "x=5"))
                let borrower = try Borrower(box, "s")
                let other: RunningCommand
                do {
                    try borrower.begin("sleep 0.3; x=6")
                    other = try box.start(box.call("b", "s", "echo $x"))
                    usleep(100_000)
                    #expect(!borrower.isTakenBack)
                    var poller = pollfd(fd: borrower.lent.descriptors[1], events: Int16(POLLIN), revents: 0)
                    try #require(poll(&poller, 1, 20_000) == 1)
                    #expect(borrower.lock(F_UNLCK))
                }
                #expect(try other.finish().stdout == "6\n")
                #expect(borrower.isTakenBack)
                // And again.
                let next = try Borrower(box, "s")
                #expect(try next.run("echo $x") == 0 && next.printed == "6\n")
            }
        }

        /// The kernel gives up the lock of who dies in the middle of a call.
        @Test func whatADeadBorrowerBegunIsOverBeforeTheNextCall() throws {
            try inSandbox { box in
                try box.run(box.call("a", "s", ":"))
                do {
                    let borrower = try Borrower(box, "s")
                    try borrower.begin("echo early; sleep 0.3; head -c 200000 /dev/zero; x=7; echo late")
                }
                let done = try box.run(box.call("b", "s", "echo $x"))
                #expect(done.stdout == "7\n" && done.code == 0)
                #expect(try box.run(box.call("c", "s", "echo more")).stdout == "more\n")
            }
        }

        /// As is one whose caller goes away.
        @Test func aCallOfABorrowerThatGoesAwayIsEnded() throws {
            try inSandbox { box in
                try box.run(box.call("a", "s", "x=5"))
                let loan: LentSession
                do {
                    let borrower = try Borrower(box, "s")
                    try borrower.begin("echo lost; sleep 1000; echo never")
                    usleep(100_000)
                    loan = borrower.lent
                    loan.close()
                }
                try box.channel.takeBack("s", loan, call: nil, deadline: soon())
                #expect(try box.run(box.call("b", "s", "echo $x")).stdout == "5\n")
                #expect(try box.run(box.script("ps", "pgrep -x sleep")).code == 1)
            }
        }

        /// Neither what bash does at each command nor signals that cost it what it reads keep a session from coming back.
        @Test func bashComesBackWhateverItWasTold() throws {
            try inSandbox { box in
                let texts = [
                    "trap 'case $BASH_COMMAND in *back*) printf x;; esac' DEBUG", "unset PROMPT_COMMAND",
                    "P=$$; (for i in $(seq 300); do kill -INT $P; sleep 0.002; done; : > /over) & :",
                ]
                for (number, text) in texts.enumerated() {
                    try box.run(box.call("a\(number)", "s\(number)", ":"))
                    do {
                        let borrower = try Borrower(box, "s\(number)")
                        try borrower.begin(text)
                        usleep(100_000)
                    }
                    let done = try box.run(box.call("b\(number)", "s\(number)", "sleep 1; echo 1"))
                    if number < 2 {
                        #expect(done.stdout.hasSuffix("1\n"), "\(text): \(done)")
                    } else {
                        // The storm may interrupt calls themselves.
                        try eventually("it is over") { box.file("/over") != nil }
                    }
                    let after = try box.run(box.call("c\(number)", "s\(number)", "echo 2"))
                    #expect(after.stdout.hasSuffix("2\n"), "\(text): \(after)")
                }
            }
        }

        /// What they print between calls comes with the next, and no timeout of a later call ends them.
        @Test func backgroundJobsOfALoanStay() throws {
            try inSandbox { box in
                try box.run(box.call("a", "s", ":"))
                let borrower = try Borrower(box, "s")
                #expect(try borrower.run("(sleep 0.2; echo late) & sleep 7777 & :") == 0)
                try eventually("it prints") {
                    var poller = pollfd(fd: borrower.lent.descriptors[2], events: Int16(POLLIN), revents: 0)
                    return poll(&poller, 1, 100) == 1
                }
                try box.channel.takeBack("s", borrower.lent, call: nil, deadline: soon())
                #expect(try box.run(box.call("b", "s", "echo x")).stdout == "late\nx\n")
                let again = try Borrower(box, "s")
                try again.begin("sleep 0.3")
                try box.channel.takeBack(
                    "s", again.lent,
                    call: .init(id: "slow", commands: again.commands + 1, elapsed: 0, remaining: nil),
                    deadline: soon())
                #expect(try box.run(box.call("slow", "s", "")).code == 0)
                #expect(try box.run(box.call("c", "s", "sleep 60", milliseconds: 200)).result.timedOut)
                #expect(try box.run(box.script("ps", "pgrep -f 'sleep 7777'")).code == 0)
            }
        }

        @Test func aCallThatIsHandedBackGoesOn() throws {
            try inSandbox { box in
                try box.run(box.call("a", "s", "x=5"))
                let limits: [(String, UInt64?, Bool)] = [
                    ("slow", nil, false), ("late", 0, true), ("later", 300_000_000, true),
                ]
                for (id, remaining, timedOut) in limits {
                    let borrower = try Borrower(box, "s")
                    try borrower.begin("echo one; sleep \(timedOut ? 1000 : 1); echo two; x=8")
                    usleep(200_000)
                    try box.channel.takeBack(
                        "s", borrower.lent,
                        call: .init(
                            id: id, commands: borrower.commands + 1, elapsed: 200_000_000,
                            remaining: remaining),
                        deadline: soon())
                    #expect(borrower.isTakenBack)
                    let done = try box.run(box.call(id, "s", ""))
                    #expect(done.stdout == (timedOut ? "one\n" : "one\ntwo\n"))
                    #expect(done.result.timedOut == timedOut && done.code == (timedOut ? 124 : 0))
                    #expect(done.result.durationMs >= 200)
                    #expect(try box.run(box.call("x\(id)", "s", "echo $x")).stdout == "8\n")
                }
            }
        }

        @Test func aCallThatEndsBashIsHandedBack() throws {
            try inSandbox { box in
                try box.run(box.call("a", "s", ":"))
                let borrower = try Borrower(box, "s")
                try borrower.begin("echo bye; exit 3")
                try eventually("bash hangs up") {
                    var poller = pollfd(fd: borrower.lent.descriptors[1], events: Int16(POLLIN), revents: 0)
                    return poll(&poller, 1, 100) == 1 && poller.revents & Int16(POLLHUP) != 0
                }
                try box.channel.takeBack(
                    "s", borrower.lent,
                    call: .init(id: "end", commands: borrower.commands + 1, elapsed: 0, remaining: nil),
                    deadline: soon())
                let done = try box.run(box.call("end", "s", ""))
                #expect(done.stdout == "bye\n" && done.code == 3)
                #expect(try box.run(box.call("b", "s", "echo fresh")).stdout == "fresh\n")
                // One that dies where nobody has borrowed it any more.
                do {
                    let borrower = try Borrower(box, "s")
                    try borrower.begin("exit 4")
                }
                usleep(100_000)
                #expect(try box.run(box.call("c", "s", "echo fresh")).stdout == "fresh\n")
            }
        }

        /// Bash no longer tells its prompts then, and who takes it back must not wait for one.
        @Test func withoutItsPromptCommandItComesBack() throws {
            try inSandbox { box in
                try box.run(box.call("a", "s", ":"))
                do {
                    let borrower = try Borrower(box, "s")
                    try borrower.begin("unset PROMPT_COMMAND")
                    usleep(100_000)
                }
                #expect(try box.run(box.call("b", "s", "echo here")).stdout.hasSuffix("here\n"))
                #expect(try box.run(box.call("c", "s", "echo there")).stdout == "there\n")
            }
        }

        @Test func aServerThatComesLaterTakesItBack() throws {
            try inSandbox { box in
                try box.run(box.call("a", "s", "x=5"))
                let borrower = try Borrower(box, "s")
                // A server that is killed takes nothing back.
                let killed = box.channel
                try box.restartServer()
                #expect(try borrower.run("x=6") == 0)
                #expect(try box.run(box.call("b", "s", "echo $x")).stdout == "6\n")
                #expect(borrower.isTakenBack)
                _ = consume killed
            }
        }

        /// Nobody has borrowed what is restored, also where a call ran.
        @Test func whatIsRestoredIsNobodys() throws {
            try inSandbox { box in
                try box.run(box.call("a", "s", "x=5"))
                let borrower = try Borrower(box, "s")
                try borrower.begin("sleep 0.5; x=9; echo printed")
                try box.channel.quiesce(deadline: soon())
                let image = try box.dump()
                try box.channel.resume(pid: box.process.pid, deadline: soon())
                var poller = pollfd(fd: borrower.lent.descriptors[1], events: Int16(POLLIN), revents: 0)
                try #require(poll(&poller, 1, 20_000) == 1)
                box.channel.abandon(.rolledBack)
                try box.restore(image)
                try box.restartServer()
                let done = try box.run(box.call("b", "s", "echo $x"))
                #expect(done.stdout == "9\n", "\(done)")
            }
        }
    }
}
