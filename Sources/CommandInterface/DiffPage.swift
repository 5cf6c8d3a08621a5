public import Messages

/// What `ckpt diff` shows for people: a line for each file, process, descriptor and mapping that changed.
public struct DiffPage {
    private let diff: SnapshotDiff
    private let style: Style

    /// The page of `diff`.
    public init(_ diff: SnapshotDiff, style: Style) { (self.diff, self.style) = (diff, style) }

    /// The page's lines; none when there is no difference.
    public func lines() -> [String] {
        let sections = [
            ("files", diff.files.flatMap(lines(of:))), ("processes", diff.processes.flatMap(lines(of:))),
            ("descriptors", diff.descriptors.map(line(of:))), ("memory", diff.memory.map(line(of:))),
        ]
        return Array(
            sections.filter { !$0.1.isEmpty }
                .map { [style.paint($0.0, .heading)] + $0.1 }.joined(separator: [""]))
    }

    private func mark(_ change: String) -> String {
        switch change {
        case "added", "born", "opened", "mapped": style.paint("+", .good)
        case "deleted", "gone", "closed", "unmapped": style.paint("-", .bad)
        default: style.paint(change == "metadata" ? "m" : "~", .warning)
        }
    }

    private func lines(of file: FileChange) -> [String] {
        var notes: [String] = []
        if let after = file.after, file.before == nil { notes.append(state(after)) }
        if let before = file.before, let after = file.after {
            if before.type != after.type { notes.append("\(before.type) → \(after.type)") }
            if before.mode != after.mode { notes.append("mode \(octal(before.mode)) → \(octal(after.mode))") }
            if (before.uid, before.gid) != (after.uid, after.gid) {
                notes.append("owner \(before.uid):\(before.gid) → \(after.uid):\(after.gid)")
            }
            if before.type == "file", before.size != after.size {
                notes.append("\(sizeText(bytes: before.size)) → \(sizeText(bytes: after.size))")
            }
            if before.target != after.target { notes.append("→ \(after.target ?? "")") }
        }
        let what = notes.isEmpty ? "" : style.paint("  " + style.clean(notes.joined(separator: ", ")), .faint)
        let patch = (file.patch ?? "").split(separator: "\n").map { line in
            let role: Style.Role = line.hasPrefix("+") ? .good : line.hasPrefix("-") ? .bad : .faint
            return "    " + style.paint(style.clean(String(line)), role)
        }
        return ["\(mark(file.change)) \(style.clean(file.path))\(what)"] + patch
    }

    private func state(_ file: FileState) -> String {
        switch file.type {
        case "file": sizeText(bytes: file.size)
        case "symlink": "symlink → \(file.target ?? "")"
        default: file.type
        }
    }

    private func octal(_ mode: Int) -> String { "0" + String(mode, radix: 8) }

    private func lines(of process: ProcessChange) -> [String] {
        ["\(mark(process.change)) \(style.paint("\(process.pid)", .id)) \(style.clean(process.command))"]
            + process.details.map { "    " + style.paint(style.clean($0), .faint) }
    }

    private func line(of descriptor: DescriptorChange) -> String {
        let shown = (descriptor.after ?? descriptor.before).map { ProcessDetails.text(of: $0) } ?? ""
        var text = style.clean(shown)
        if let before = descriptor.before, descriptor.after != nil {
            text += style.paint("  (was \(style.clean(ProcessDetails.text(of: before))))", .faint)
        }
        return "\(mark(descriptor.change)) \(style.paint("\(descriptor.pid)", .id)) \(text)"
    }

    private func line(of memory: MemoryChange) -> String {
        let range = "\(memory.start.dropFirst(2))-\(memory.end.dropFirst(2)) \(memory.permissions)"
        let count = "\(memory.changedPages) of \(memory.pages) pages"
        let name = memory.name.map { "  \(style.clean($0))" } ?? ""
        let how = memory.change == "resized" ? ", resized" : ""
        return "\(mark(memory.change)) \(style.paint("\(memory.pid)", .id)) \(range)  \(count)\(how)\(name)"
    }
}
