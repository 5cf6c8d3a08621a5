import Messages

/// The lines below a process of `ckpt inspect`.
struct ProcessDetails {
    private let process: InspectedProcess
    private let parts: InspectionPage.Parts
    private let style: Style

    init(_ process: InspectedProcess, parts: InspectionPage.Parts, style: Style) {
        (self.process, self.parts, self.style) = (process, parts, style)
    }

    func lines() -> [StyledLine] {
        var sheet = DetailSheet(style)
        if parts.summary { addSummary(to: &sheet) }
        if parts.files {
            for file in process.files ?? [] { sheet.add("descriptor", Self.text(of: file)) }
        }
        if parts.summary, let memory = process.memory { sheet.add("memory", Self.text(of: memory)) }
        if parts.regions {
            for region in process.memory?.regions ?? [] { sheet.add("mapping", Self.text(of: region)) }
        }
        if parts.environment {
            for variable in process.environment ?? [] { sheet.add("environment", variable) }
        }
        for thread in process.threads { addRegisters(of: thread, to: &sheet) }
        return sheet.lines()
    }

    private func addSummary(to sheet: inout DetailSheet) {
        if let status = process.exitStatus, process.state == "zombie" {
            sheet.add(
                "ended", status & 0x7f == 0 ? "with \(status >> 8 & 0xff)" : "by signal \(status & 0x7f)")
        }
        sheet.add("program", process.executable)
        sheet.add("directory", process.workingDirectory)
        if let root = process.rootDirectory, root != "/" { sheet.add("root", root) }
        sheet.add("group, session", "\(process.group), \(process.session)")
        if let credentials = process.credentials { sheet.add("user", Self.text(of: credentials)) }
        for thread in process.threads { sheet.add("thread", Self.text(of: thread)) }
        sheet.add("pending", process.pendingSignals.joined(separator: " "))
        let handled = process.handlers.filter { $0.action == "handler" }.map(\.signal)
        let ignored = process.handlers.filter { $0.action == "ignore" }.map(\.signal)
        sheet.add("handles", handled.joined(separator: " "))
        sheet.add("ignores", ignored.joined(separator: " "))
        for timer in process.timers { sheet.add("timer", Self.text(of: timer)) }
        let limits = process.limits.filter { $0.soft != nil }.map { limit in
            "\(limit.name) \(limit.soft!)"
                + (limit.hard == limit.soft ? "" : "/\(limit.hard.map { "\($0)" } ?? "∞")")
        }
        sheet.add("limits", limits.joined(separator: ", "))
    }

    private static func text(of credentials: InspectedCredentials) -> String {
        var text = "\(credentials.uid):\(credentials.gid)"
        if credentials.effectiveUID != credentials.uid || credentials.effectiveGID != credentials.gid {
            text += ", acts as \(credentials.effectiveUID):\(credentials.effectiveGID)"
        }
        if !credentials.groups.isEmpty {
            text += ", groups " + credentials.groups.map { "\($0)" }.joined(separator: " ")
        }
        text += ", capabilities \(credentials.effectiveCapabilities)"
        return text + (credentials.noNewPrivileges ? ", no new privileges" : "")
    }

    private static func text(of thread: InspectedThread) -> String {
        var text = "\(thread.tid) \(thread.name)"
        if let call = thread.systemCall { text += ", in \(thread.systemCallName ?? "system call \(call)")" }
        if thread.nice != 0 { text += ", nice \(thread.nice)" }
        if thread.policy != "other" { text += ", \(thread.policy) \(thread.priority)" }
        if thread.seccomp != "disabled" {
            text +=
                ", seccomp \(thread.seccomp)"
                + (thread.seccompFilters > 1 ? " × \(thread.seccompFilters)" : "")
        }
        if !thread.blockedSignals.isEmpty {
            let blocked = thread.blockedSignals
            text +=
                ", blocks "
                + (blocked.count > 8 ? "\(blocked.count) signals" : blocked.joined(separator: " "))
        }
        if !thread.pendingSignals.isEmpty {
            text += ", pending " + thread.pendingSignals.joined(separator: " ")
        }
        return text
    }

    static func text(of timer: InspectedTimer) -> String {
        var text = timer.kind + (timer.id.map { " \($0)" } ?? "") + (timer.clock.map { " (\($0))" } ?? "")
        text +=
            timer.remainingSeconds == 0
            ? ": not armed" : ": in \(decimal(timer.remainingSeconds, digits: 3)) s"
        if timer.intervalSeconds > 0 { text += ", then each \(decimal(timer.intervalSeconds, digits: 3)) s" }
        return text + (timer.signal.map { ", sends \($0)" } ?? "")
    }

    private static func text(of memory: InspectedMemory) -> String {
        let kinds = [
            ("anonymous", memory.anonymousBytes), ("of files", memory.fileBytes),
            ("shared", memory.sharedBytes),
        ]
        let pages = [
            ("stored", memory.pages.storedBytes), ("inherited", memory.pages.inheritedBytes),
            ("zero", memory.pages.zeroBytes), ("in files", memory.pages.fileBytes),
        ]
        func list(_ parts: [(String, Int64)]) -> String {
            parts.filter { $0.1 > 0 }.map { "\(sizeText(bytes: $0.1)) \($0.0)" }.joined(separator: ", ")
        }
        return "\(sizeText(bytes: memory.totalBytes)) mapped: \(list(kinds)); pages: \(list(pages))"
    }

    static func text(of region: InspectedRegion) -> String {
        let bytes = [
            ("stored", region.pages.storedBytes), ("inherited", region.pages.inheritedBytes),
            ("zero", region.pages.zeroBytes), ("in the file", region.pages.fileBytes),
            ("not saved", region.pages.notSavedBytes),
        ].filter { $0.1 > 0 }
        let pages = bytes.map { "\(sizeText(bytes: $0.1)) \($0.0)" }.joined(separator: ", ")
        let name = region.name.map { "  \($0)" } ?? ""
        return
            "\(region.start.dropFirst(2))-\(region.end.dropFirst(2)) \(region.permissions)  \(pages)\(name)"
    }

    private func addRegisters(of thread: InspectedThread, to sheet: inout DetailSheet) {
        guard parts.registers else { return }
        let order = [
            "rip", "rsp", "rbp", "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12",
            "r13", "r14", "r15", "eflags", "orig_rax", "cs", "ss", "ds", "es", "fs", "gs", "fs_base",
            "gs_base",
        ]
        let general = order.compactMap { name in thread.registers?[name].map { "\(name) \($0)" } }
        for start in stride(from: 0, to: general.count, by: 4) {
            sheet.add(
                "registers of \(thread.tid)",
                general[start..<min(start + 4, general.count)].joined(separator: "  "))
        }
        let vectors = (thread.floatingPoint ?? [:]).sorted { ($0.key.count, $0.key) < ($1.key.count, $1.key) }
        for (name, value) in vectors where value != "0x0" {
            sheet.add("vectors of \(thread.tid)", "\(name) \(value)")
        }
    }
}
