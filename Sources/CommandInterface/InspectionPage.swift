public import Messages

/// What `ckpt inspect` shows for people: the sandbox as a whole, then its processes as a tree with their details.
public struct InspectionPage {
    /// What is shown beside the summary of each process.
    public struct Parts: Sendable {
        public var surroundings = true
        public var summary = true
        public var files = true
        public var regions = false
        public var environment = false
        public var registers = false
        public init() {}
    }

    let style: Style
    let parts: Parts
    private let inspection: Inspection

    /// The page of `inspection`.
    public init(_ inspection: Inspection, parts: Parts, style: Style) {
        (self.inspection, self.parts, self.style) = (inspection, parts, style)
    }

    /// The page's lines.
    public func lines() -> [String] {
        var lines = parts.surroundings ? surroundings() + [StyledLine()] : []
        let shown = Set(inspection.processes.map(\.pid))
        let roots = inspection.processes.filter { !shown.contains($0.parent) || $0.parent == $0.pid }
        let children = Dictionary(grouping: inspection.processes.filter { $0.parent != $0.pid }, by: \.parent)
        // With a stack of its own: the images, not we, say how deep the tree is.
        var waiting = roots.reversed().map { (process: $0, lead: "", below: "") }
        var drawn: Set<Int> = []
        while let (process, lead, below) = waiting.popLast() {
            guard drawn.insert(process.pid).inserted else { continue }
            let offspring = children[process.pid] ?? []
            let rail = offspring.isEmpty ? "  " : style.unicode ? "│ " : "| "
            lines.append(heading(of: process, lead: lead))
            lines += ProcessDetails(process, parts: parts, style: style).lines().map { detail in
                var line = StyledLine()
                line.append(below + rail + "  ", .faint)
                for piece in detail.pieces { line.append(piece.text, piece.role) }
                return line
            }
            for (index, child) in offspring.enumerated().reversed() {
                let isLast = index == offspring.count - 1
                let branch = style.unicode ? (isLast ? "└── " : "├── ") : (isLast ? "`-- " : "|-- ")
                let rail = isLast ? "    " : style.unicode ? "│   " : "|   "
                waiting.append((child, below + branch, below + rail))
            }
        }
        return lines.map { line in
            let fitting = style.width.map { line.cut(to: $0, ellipsis: style.ellipsis) } ?? line
            return fitting.painted(style).trimmingTrailingSpaces()
        }
    }

    private func heading(of process: InspectedProcess, lead: String) -> StyledLine {
        var line = StyledLine()
        line.append(lead, .faint)
        line.append("\(process.pid)", .id)
        let words = process.arguments.flatMap { $0.isEmpty ? nil : $0.joined(separator: " ") }
        line.append(" " + style.clean(words ?? "(\(process.command))"), .heading)
        if process.state != "alive" { line.append("  \(process.state)", .warning) }
        return line
    }

    private func surroundings() -> [StyledLine] {
        var sheet = DetailSheet(style)
        sheet.add("snapshot", inspection.snapshot, .id)
        sheet.add("host name", inspection.hostname)
        sheet.add("processes", "\(inspection.processes.count)")
        if let dump = inspection.dump {
            sheet.add(
                "the dump took",
                "\(millisecondsText(dump.frozenMs)) frozen (freezing \(millisecondsText(dump.freezingMs)), "
                    + "memory \(millisecondsText(dump.memoryDumpMs)))")
            sheet.add(
                "pages",
                "\(dump.pagesScanned) looked at, \(dump.pagesWritten) written, "
                    + "\(dump.sharedPagesWritten) of shared memory")
        }
        if let clocks = inspection.clocks {
            let offset = clocks.boottimeOffsetSeconds.map { ", \(signed($0)) s beside the host's" } ?? ""
            sheet.add(
                "clocks",
                "monotonic \(decimal(clocks.monotonicSeconds, digits: 3)) s, "
                    + "boot \(decimal(clocks.boottimeSeconds, digits: 3)) s\(offset)")
        }
        let own = inspection.namespaces.filter(\.own).map(\.kind)
        let shared = inspection.namespaces.filter { !$0.own }.map(\.kind)
        sheet.add(
            "namespaces",
            own.joined(separator: " ")
                + (shared.isEmpty ? "" : " (the host's: \(shared.joined(separator: " ")))"))
        for range in inspection.userMap { sheet.add("user ids", mapped(range)) }
        for range in inspection.groupMap { sheet.add("group ids", mapped(range)) }
        for mount in inspection.mounts { sheet.add("mount", text(of: mount)) }
        return sheet.lines()
    }

    private func mapped(_ range: InspectedIDRange) -> String {
        "\(range.inside) to \(range.inside + range.count - 1) are \(range.outside) and up outside"
    }

    private func signed(_ seconds: Double) -> String {
        (seconds < 0 ? "" : "+") + decimal(seconds, digits: 3)
    }

    private func text(of mount: InspectedMount) -> String {
        var text = "\(mount.mountPoint)  \(mount.type)"
        if mount.root != "/" { text += " of \(mount.root)" }
        if !mount.flags.isEmpty { text += "  \(mount.flags.joined(separator: ","))" }
        return text
    }
}

/// Labels and values, aligned, as pieces of lines.
struct DetailSheet {
    private let style: Style
    private var entries: [(label: String, value: String, role: Style.Role)] = []

    init(_ style: Style) { self.style = style }

    /// Adds a line; a value that is nil or empty leaves it out. Lines of one label that follow one another name it once.
    mutating func add(_ label: String, _ value: String?, _ role: Style.Role = .plain) {
        if let value, !value.isEmpty { entries.append((label, style.clean(value), role)) }
    }

    func lines() -> [StyledLine] {
        let width = entries.map { columns(of: $0.label) }.max() ?? 0
        var last = ""
        return entries.map { entry in
            var line = StyledLine()
            line.append(padded(entry.label == last ? "" : entry.label, to: width) + "  ", .faint)
            line.append(entry.value, entry.role)
            last = entry.label
            return line
        }
    }
}
