import Glibc
public import LinuxSystem

/// The control groups of one incarnation of a sandbox: none, one of v2, or one in each v1 hierarchy that is needed.
public struct SandboxGroups: Sendable, Equatable {
    /// Its group of v2.
    public internal(set) var unified: String?
    /// Its groups of v1, by controller.
    public internal(set) var legacy: [String: String] = [:]

    /// None.
    public init() {}

    public var isEmpty: Bool { unified == nil && legacy.isEmpty }

    /// The directories, each once.
    public var directories: [String] { Set(legacy.values).sorted() + [unified].compactMap { $0 } }

    /// These and those of `other`.
    public func joined(with other: SandboxGroups) -> SandboxGroups {
        var all = other
        all.unified = unified ?? other.unified
        all.legacy.merge(legacy) { own, _ in own }
        return all
    }

    /// Where the files of a controller are; nil where it limits and counts nothing.
    func directory(of controller: Controller) -> (path: String, isUnified: Bool)? {
        if let path = legacy[controller.legacyName] { return (path, false) }
        guard let unified, Files.exists("\(unified)/\(controller.statisticsFile)") else { return nil }
        return (unified, true)
    }

    /// The groups that process `pid` is in, of those of `control`'s store.
    public init(of pid: Int32, in control: ControlGroups) {
        let paths = ControlGroups.groups(of: "\(pid)")
        let mark = "/\(control.name)/"
        let find = { (controller: String, hierarchy: ControlGroups.Hierarchy) -> String? in
            guard let path = paths[controller], let range = path.firstRange(of: mark) else { return nil }
            let name = path[range.upperBound...].split(separator: "/").first.map(String.init) ?? ""
            let directory = "\(hierarchy.store)/\(name)"
            return Files.exists(directory) ? directory : nil
        }
        for (controller, hierarchy) in control.legacy {
            if let directory = find(controller, hierarchy) { legacy[controller] = directory }
        }
        if let hierarchy = control.unified { unified = find("", hierarchy) }
    }

    /// The last part of its directories.
    public var name: String? { directories.first?.split(separator: "/").last.map(String.init) }

    /// Moves a process, with all its threads, into every group.
    public func place(_ pid: Int32) throws(SystemError) {
        for directory in directories { try Files.put("\(pid)", to: "\(directory)/cgroup.procs") }
    }

    /// Calls `body` with an open cgroup.procs of every group.
    public func withOpenFiles<Result: ~Copyable, Failure: Error>(
        _ body: ([Int32]) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try Self.withOpen(directories, body)
    }

    /// The same with those of the groups that this process is in itself, in the same order.
    public func withHomes<Result: ~Copyable, Failure: Error>(
        in control: ControlGroups, _ body: ([Int32]) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        var homes: [String: String] = [:]
        for hierarchy in control.legacy.values { homes[hierarchy.store] = hierarchy.home }
        if let hierarchy = control.unified { homes[hierarchy.store] = hierarchy.home }
        let paths = directories.map { directory in
            homes[directory.split(separator: "/").dropLast().reduce("") { "\($0)/\($1)" }] ?? directory
        }
        return try Self.withOpen(paths, body)
    }

    private static func withOpen<Result: ~Copyable, Failure: Error>(
        _ directories: [String], _ body: ([Int32]) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        // Writing to one that could not be opened fails where the step is named.
        let files = directories.map { open("\($0)/cgroup.procs", O_WRONLY | O_CLOEXEC) }
        defer { for file in files where file >= 0 { close(file) } }
        return try body(files)
    }

    /// Removes the groups; their last process may have ended just now.
    public func remove() {
        for directory in directories {
            var tries = 0
            while rmdir(directory) != 0, errno != ENOENT, tries < (errno == EBUSY ? 400 : 3) {
                tries += 1
                usleep(5000)
            }
        }
    }
}

extension Controller {
    /// A file that a group of v2 has when it has the controller.
    var statisticsFile: String {
        switch self {
        case .cpu: "cpu.max"
        case .cpuset: "cpuset.cpus"
        case .memory: "memory.current"
        case .pids: "pids.current"
        case .io: "io.max"
        }
    }
}
