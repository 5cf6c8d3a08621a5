import CriuImages
import Messages

/// Compares the processes of two snapshots, their descriptors and their memory.
struct ProcessComparison {
    /// What one of the snapshots has.
    struct Side {
        let processes: [InspectedProcess]
        /// Of those that are no zombies, by pid.
        let memory: [Int: ProcessMemory]
    }

    let before: Side
    let after: Side

    /// Adds what is different.
    func add(to diff: inout SnapshotDiff) throws(CriuImageError) {
        let olds = Dictionary(before.processes.map { ($0.pid, $0) }) { first, _ in first }
        let news = Dictionary(after.processes.map { ($0.pid, $0) }) { first, _ in first }
        // PID 1 is ckpt's own, and what it does is no part of what happened.
        for pid in Set(olds.keys).union(news.keys).subtracting([1]).sorted() {
            guard let old = olds[pid], let new = news[pid], isSame(old, new) else {
                if let old = olds[pid] { diff.processes.append(Self.whole("gone", old)) }
                if let new = news[pid] { diff.processes.append(Self.whole("born", new)) }
                continue
            }
            let details = details(old, new)
            if !details.isEmpty {
                diff.processes.append(
                    ProcessChange(change: "changed", pid: pid, command: new.commandLine, details: details))
            }
            diff.descriptors += Self.descriptors(pid, old.files ?? [], new.files ?? [])
            if let old = before.memory[pid], let new = after.memory[pid], hasSameProgram(pid) {
                diff.memory += try MemoryComparison(before: old, after: new).changes()
            }
        }
    }

    /// The images do not tell when a process was started. A pid that came round again has another parent, as a rule,
    /// and always another address space, whose place is random (unless it is turned off).
    private func isSame(_ old: InspectedProcess, _ new: InspectedProcess) -> Bool {
        old.parent == new.parent || hasSameProgram(old.pid)
    }

    /// Whether the process has not called execve(2) in between.
    private func hasSameProgram(_ pid: Int) -> Bool {
        guard let old = before.memory[pid]?.map, let new = after.memory[pid]?.map else { return false }
        return old.code == new.code && old.stackStart == new.stackStart && old.arguments == new.arguments
    }

    private static func whole(_ change: String, _ process: InspectedProcess) -> ProcessChange {
        ProcessChange(change: change, pid: process.pid, command: process.commandLine, details: [])
    }

    private func details(_ old: InspectedProcess, _ new: InspectedProcess) -> [String] {
        var details: [String] = []
        func note(_ what: String, _ old: String?, _ new: String?) {
            if old != new { details.append("\(what): \(old ?? "none") → \(new ?? "none")") }
        }
        if before.memory[old.pid] != nil, after.memory[new.pid] != nil, !hasSameProgram(old.pid) {
            details.append("runs another program: \(old.commandLine) → \(new.commandLine)")
        } else {
            note("command line", old.commandLine, new.commandLine)
        }
        note("state", old.state, new.state)
        note("parent", "\(old.parent)", "\(new.parent)")
        note("process group", "\(old.group)", "\(new.group)")
        note("session", "\(old.session)", "\(new.session)")
        note("working directory", old.workingDirectory, new.workingDirectory)
        note("root directory", old.rootDirectory, new.rootDirectory)
        note(
            "user", old.credentials.map { "\($0.effectiveUID)" }, new.credentials.map { "\($0.effectiveUID)" }
        )
        note("pending signals", old.pendingSignals.list, new.pendingSignals.list)
        note("timers", "\(old.timers.count)", "\(new.timers.count)")
        let (threads, later) = (Set(old.threads.map(\.tid)), Set(new.threads.map(\.tid)))
        let (more, fewer) = (later.subtracting(threads).count, threads.subtracting(later).count)
        if more > 0 { details.append(more == 1 ? "1 new thread" : "\(more) new threads") }
        if fewer > 0 { details.append(fewer == 1 ? "1 thread gone" : "\(fewer) threads gone") }
        return details
    }

    private static func descriptors(
        _ pid: Int, _ old: [InspectedFile], _ new: [InspectedFile]
    ) -> [DescriptorChange] {
        let olds = Dictionary(old.map { ($0.fd, $0) }) { first, _ in first }
        let news = Dictionary(new.map { ($0.fd, $0) }) { first, _ in first }
        return Set(olds.keys).union(news.keys).sorted().compactMap { fd in
            let (before, after) = (olds[fd], news[fd])
            if let before, let after, before.comparable == after.comparable { return nil }
            let change = before == nil ? "opened" : after == nil ? "closed" : "changed"
            return DescriptorChange(change: change, pid: pid, fd: fd, before: before, after: after)
        }
    }
}

extension InspectedProcess {
    /// The command line as people read it; the command name where there is none.
    var commandLine: String {
        guard let arguments, !arguments.isEmpty else { return command }
        return arguments.joined(separator: " ")
    }
}

extension [String] {
    fileprivate var list: String? { isEmpty ? nil : joined(separator: ", ") }
}

extension InspectedFile {
    /// Without what differs from dump to dump although nothing happened: numbers of CRIU's and of the kernel's, time
    /// that passed, who else holds it, and the size, which is the file's.
    fileprivate var comparable: InspectedFile {
        var file = self
        file.description = 0
        file.size = nil
        file.pipe?.id = 0
        file.pipe?.otherEnd = []
        file.socket?.otherEnd = []
        file.terminal?.otherEnd = []
        file.timer?.remainingSeconds = 0
        return file
    }
}

/// Compares the memory of one process at two instants.
struct MemoryComparison {
    let before: ProcessMemory
    let after: ProcessMemory

    func changes() throws(CriuImageError) -> [MemoryChange] {
        var changes: [MemoryChange] = []
        for region in after.map.regions {
            let overlaps = before.map.regions.filter { $0.range.overlaps(region.range) }
            var (differing, common) = (0, UInt64(0))
            for old in overlaps {
                let range = old.range.clamped(to: region.range)
                common += range.upperBound - range.lowerBound
                differing += try after.differingPages(from: before, in: range)
            }
            let grown = Int((region.size - common) / Page.size)
            let isMoved = overlaps.first?.range != region.range
            guard differing > 0 || isMoved else { continue }
            let kind = overlaps.isEmpty ? "mapped" : isMoved ? "resized" : "changed"
            changes.append(change(kind, region, of: after, pages: differing + grown))
        }
        for region in before.map.regions
        where !after.map.regions.contains(where: { $0.range.overlaps(region.range) }) {
            changes.append(change("unmapped", region, of: before, pages: Int(region.size / Page.size)))
        }
        return changes.sorted { ($0.start.count, $0.start) < ($1.start.count, $1.start) }
    }

    private func change(
        _ kind: String, _ region: MemoryRegion, of memory: ProcessMemory, pages: Int
    ) -> MemoryChange {
        MemoryChange(
            change: kind, pid: Int(memory.pid), start: hexadecimalText(region.start),
            end: hexadecimalText(region.end),
            permissions: region.permissions, name: memory.name(of: region),
            pages: Int64(region.size / Page.size),
            changedPages: Int64(pages))
    }
}
