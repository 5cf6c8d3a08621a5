import Glibc
import LinuxSystem
import SnapshotTree

/// The lines of a text file, or no lines where there is no file.
struct TextFile {
    /// Each with its newline, which the last one may lack.
    let lines: [Substring]
    let exists: Bool

    /// Files beyond this are compared, but their difference is not shown.
    private static let largest = 1 << 20

    /// Nil where the file is no text: not a regular file, not UTF-8, with zero bytes, or larger than 1 MiB.
    init?(_ side: FileDifference.Side?) throws(SystemError) {
        guard let side else {
            (lines, exists) = ([], false)
            return
        }
        guard side.type == S_IFREG, side.status.st_size <= Self.largest else { return nil }
        let bytes = try side.opened().readAll()
        guard !bytes.contains(0), let text = String(validating: bytes, as: UTF8.self) else { return nil }
        exists = true
        var (lines, start) = ([Substring](), text.startIndex)
        // By bytes: a carriage return and the newline after it are one character to Swift.
        while let end = text.utf8[start...].firstIndex(of: UInt8(ascii: "\n")) {
            let next = text.utf8.index(after: end)
            lines.append(text[start..<next])
            start = next
        }
        if start < text.endIndex { lines.append(text[start...]) }
        self.lines = lines
    }
}

/// The difference of two texts as diff -u shows it.
struct UnifiedDiff {
    private let old: TextFile
    private let new: TextFile
    private static let context = 3
    /// Beyond this many steps two texts are shown as wholly different rather than compared line by line.
    private static let mostSteps = 4_000_000

    init(old: TextFile, new: TextFile) {
        self.old = old
        self.new = new
    }

    private enum Line {
        case kept(Int, Int)
        case removed(Int)
        case added(Int)

        var isKept: Bool { if case .kept = self { true } else { false } }
    }

    /// The patch, with the names `a/…` and `b/…` before it, for patch -p1.
    func text(path: String) -> String {
        var text = "--- \(old.exists ? Self.name("a" + path) : "/dev/null")\n"
        text += "+++ \(new.exists ? Self.name("b" + path) : "/dev/null")\n"
        let script = script()
        for hunk in Self.hunks(of: script) {
            text += self.text(of: script[hunk], before: script[..<hunk.lowerBound])
        }
        return text
    }

    /// A file's name as git writes it and patch(1) reads it: a tab after one with spaces, and one with control
    /// characters quoted as in C.
    private static func name(_ path: String) -> String {
        guard path.utf8.contains(where: { $0 < 0x20 || $0 == 0x7f || $0 == UInt8(ascii: "\"") }) else {
            return path.contains(" ") ? path + "\t" : path
        }
        let escaped = path.utf8.flatMap { byte -> [UInt8] in
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"): return [UInt8(ascii: "\\"), byte]
            case 0x20..<0x7f, 0x80...: return [byte]
            default:
                let digits = String(byte, radix: 8)
                return Array(("\\" + String(repeating: "0", count: 3 - digits.count) + digits).utf8)
            }
        }
        return "\"" + String(decoding: escaped, as: UTF8.self) + "\""
    }

    /// Every line of both texts, in order.
    private func script() -> [Line] {
        let shortest = min(old.lines.count, new.lines.count)
        let head = (0..<shortest).first { old.lines[$0] != new.lines[$0] } ?? shortest
        var tail = 0
        while tail < shortest - head,
            old.lines[old.lines.count - 1 - tail] == new.lines[new.lines.count - 1 - tail]
        {
            tail += 1
        }
        let (oldEnd, newEnd) = (old.lines.count - tail, new.lines.count - tail)
        return (0..<head).map { .kept($0, $0) } + middle(head..<oldEnd, head..<newEnd)
            + (0..<tail).map { .kept(oldEnd + $0, newEnd + $0) }
    }

    private func middle(_ olds: Range<Int>, _ news: Range<Int>) -> [Line] {
        guard olds.count * news.count <= Self.mostSteps else {
            return olds.map { .removed($0) } + news.map { .added($0) }
        }
        let difference = new.lines[news].difference(from: old.lines[olds])
        // Offsets count from the start of the collections that were compared.
        let removed = Set(difference.removals.map { Self.offset(of: $0) + olds.lowerBound })
        let added = Set(difference.insertions.map { Self.offset(of: $0) + news.lowerBound })
        var (lines, one, two) = ([Line](), olds.lowerBound, news.lowerBound)
        while one < olds.upperBound || two < news.upperBound {
            if removed.contains(one), one < olds.upperBound {
                lines.append(.removed(one))
                one += 1
            } else if added.contains(two), two < news.upperBound {
                lines.append(.added(two))
                two += 1
            } else {
                lines.append(.kept(one, two))
                one += 1
                two += 1
            }
        }
        return lines
    }

    private static func offset(of change: CollectionDifference<Substring>.Change) -> Int {
        switch change {
        case .insert(let offset, _, _), .remove(let offset, _, _): offset
        }
    }

    /// The parts of the script that are shown: changes with lines of context around them.
    private static func hunks(of script: [Line]) -> [Range<Int>] {
        var hunks: [Range<Int>] = []
        for index in script.indices where !script[index].isKept {
            let part = max(0, index - context)..<min(script.count, index + context + 1)
            if let last = hunks.last, last.upperBound >= part.lowerBound {
                hunks[hunks.count - 1] = last.lowerBound..<part.upperBound
            } else {
                hunks.append(part)
            }
        }
        return hunks
    }

    private func text(of hunk: ArraySlice<Line>, before: ArraySlice<Line>) -> String {
        func count(_ lines: ArraySlice<Line>) -> (old: Int, new: Int) {
            lines.reduce(into: (0, 0)) { sum, line in
                switch line {
                case .kept: sum = (sum.0 + 1, sum.1 + 1)
                case .removed: sum.0 += 1
                case .added: sum.1 += 1
                }
            }
        }
        let (start, length) = (count(before), count(hunk))
        func range(_ start: Int, _ length: Int) -> String {
            // An empty range is named by the line before it.
            let first = length == 0 ? start : start + 1
            return length == 1 ? "\(first)" : "\(first),\(length)"
        }
        var text = "@@ -\(range(start.old, length.old)) +\(range(start.new, length.new)) @@\n"
        for line in hunk {
            let (sign, content) =
                switch line {
                case .kept(let index, _): (" ", old.lines[index])
                case .removed(let index): ("-", old.lines[index])
                case .added(let index): ("+", new.lines[index])
                }
            text += sign + content
            if !content.utf8.reversed().starts(with: [UInt8(ascii: "\n")]) {
                text += "\n\\ No newline at end of file\n"
            }
        }
        return text
    }
}
