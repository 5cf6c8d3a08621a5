import CCriuImages
public import Messages

/// Which parts of a snapshot are wanted beside the processes themselves.
public struct InspectionScope: Sendable {
    /// Only this process; nil for all.
    public var pid: Int32?
    public var files: Bool
    /// Only with `files`: leaves out descriptors that are no sockets.
    public var onlySockets: Bool
    /// Each mapping, not only the sums.
    public var regions: Bool
    public var environment: Bool
    public var registers: Bool

    /// Everything, of one process or of all.
    public init(pid: Int32? = nil) {
        self.pid = pid
        (files, onlySockets, regions, environment, registers) = (true, false, true, true, true)
    }
}

extension ImageDirectory {
    /// Tells what the images of a snapshot hold.
    ///
    /// `files` reads the snapshot's root filesystem, `snapshot` is its id, and `hostBoottime` is what the host's
    /// CLOCK_BOOTTIME showed at that instant, in seconds. Nil when there is no process `scope.pid`.
    public func inspect(
        _ snapshot: String, scope: InspectionScope, files: any MappedFiles, hostBoottime: Double? = nil
    ) throws(CriuImageError) -> Inspection? {
        let processes = try processes()
        guard scope.pid == nil || processes.contains(where: { $0.pid == scope.pid }) else { return nil }
        var namespaces: [Int32: TaskNamespaces] = [:]
        for process in processes where process.state != .zombie {
            namespaces[process.pid] = try taskNamespaces(of: process.pid)
        }
        let origin = try inspectedOrigin()
        let root = processes.first.flatMap { namespaces[$0.pid] }
        let surroundings = try root.map { root throws(CriuImageError) in
            try Surroundings(self, root, hostBoottime: hostBoottime)
        }
        let open = try OpenFiles(
            self,
            processes: processes.compactMap { process in namespaces[process.pid].map { (process, $0.files) } }
        )
        let cores = try CoreDescriptions(self, includesRegisters: scope.registers)
        var told: [InspectedProcess] = []
        for process in processes where scope.pid == nil || process.pid == scope.pid {
            let context = ProcessContext(
                process: process, table: namespaces[process.pid]?.files, open: open, cores: cores,
                scope: scope,
                files: files)
            told.append(try inspected(context))
        }
        return Inspection(
            snapshot: snapshot, dump: try inspectedDump(version: origin.version),
            hostname: surroundings?.hostname,
            clocks: surroundings?.clocks,
            namespaces: Self.namespaces(processes.map(\.pid), namespaces, worker: origin.worker),
            userMap: surroundings?.userMap ?? [], groupMap: surroundings?.groupMap ?? [],
            mounts: surroundings?.mounts ?? [], processes: told)
    }

    private func inspectedOrigin() throws(CriuImageError) -> (
        version: UInt32, worker: TaskNamespaces?
    ) {
        try file("inventory.img", .inventory).decodeOnly(
            inventory_entry__unpack, inventory_entry__free_unpacked
        ) {
            let entry = $0.pointee
            return (
                entry.img_version, entry.root_ids.map { TaskNamespaces($0.pointee) }
            )
        }
    }

    private func inspectedDump(version: UInt32) throws(CriuImageError) -> InspectedDump? {
        guard let statistics = try dumpStatistics() else { return nil }
        return InspectedDump(
            imageVersion: Int(version), freezingMs: statistics.freezing, frozenMs: statistics.frozen,
            memoryDumpMs: statistics.memoryDump, memoryWriteMs: statistics.memoryWrite,
            pagesScanned: Int64(clamping: statistics.pagesScanned),
            pagesWritten: Int64(clamping: statistics.pagesWritten),
            sharedPagesWritten: Int64(clamping: statistics.sharedPagesWritten))
    }

    /// CRIU writes the numbers into a file of their own, or into the core of the task.
    private func taskNamespaces(of pid: Int32) throws(CriuImageError) -> TaskNamespaces {
        if let file = try fileIfPresent("ids-\(pid).img", .taskObjects) {
            return try file.decodeOnly(task_kobj_ids_entry__unpack, task_kobj_ids_entry__free_unpacked) {
                TaskNamespaces($0.pointee)
            }
        }
        let core = try file("core-\(pid).img", .core)
        return try core.decodeOnly(core_entry__unpack, core_entry__free_unpacked) {
            entry throws(CriuImageError) in
            guard let ids = entry.pointee.ids?.pointee else {
                throw CriuImageError(core.name, entry: 0, "does not say which namespaces the process is in")
            }
            return TaskNamespaces(ids)
        }
    }

    private static func namespaces(
        _ pids: [Int32], _ ids: [Int32: TaskNamespaces], worker: TaskNamespaces?
    ) -> [InspectedNamespace] {
        var found: [InspectedNamespace] = []
        for kind in TaskNamespaces.kinds {
            let members = Dictionary(grouping: pids.filter { ids[$0]?.numbers[kind] != nil }) {
                ids[$0]!.numbers[kind]!
            }
            for (number, members) in members.sorted(by: { $0.key < $1.key }) {
                found.append(
                    InspectedNamespace(
                        kind: kind, number: Int(number), own: worker?.numbers[kind] != number,
                        processes: members.map { Int($0) }))
            }
        }
        return found
    }
}
