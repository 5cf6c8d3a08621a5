public import Messages

/// Draws the snapshot tree: one line a snapshot, branches as boxes, who stands where, age and size.
///
/// A snapshot right under another in the same column is its only child, so a chain of any length stays in
/// its column; only where the tree branches does it move to the right.
public struct TreeDrawing {
    private let forest: SnapshotForest
    private let now: Double
    private let style: Style
    /// More sandboxes than this on one snapshot are counted, not named.
    private static let namedSandboxes = 4
    /// A message cut shorter than this says nothing.
    private static let shortestMessage = 6

    /// A drawing of `tree`, with the states of `sandboxes`.
    ///
    /// - Parameter now: seconds since 1970, which ages are counted from.
    public init(_ tree: TreeInfo, sandboxes: [SandboxInfo], now: Double, style: Style) {
        forest = SnapshotForest(tree, sandboxes: sandboxes)
        self.now = now
        self.style = style
    }

    /// The lines of the drawing, none when there is nothing to show.
    public func lines() -> [String] {
        let rows = forest.grounds.flatMap(rows(of:))
        let ageWidth = rows.map { columns(of: $0.age) }.max() ?? 0
        let sizeWidth = rows.map { columns(of: $0.size) }.max() ?? 0
        let rightWidth = 2 + ageWidth + 2 + sizeWidth
        let wanted = rows.map(\.width).max() ?? 0
        let leftWidth = style.width.map { max(min(wanted, $0 - rightWidth), 20) } ?? wanted
        return rows.map { row in
            var line = row.left(within: leftWidth, shortestMessage: Self.shortestMessage, style)
            if !row.age.isEmpty {
                let gap = leftWidth - line.width + 2 + ageWidth - columns(of: row.age)
                line.append(String(repeating: " ", count: max(0, gap)))
                line.append(row.age + (row.size.isEmpty ? "" : "  \(row.size)"), .faint)
            }
            return line.painted(style)
        }
    }

    /// What hangs somewhere in the tree.
    private enum Item {
        case sandbox(SandboxInfo)
        case snapshot(SnapshotInfo)
    }

    private func rows(of ground: SnapshotForest.Ground) -> [Row] {
        var heading = Row()
        heading.head.append(style.clean(ground.base.description), .heading)
        var rows = [heading]
        // Depth first with a stack of its own: a chain may be deeper than a thread's stack.
        var waiting: [(item: Item, lead: String, below: String)] = []
        func hang(_ items: [Item], under prefix: String) {
            for (index, item) in items.enumerated().reversed() {
                let branch = index == items.count - 1 ? lastBranch : midBranch
                waiting.append((item, prefix + branch.lead, prefix + branch.below))
            }
        }
        hang(ground.sandboxes.map { .sandbox($0) } + ground.roots.map { .snapshot($0) }, under: "")
        while let (item, lead, below) = waiting.popLast() {
            switch item {
            case .sandbox(let sandbox):
                rows.append(row(of: sandbox, lead: lead))
            case .snapshot(let snapshot):
                rows.append(row(of: snapshot, lead: lead))
                let children = forest.children(of: snapshot.id)
                if children.count == 1 {
                    waiting.append((.snapshot(children[0]), below, below))
                } else {
                    hang(children.map { .snapshot($0) }, under: below)
                }
            }
        }
        return rows
    }

    private func row(of sandbox: SandboxInfo, lead: String) -> Row {
        var row = Row()
        row.head.append(lead, .faint)
        append(sandbox, to: &row.head)
        row.message = style.clean(sandbox.reason ?? "")
        row.age = ageText(seconds: now - sandbox.created)
        return row
    }

    private func row(of snapshot: SnapshotInfo, lead: String) -> Row {
        var row = Row()
        row.head.append(lead, .faint)
        row.head.append(forest.short(snapshot.id), .id)
        if !snapshot.tags.isEmpty {
            row.head.append(" (")
            row.head.append(style.clean(snapshot.tags.joined(separator: ", ")), .tag)
            row.head.append(")")
        }
        let standing = forest.standing(on: snapshot.id)
        let named = standing.count > Self.namedSandboxes + 1 ? Self.namedSandboxes : standing.count
        for sandbox in standing.prefix(named) {
            row.head.append(" ")
            append(sandbox, to: &row.head)
        }
        if standing.count > named { row.head.append(" +\(standing.count - named)", .faint) }
        if let parent = forest.missingParent(of: snapshot) {
            row.head.append(" (its parent \(forest.short(parent)) is missing)", .warning)
        }
        row.message = style.clean(snapshot.message ?? "")
        row.age = ageText(seconds: now - snapshot.created)
        if snapshot.durable == false {
            row.head.append(" twin", .faint)
            return row
        }
        row.size = sizeText(bytes: snapshot.processBytes) + " + " + sizeText(bytes: snapshot.layerBytes)
        if let storage = snapshot.storage {
            row.size += ", \(sizeText(bytes: storage.sharedBytes)) shared"
            row.size += " of \(sizeText(bytes: storage.logicalBytes))"
        }
        return row
    }

    private func append(_ sandbox: SandboxInfo, to line: inout StyledLine) {
        line.append("\(style.sign(sandbox.state)) \(sandbox.name)", style.role(sandbox.state))
    }

    private var midBranch: (lead: String, below: String) {
        style.unicode ? ("├── ", "│   ") : ("|-- ", "|   ")
    }
    private var lastBranch: (lead: String, below: String) {
        style.unicode ? ("└── ", "    ") : ("`-- ", "    ")
    }
}

/// One line of the drawing before it is fitted into its width.
private struct Row {
    var head = StyledLine()
    var message = ""
    var age = ""
    var size = ""

    /// The columns that it would like to the left of its age.
    var width: Int { head.width + (message.isEmpty ? 0 : 2 + columns(of: message)) }

    /// The line up to its age: the message gives way first.
    func left(within limit: Int, shortestMessage: Int, _ style: Style) -> StyledLine {
        var line = head
        let room = limit - head.width - 2
        if !message.isEmpty, room >= min(shortestMessage, columns(of: message)) {
            line.append("  " + trimmed(message, to: room, ellipsis: style.ellipsis), .message)
        }
        return line.cut(to: limit, ellipsis: style.ellipsis)
    }
}
