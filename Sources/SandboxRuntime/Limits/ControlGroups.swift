import Glibc
import LinuxSystem

/// What the kernel limits and counts by cgroup; the names are those of cgroup v2.
public enum Controller: String, CaseIterable, Sendable {
    case cpu, cpuset, memory, pids, io

    /// Its name on a v1 hierarchy (cgroups(7)).
    var legacyName: String { self == .io ? "blkio" : rawValue }
}

/// The control groups of this machine, and the place in them where the sandboxes of one store live.
///
/// Each controller hangs on the v2 hierarchy or on a v1 hierarchy, or nowhere. On v1, and on v2 where the server's own
/// group was delegated to it, the groups lie below the server's; else at the top of the v2 hierarchy, because
/// a v2 group that has processes can have no children with controllers (cgroups(7), "no internal processes").
public struct ControlGroups: Sendable {
    /// One mounted hierarchy.
    struct Hierarchy: Sendable {
        /// Where the store's directory of groups is, or comes.
        let store: String
        /// The server's own group.
        let home: String
    }

    /// The v2 hierarchy.
    let unified: Hierarchy?
    /// The v1 hierarchies, by the controllers on them, `freezer` and `cpuacct` among them.
    let legacy: [String: Hierarchy]
    /// The controllers on the v2 hierarchy.
    let unifiedControllers: Set<String>
    /// The name of the store's directory in every hierarchy.
    let name: String
    /// Why the v2 hierarchy offers no controllers, where it does not.
    let unifiedProblem: String?

    /// Looks at what is mounted (proc_pid_mountinfo(5), cgroups(7)).
    ///
    /// Groups of the store lie in a directory called `ckpt-NAME`. Where the server's v2 group was delegated to it, the
    /// server moves into a group `ckpt-server` below it.
    public init(store name: String) {
        self.name = "ckpt-\(name)"
        let own = Self.ownGroups()
        var legacy: [String: Hierarchy] = [:]
        var unifiedMount: CgroupMount?
        for mount in CgroupMount.all() {
            if mount.isUnified {
                unifiedMount = unifiedMount ?? mount
                continue
            }
            for controller in mount.options where own[controller] != nil && legacy[controller] == nil {
                let home = mount.directory(of: own[controller]!)
                legacy[controller] = Hierarchy(store: "\(home)/\(self.name)", home: home)
            }
        }
        self.legacy = legacy
        guard let unifiedMount else {
            (unified, unifiedControllers, unifiedProblem) = (nil, [], "no cgroup v2 hierarchy is mounted")
            return
        }
        let place = UnifiedPlace(mount: unifiedMount, own: own[""] ?? "/")
        unified = Hierarchy(store: "\(place.top)/\(self.name)", home: place.home)
        unifiedControllers = place.controllers
        unifiedProblem = place.problem
    }

    /// The name of a store at `root`: what it is called, and a digest to tell it from others of that name.
    public static func storeName(root: String) -> String {
        var digest: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in root.utf8 { digest = (digest ^ UInt64(byte)) &* 0x100_0000_01b3 }
        let last = root.split(separator: "/").last.map(String.init) ?? "root"
        let plain = last.unicodeScalars.map { scalar in
            let isPlain =
                scalar.isASCII
                && (scalar.properties.isAlphabetic || "0123456789-_.".unicodeScalars.contains(scalar))
            return isPlain ? Character(scalar) : "_"
        }
        return "\(String(plain.prefix(40)))-\(String(digest & 0xffff_ffff, radix: 16))"
    }

    /// This process's group by controller; "" is the v2 hierarchy.
    private static func ownGroups() -> [String: String] { groups(of: "self") }

    static func groups(of process: String) -> [String: String] {
        guard let bytes = try? Files.read("/proc/\(process)/cgroup") else { return [:] }
        var groups: [String: String] = [:]
        for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n") {
            let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            guard fields.count == 3 else { continue }
            for controller in fields[1].split(separator: ",", omittingEmptySubsequences: false) {
                groups[String(controller)] = String(fields[2])
            }
        }
        return groups
    }

    /// Where a controller hangs; nil for nowhere.
    func hierarchy(of controller: Controller) -> (hierarchy: Hierarchy, isUnified: Bool)? {
        if let legacy = legacy[controller.legacyName] { return (legacy, false) }
        if let unified, unifiedControllers.contains(controller.rawValue) { return (unified, true) }
        return nil
    }

    /// Why a controller hangs nowhere.
    func reason(without controller: Controller) -> String {
        let here = "the \(controller.rawValue) controller is on no cgroup hierarchy that can be used here"
        return unifiedProblem.map { "\(here): \($0)" } ?? here
    }

    /// Whether a controller can be used, where it hangs, and why it cannot.
    public struct Place: Sendable {
        public let controller: String
        public let isUnified: Bool
        /// Nil for one that can be used.
        public let problem: String?
    }

    /// Tries each controller out: makes a group on its hierarchy, and removes it.
    public func places() -> [Place] {
        Controller.allCases.map { controller in
            guard let (hierarchy, isUnified) = hierarchy(of: controller) else {
                return Place(
                    controller: controller.rawValue, isUnified: false, problem: reason(without: controller))
            }
            let group = "\(hierarchy.store)-doctor-\(getpid())"
            let made = mkdir(group, 0o755) == 0
            let problem = made ? nil : SystemError.last("mkdir", group).description
            if made { rmdir(group) }
            return Place(controller: controller.rawValue, isUnified: isUnified, problem: problem)
        }
    }

    /// Whether the kernel counts pressure (Documentation/accounting/psi.rst): it was built with it and not booted psi=0.
    public static var countsPressure: Bool { (try? Files.read("/proc/pressure/cpu")) != nil }

    /// Every hierarchy once, by the directory of the store in it.
    var stores: Set<String> { Set((legacy.values + [unified].compactMap { $0 }).map(\.store)) }

    /// Removes what earlier servers left of groups whose processes have ended, but for those called `kept`.
    public func sweep(keeping kept: Set<String>) {
        let patience = monotonicNanoseconds() + 2_000_000_000
        for store in stores {
            guard let names = try? Files.names(in: store) else { continue }
            for name in names where !kept.contains(name) {
                // Who was killed a moment ago may still be on the way out. To wait is safer than to come back: the next
                // incarnation may have the same name.
                while rmdir("\(store)/\(name)") != 0, errno == EBUSY, monotonicNanoseconds() < patience {
                    usleep(5000)
                }
            }
            _ = rmdir(store)
        }
    }
}

/// One mounted cgroup filesystem.
struct CgroupMount {
    let isUnified: Bool
    /// The group that is seen at the mount point.
    let root: String
    let path: String
    /// What was given to mount(8): on v1 the controllers, or `name=…`.
    let options: [String]

    /// Those that this process sees and may write.
    static func all() -> [CgroupMount] {
        guard let bytes = try? Files.read("/proc/self/mountinfo") else { return [] }
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n").compactMap { line in
            let fields = line.split(separator: " ")
            guard let dash = fields.firstIndex(of: "-"), dash >= 6, fields.count > dash + 3,
                fields[dash + 1] == "cgroup" || fields[dash + 1] == "cgroup2",
                !fields[5].split(separator: ",").contains("ro")
            else { return nil }
            return CgroupMount(
                isUnified: fields[dash + 1] == "cgroup2", root: plain(fields[3]), path: plain(fields[4]),
                options: fields[dash + 3].split(separator: ",").map(String.init))
        }
    }

    /// Where the group of that path, as /proc/PID/cgroup tells it, is seen.
    func directory(of group: String) -> String {
        var below = Substring(group)
        if root != "/", below.hasPrefix(root) { below = below.dropFirst(root.count) }
        while below.hasSuffix("/") { below = below.dropLast() }
        let directory = "\(path)\(below)"
        // A group that lies outside what is mounted: its top is as near as one gets.
        return Files.exists(directory) ? directory : path
    }

    /// Without the octal escapes of proc_pid_mountinfo(5).
    private static func plain(_ field: Substring) -> String {
        String(field).replacing("\\040", with: " ").replacing("\\011", with: "\t")
            .replacing("\\134", with: "\\")
    }
}
