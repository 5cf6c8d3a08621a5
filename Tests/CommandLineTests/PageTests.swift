import CommandInterface
import Messages
import Testing

@Suite("Ages, sizes, times")
struct MeasureTests {
    @Test(
        "Ages",
        arguments: [
            (-5, "now"), (0.4, "now"), (59.9, "59s"), (60, "1m"), (3599, "59m"), (7200, "2h"), (86400, "1d"),
            (13.9 * 86400, "13d"), (14 * 86400, "2w"), (400 * 86400, "1y"), (1e300, "long ago"),
        ] as [(Double, String)])
    func ages(seconds: Double, text: String) { #expect(ageText(seconds: seconds) == text) }

    @Test(
        arguments: [
            ("90s", 90), ("1.5m", 90), ("12h", 43_200), ("7d", 604_800), ("2w", 1_209_600), ("s", nil),
            ("0s", nil),
            ("-1d", nil), ("7", nil), ("7y", nil), ("1e3s", nil), ("", nil),
        ] as [(String, Double?)])
    func spans(text: String, seconds: Double?) { #expect(spanSeconds(text) == seconds) }

    @Test(
        "Sizes",
        arguments: [
            (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (9949, "9.9 kB"), (9950, "10 kB"),
            (999_499, "999 kB"),
            (999_500, "1.0 MB"), (1_073_741_824, "1.1 GB"), (Int64.max, "9.2 EB"), (-1, "0 B"),
        ] as [(Int64, String)])
    func sizes(bytes: Int64, text: String) { #expect(sizeText(bytes: bytes) == text) }

    @Test(
        "Milliseconds",
        arguments: [(0.405, "0.41 ms"), (7.26, "7.3 ms"), (412.4, "412 ms"), (3254, "3.25 s")]
            as [(Double, String)])
    func milliseconds(value: Double, text: String) { #expect(millisecondsText(value) == text) }

    @Test(
        "Moments",
        arguments: [
            (0, "1970-01-01 00:00:00 UTC"), (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_767_225_599.9, "2025-12-31 23:59:59 UTC"), (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] as [(Double, String)])
    func moments(time: Double, text: String) { #expect(momentText(time) == text) }
}

@Suite("Text on a terminal")
struct DisplayTests {
    @Test(
        "Columns",
        arguments: [
            ("abc", 3), ("日本", 4), ("e\u{301}", 1), ("👩‍👩‍👧", 2), ("…", 1), ("●", 1), ("✗", 1), ("한글", 4),
        ])
    func widths(text: String, count: Int) { #expect(columns(of: text) == count) }

    @Test("Trimming keeps within the limit and says so")
    func trimming() {
        #expect(trimmed("abcdef", to: 6, ellipsis: "…") == "abcdef")
        #expect(trimmed("abcdef", to: 5, ellipsis: "…") == "abcd…")
        #expect(trimmed("日本語", to: 4, ellipsis: "…") == "日…")
        #expect(trimmed("ab cdef", to: 4, ellipsis: "…") == "ab…")
        #expect(trimmed("abcdef", to: 2, ellipsis: "...") == "..")
    }

    @Test("What comes from a sandbox cannot move the cursor")
    func controls() {
        #expect(harmless("a\u{1B}[2Jb\nc\u{9B}1m\u{202E}", unicode: true) == "a?[2Jb c?1m?")
        #expect(harmless("naïve", unicode: false) == "na?ve")
    }

    @Test(
        "Colours and characters follow the environment",
        arguments: [
            (["LANG": "C.UTF-8", "TERM": "xterm"], true, true),
            (["LC_ALL": "C", "LANG": "en_US.UTF-8"], false, false),
            (["LANG": "de_DE.utf8", "TERM": "xterm", "NO_COLOR": "1"], true, false),
            (["LC_ALL": "", "LC_CTYPE": "C.UTF-8", "TERM": "dumb"], true, false),
            (["NO_COLOR": "", "TERM": "xterm"], false, true),
        ] as [([String: String], Bool, Bool)])
    func styles(environment: [String: String], unicode: Bool, colour: Bool) {
        let style = Style(width: 80, environment: environment)
        #expect(style.unicode == unicode)
        #expect(style.colour == colour)
        #expect(!Style(width: nil, environment: environment).colour)
    }

    @Test("A table is aligned and leaves out empty columns")
    func table() {
        var table = TextTable(["NAME", "STATE", "REASON"])
        table.add(["main", "● running", ""])
        table.add(["日本-x", "○ stopped", ""])
        #expect(table.lines(Style()) == ["NAME    STATE", "main    ● running", "日本-x  ○ stopped"])
        #expect(table.lines(Style(width: 12)) == ["NAME    STA…", "main    ● r…", "日本-x  ○ s…"])
    }

    @Test("Sheets leave out what is not there")
    func sheets() {
        let info = SandboxInfo(
            name: "main", state: .dead, pid: nil, spec: SandboxSpec(env: ["A": "1\u{7}"]), created: 0,
            snapshot: nil, processes: 0, sessions: [], reason: "PID 1 was killed")
        let lines = sheet(of: info, now: 120, style: Style(unicode: false))
        #expect(
            lines == [
                "sandbox      main", "state        x dead", "reason       PID 1 was killed",
                "stands on    the base", "created      1970-01-01 00:00:00 UTC (2m ago)",
                "processes    0", "base         host", "environment  A=1?",
            ])
    }

    @Test("Sheets tell of every option")
    func options() throws {
        var spec = SandboxSpec()
        spec.user = "nobody"
        spec.ulimits = [try Ulimit("nofile=64")]
        spec.limits.memory = try ByteSize("64m")
        spec.limits.cpus = try CPUQuota("1")
        spec.security.capDrop = [try Capability("ALL")]
        spec.security.allowPorts = [443]
        spec.net = .nat
        spec.ports = [try PortForward("8080:80")]
        let info = SandboxInfo(
            name: "main", state: .stopped, pid: nil, spec: spec, created: 0, snapshot: nil, processes: 0,
            sessions: [])
        let text = sheet(of: info, now: 0, style: Style(unicode: false)).joined(separator: "\n")
        for part in ["nobody", "nofile=64", "64m", "CPUs", "-ALL", "443", "nat", "8080:80/tcp"] {
            #expect(text.contains(part), "\(part) is missing in\n\(text)")
        }
    }
}
