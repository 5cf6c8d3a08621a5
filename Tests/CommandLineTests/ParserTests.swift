import CommandInterface
import Testing

@Suite("Parsing a command line")
struct ParserTests {
    /// A small table with every kind of place a word can have.
    static let commands = [
        CommandDescription(
            "save", "s", operands: [OperandDescription("NAME", .sandbox)],
            options: [
                OptionDescription("tag", short: "t", value: "TAG", .newTag, "h"),
                OptionDescription("number", short: "n", value: "N", .number(1...10), "h"),
                OptionDescription("env", value: "K[=V]", .variable, repeats: true, "h"),
                OptionDescription("stop", short: "s", "h"), OptionDescription("force", short: "f", "h"),
            ], examples: [], triedAs: ["checkpoint"]),
        CommandDescription(
            "exec", "e",
            operands: [
                OperandDescription("NAME", .sandbox), OperandDescription("CMD", .program, .optionalRest),
            ],
            options: [
                OptionDescription("tty", short: "t", "h"), OptionDescription("interactive", short: "i", "h"),
            ],
            examples: []),
        CommandDescription(
            "run", "r", operands: [OperandDescription("CMD", .program, .rest)],
            options: [OptionDescription("rm", "h")], examples: []),
        CommandDescription("rm", "r", operands: [OperandDescription("NAME", .sandbox, .many)], examples: []),
        CommandDescription(
            "restore", "r",
            operands: [
                OperandDescription("NAME", .sandbox), OperandDescription("SNAPSHOT", .snapshot, .optional),
            ],
            examples: []),
        CommandDescription("version", "v", examples: []), CommandDescription("help", "h", examples: []),
    ]

    func parse(_ line: String) throws -> ParsedWords {
        try Parser(Self.commands).parse(line.split(separator: " ").map(String.init))
    }

    @Test(
        "A value may follow its option in every customary way",
        arguments: [
            "save -t x main", "save -tx main", "save --tag x main", "save --tag=x main", "save main -t x",
        ])
    func values(line: String) throws {
        let words = try parse(line)
        #expect(words.value("tag") == "x")
        #expect(words.operand("NAME") == "main")
    }

    @Test("Short flags may be bundled, the last with a value")
    func bundles() throws {
        let words = try parse("save -sfn3 main")
        #expect(words.has("stop") && words.has("force"))
        #expect(words.number("number") == 3)
        #expect(try parse("save -sfn 3 main").number("number") == 3)
    }

    @Test("Options that repeat add up, others take the last word")
    func repeated() throws {
        let words = try parse("save --env A=1 --env B=x=y --env A=2 -t a -t b main")
        #expect(words.values("env") == ["A=1", "B=x=y", "A=2"])
        #expect(words.value("tag") == "b")
    }

    @Test("An empty value is a value")
    func emptyValue() throws {
        #expect(throws: UsageError.self) { try parse("save --tag= main") }
        let words = try parse("save --env A= main")
        #expect(words.values("env") == ["A="])
    }

    @Test("The sandbox's command keeps its own dashes", arguments: ["exec main -- ls -t", "exec main ls -t"])
    func commandDashes(line: String) throws {
        let words = try parse(line)
        #expect(words.operands("CMD") == ["ls", "-t"])
        #expect(!words.has("tty"))
    }

    @Test("Options before the sandbox's command are ckpt's, and a second -- is the command's")
    func commandBorder() throws {
        #expect(try parse("exec -it main ls").has("tty"))
        #expect(try parse("exec main -it ls").has("interactive"))
        #expect(try parse("exec main -- sh -c -- -x").operands("CMD") == ["sh", "-c", "--", "-x"])
        #expect(try parse("exec -- main ls").operands("CMD") == ["ls"])
        #expect(try parse("run --rm -- --weird").operands("CMD") == ["--weird"])
        #expect(try parse("exec main").operands("CMD") == [])
    }

    @Test("Common options may stand before the command")
    func earlyOptions() throws {
        let words = try parse("--root /x --json save main")
        #expect(words.value("root") == "/x")
        #expect(words.has("json"))
        #expect(try parse("--help save").wantsHelp)
        #expect(try parse("--help").command.name == "help")
        #expect(try parse("--version").command.name == "version")
    }

    @Test("Help is given even when the rest is wrong")
    func help() throws {
        #expect(try parse("save --help").wantsHelp)
        #expect(try parse("save -sh").wantsHelp)
        #expect(try !parse("exec main ls --help").wantsHelp)
    }

    @Test(
        "A complaint names the bad word and what was expected",
        arguments: [
            ("", "missing command", "see 'ckpt help'"),
            ("svae main", "unknown command 'svae'", "did you mean 'ckpt save'? see 'ckpt help'"),
            ("checkpoint main", "unknown command 'checkpoint'", "did you mean 'ckpt save'? see 'ckpt help'"),
            ("frobnicate", "unknown command 'frobnicate'", "see 'ckpt help'"),
            ("--jsn save", "unknown option --jsn", "did you mean --json? see 'ckpt help'"),
            ("save", "missing NAME: save needs the name of a sandbox", "see 'ckpt save --help'"),
            ("save --tga x main", "unknown option --tga", "did you mean --tag? see 'ckpt save --help'"),
            ("save -sx main", "unknown option -x in -sx", "see 'ckpt save --help'"),
            ("save --stop=yes main", "option --stop takes no value", "see 'ckpt save --help'"),
            ("save main --tag", "option --tag needs a tag", "see 'ckpt save --help'"),
            ("save --tag --stop main", "option --tag needs a tag, not the option --stop", ""),
            ("save a b", "unexpected word 'b'", "see 'ckpt save --help'"),
            ("save -n 11 a", "bad value '11' for --number: it must be a whole number from 1 to 10", ""),
            (
                "save --env =1 a",
                "bad value '=1' for --env: it must be KEY=VALUE, or KEY for its value here", ""
            ),
            ("save ../etc", "bad NAME '../etc': a sandbox's name is", ""),
            ("rm a .b", "bad NAME '.b': a sandbox's name is", ""),
            ("run", "missing CMD: run needs a command to run", ""),
        ])
    func complaints(line: String, message: String, hint: String) throws {
        let error = try #require(throws: UsageError.self) { try parse(line) }
        #expect(error.message.hasPrefix(message))
        if !hint.isEmpty { #expect(error.hint == hint) }
    }

    @Test("Operands that may be missing or many")
    func operands() throws {
        #expect(try parse("restore main").optionalOperand("SNAPSHOT") == nil)
        #expect(try parse("restore main a1~2").optionalOperand("SNAPSHOT") == "a1~2")
        #expect(try parse("rm a b c").operands("NAME") == ["a", "b", "c"])
    }
}

@Suite("Words and their forms")
struct WordTests {
    @Test(
        "Names",
        arguments: [
            ("a", true), ("A-1_b.c", true), ("9", true), ("-a", false), (".a", false),
            ("", false), ("a b", false), ("ä", false), ("a/b", false), ("a\n", false),
        ])
    func names(word: String, good: Bool) { #expect(isName(word) == good) }

    @Test("A name has 63 characters at most")
    func nameLength() {
        #expect(isName(String(repeating: "a", count: 63)))
        #expect(!isName(String(repeating: "a", count: 64)))
    }

    @Test("Signals", arguments: [("TERM", 15), ("SIGTERM", 15), ("sigkill", 9), ("1", 1), ("64", 64)])
    func signals(word: String, number: Int32) { #expect(signalNumber(word) == number) }

    @Test("What is no signal", arguments: ["0", "65", "-9", "SIG", "FOO", ""])
    func noSignals(word: String) { #expect(signalNumber(word) == nil) }

    @Test("Seconds", arguments: [("1.5", true), ("0", false), ("-1", false), ("inf", false), ("x", false)])
    func seconds(word: String, good: Bool) { #expect((ValueKind.seconds.objection(to: word) == nil) == good) }

    @Test(
        "The nearest word",
        arguments: [
            ("svae", "save"), ("sav", "save"), ("retsore", "restore"), ("tre", "tree"), ("doctro", "doctor"),
            ("rest", "restore"), ("xyzzy", nil), ("s", nil), ("completino", "completion"),
        ] as [(String, String?)])
    func nearest(typed: String, expected: String?) {
        let words = ["save", "restore", "reset", "tree", "tag", "doctor", "completion", "rm", "ps"]
        #expect(nearestWord(to: typed, among: words) == expected)
    }

    @Test(
        "The ends of a copy",
        arguments: [
            ("-", CopyEnd.stream), ("a", .here("a")), ("./a:b", .here("./a:b")), ("/x:y", .here("/x:y")),
            ("main:/etc", .inside(sandbox: "main", path: "/etc")),
            ("m:/a:b", .inside(sandbox: "m", path: "/a:b")),
        ] as [(String, CopyEnd)])
    func copyEnds(word: String, end: CopyEnd) throws { #expect(try CopyEnd(word) == end) }

    @Test("Ends of a copy that cannot be meant", arguments: ["main:etc", "main:", "a b:/x", ":/x"])
    func badCopyEnds(word: String) { #expect(throws: UsageError.self) { try CopyEnd(word) } }

    @Test("Paths taken apart")
    func copyPaths() {
        let plain = CopyPath("a/b")
        #expect(plain.name == "b" && plain.parent == "a" && !plain.contentsOnly && !plain.mustBeDirectory)
        let slash = CopyPath("/a/")
        #expect(slash.path == "/a" && slash.parent == "/" && slash.mustBeDirectory && !slash.contentsOnly)
        let contents = CopyPath("a/.")
        #expect(contents.path == "a" && contents.contentsOnly && contents.mustBeDirectory)
        #expect(CopyPath(".").contentsOnly && CopyPath(".").name.isEmpty)
        #expect(CopyPath("/").contentsOnly && CopyPath("/").path == "/" && CopyPath("/").name.isEmpty)
        #expect(CopyPath("x").parent == ".")
        #expect(CopyPath("..").name.isEmpty)
    }
}
