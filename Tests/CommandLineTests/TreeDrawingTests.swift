import CommandInterface
import Messages
import Testing

@Suite("Drawing the snapshot tree")
struct TreeDrawingTests {
    /// A snapshot `age` seconds old at time 10,000; its id is made of its letter.
    func snapshot(
        _ letter: String, of parent: String? = nil, tags: [String] = [], _ message: String? = nil,
        age: Double = 60, base: Base = .host
    ) -> SnapshotInfo {
        SnapshotInfo(
            id: id(letter), parent: parent.map(id), children: [], tags: tags, message: message,
            sandbox: "main",
            created: 10_000 - age, spec: SandboxSpec(base: base), layers: [], processBytes: 2_400_000,
            layerBytes: 51_000, standing: [], processes: 2, timings: nil)
    }

    func sandbox(
        _ name: String, on letter: String? = nil, _ state: SandboxState = .running, base: Base = .host
    ) -> SandboxInfo {
        SandboxInfo(
            name: name, state: state, pid: nil, spec: SandboxSpec(base: base), created: 9_970,
            snapshot: letter.map(id), processes: 1, sessions: [])
    }

    func id(_ letter: String) -> String { String(repeating: letter, count: 16) }

    func drawing(
        _ snapshots: [SnapshotInfo], _ sandboxes: [SandboxInfo] = [], style: Style = Style()
    ) -> [String] {
        let tree = TreeInfo(snapshots: snapshots, sandboxes: sandboxes.filter { $0.snapshot == nil })
        return TreeDrawing(tree, sandboxes: sandboxes, now: 10_000, style: style).lines()
    }

    @Test("Nothing is drawn of nothing")
    func empty() { #expect(drawing([]).isEmpty) }

    @Test("Branches, tags, messages, and who stands where")
    func small() {
        let lines = drawing(
            [
                snapshot("a", tags: ["ready"], "dependencies installed", age: 7200),
                snapshot("b", of: "a", "try one", age: 120), snapshot("c", of: "a", age: 90),
            ],
            [sandbox("fresh"), sandbox("main", on: "b"), sandbox("old", on: "c", .stopped)])
        #expect(
            lines == [
                "host",
                "├── ● fresh                                   30s",
                "└── aaaaaaaa (ready)  dependencies installed   2h  2.4 MB + 51 kB",
                "    ├── bbbbbbbb ● main  try one               2m  2.4 MB + 51 kB",
                "    └── cccccccc ○ old                         1m  2.4 MB + 51 kB",
            ])
    }

    @Test("A chain stays in its column, and a branch off it moves to the right")
    func deep() {
        let lines = drawing([
            snapshot("a", age: 9), snapshot("b", of: "a", age: 8), snapshot("c", of: "b", age: 7),
            snapshot("d", of: "c", age: 6), snapshot("e", of: "d", age: 5), snapshot("f", of: "c", age: 4),
        ])
        #expect(
            lines == [
                "host",
                "└── aaaaaaaa      9s  2.4 MB + 51 kB",
                "    bbbbbbbb      8s  2.4 MB + 51 kB",
                "    cccccccc      7s  2.4 MB + 51 kB",
                "    ├── dddddddd  6s  2.4 MB + 51 kB",
                "    │   eeeeeeee  5s  2.4 MB + 51 kB",
                "    └── ffffffff  4s  2.4 MB + 51 kB",
            ])
    }

    @Test("A chain of 20,000 is drawn in one column")
    func veryDeep() {
        let chain = (0..<20_000).map { index in
            SnapshotInfo(
                id: "s\(index + 1_000_000)", parent: index == 0 ? nil : "s\(index + 999_999)", children: [],
                tags: [], message: nil, sandbox: "main", created: Double(index), spec: SandboxSpec(),
                layers: [], processBytes: 0, layerBytes: 0, standing: [], processes: 1, timings: nil)
        }
        let lines = drawing(chain)
        #expect(lines.count == 20_001)
        #expect(lines.last?.hasPrefix("    s1019999") == true)
    }

    @Test("Many sandboxes on one snapshot are counted after the first")
    func wide() {
        let forks = (1...7).map { sandbox("try-\($0)", on: "a") } + [sandbox("gone", on: "b", .dead)]
        let lines = drawing([snapshot("a"), snapshot("b")], forks)
        #expect(
            lines == [
                "host",
                "├── aaaaaaaa ● try-1 ● try-2 ● try-3 ● try-4 +3  1m  2.4 MB + 51 kB",
                "└── bbbbbbbb ✗ gone                              1m  2.4 MB + 51 kB",
            ])
    }

    @Test("ASCII where the locale has nothing else, messages included")
    func ascii() {
        let lines = drawing(
            [snapshot("a", "naïve"), snapshot("b", of: "a"), snapshot("c", of: "a")],
            [sandbox("x", on: "c", .dead), sandbox("y", on: "b"), sandbox("z", .stopped)],
            style: Style(unicode: false))
        #expect(
            lines == [
                "host",
                "|-- o z               30s",
                "`-- aaaaaaaa  na?ve    1m  2.4 MB + 51 kB",
                "    |-- bbbbbbbb * y   1m  2.4 MB + 51 kB",
                "    `-- cccccccc x x   1m  2.4 MB + 51 kB",
            ])
    }

    @Test("The message gives way first, then the end of the line; age and size stay")
    func narrow() {
        let forest = [
            snapshot("a", tags: ["one", "two", "three", "four"], "all that was done so far and a bit more")
        ]
        #expect(
            drawing(forest, style: Style(width: 80)) == [
                "host", "└── aaaaaaaa (one, two, three, four)  all that was done so…   1m  2.4 MB + 51 kB",
            ])
        #expect(
            drawing(forest, style: Style(width: 60)) == [
                "host", "└── aaaaaaaa (one, two, three, four)      1m  2.4 MB + 51 kB",
            ])
        #expect(
            drawing(forest, style: Style(width: 50)) == [
                "host", "└── aaaaaaaa (one, two, three…  1m  2.4 MB + 51 kB",
            ])
        for width in 30...200 {
            let widest = drawing(forest, style: Style(width: width)).map { columns(of: $0) }.max() ?? 0
            #expect(widest <= max(width, 42))
        }
    }

    @Test("Roots without their parent say so, and bases come apart")
    func orphans() {
        let lines = drawing(
            [snapshot("b", of: "a"), snapshot("c", base: .directory("/srv/root"))],
            [sandbox("lost", on: "z"), sandbox("web", base: .directory("/srv/root"))])
        #expect(
            lines == [
                "host",
                "├── ● lost                                     30s",
                "└── bbbbbbbb (its parent aaaaaaaa is missing)   1m  2.4 MB + 51 kB",
                "/srv/root",
                "├── ● web                                      30s",
                "└── cccccccc                                    1m  2.4 MB + 51 kB",
            ])
    }

    @Test("Ids are as long as it takes to tell them apart")
    func shortIds() {
        func info(_ id: String) -> SnapshotInfo {
            var info = snapshot("a")
            info.id = id
            return info
        }
        let lines = drawing([info("0123456789abcdef"), info("0123456789abff00")])
        #expect(lines[1].hasPrefix("├── 0123456789abc  "))
        #expect(lines[2].hasPrefix("└── 0123456789abf  "))
    }

    @Test("Colours change nothing but colours")
    func colours() {
        let forest = [snapshot("a", tags: ["ready"], "m"), snapshot("b", of: "a")]
        let plain = drawing(forest, [sandbox("main", on: "b")])
        let coloured = drawing(forest, [sandbox("main", on: "b")], style: Style(colour: true))
        #expect(coloured != plain)
        #expect(coloured.map(withoutColours) == plain)
    }

    private func withoutColours(_ line: String) -> String {
        var plain = ""
        var skipping = false
        for character in line {
            if character == "\u{1B}" { skipping = true }
            if !skipping { plain.append(character) }
            if character == "m" { skipping = false }
        }
        return plain
    }
}
