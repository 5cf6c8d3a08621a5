import Messages

extension ProcessDetails {
    /// A descriptor in one line: number, kind, name, how it is open and what is at its other end.
    static func text(of file: InspectedFile) -> String {
        var parts = ["\(file.fd) \(file.kind)" + (file.access.map { " \(short($0))" } ?? "")]
        if let path = file.path { parts[0] += " \(path)" + (file.deleted == true ? " (deleted)" : "") }
        if let offset = file.offset, file.kind == "file" || file.kind == "memfd" {
            parts.append("at \(offset)" + (file.size.map { " of \($0)" } ?? ""))
        }
        if let pipe = file.pipe {
            parts.append(
                "the \(pipe.end) end" + (pipe.bufferedBytes > 0 ? ", \(pipe.bufferedBytes) bytes in it" : ""))
            parts.append(holders(pipe.otherEnd))
        }
        if let socket = file.socket { parts += text(of: socket, named: file.path != nil) }
        if let terminal = file.terminal {
            parts.append(terminal.kind + (terminal.index.map { " \($0)" } ?? ""))
            if let session = terminal.session { parts.append("session \(session)") }
            if let rows = terminal.rows, let columns = terminal.columns { parts.append("\(columns)x\(rows)") }
            if !terminal.otherEnd.isEmpty { parts.append(holders(terminal.otherEnd)) }
        }
        parts += (file.watches ?? []).map { text(of: $0) }
        if let counter = file.counter { parts.append("counts \(counter)") }
        if let signals = file.signals { parts.append(signals.joined(separator: " ")) }
        if let timer = file.timer { parts.append(text(of: timer)) }
        if let process = file.process { parts.append("process \(process)") }
        parts += file.flags
        if file.closeOnExec { parts.append("close-on-exec") }
        return parts.joined(separator: ", ")
    }

    private static func short(_ access: String) -> String {
        ["read": "r", "write": "w", "read-write": "rw"][access] ?? access
    }

    private static func text(of socket: InspectedSocket, named: Bool) -> [String] {
        var parts = [[socket.protocol, socket.type, socket.state].compactMap { $0 }.joined(separator: " ")]
        let ends = [named ? nil : socket.local, socket.remote.map { "→ \($0)" }].compactMap { $0 }
        if !ends.isEmpty { parts.append(ends.joined(separator: " ")) }
        if let backlog = socket.backlog { parts.append("backlog \(backlog)") }
        if let closed = socket.shutdown { parts.append("shut for \(closed)") }
        if let waiting = socket.receivedBytes, waiting > 0 { parts.append("\(waiting) bytes to read") }
        if let unsent = socket.unsentBytes, unsent > 0 { parts.append("\(unsent) bytes to send") }
        if !socket.otherEnd.isEmpty { parts.append(holders(socket.otherEnd)) }
        return parts
    }

    private static func text(of watch: InspectedWatch) -> String {
        let what = watch.fd.map { "fd \($0)" } ?? watch.path ?? "something"
        let events = watch.events.map { name in name.split(separator: "_").last.map(String.init) ?? name }
        return "watches \(what) for "
            + events.map { $0.hasPrefix("EPOLL") ? String($0.dropFirst(5)) : $0 }.joined(separator: "|")
    }

    private static func holders(_ holders: [InspectedHolder]) -> String {
        guard !holders.isEmpty else { return "nobody at the other end" }
        let shown = holders.prefix(3).map { "\($0.pid) (\($0.command)) fd \($0.fd)" }.joined(separator: ", ")
        return "other end: \(shown)" + (holders.count > 3 ? " and \(holders.count - 3) more" : "")
    }
}
