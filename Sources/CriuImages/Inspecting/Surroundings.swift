import CCriuImages
import Messages

/// What the images say about the sandbox as a whole.
struct Surroundings {
    var hostname: String?
    var clocks: InspectedClocks?
    var userMap: [InspectedIDRange] = []
    var groupMap: [InspectedIDRange] = []
    var mounts: [InspectedMount] = []

    /// `ids` are the namespaces of the root of the tree; the files are named by their numbers.
    init(
        _ images: borrowing ImageDirectory, _ ids: TaskNamespaces, hostBoottime: Double?
    ) throws(CriuImageError) {
        if let file = try images.fileIfPresent("utsns-\(ids.numbers["uts"] ?? 0).img", .hostname) {
            hostname = try file.decodeOnly(utsns_entry__unpack, utsns_entry__free_unpacked) {
                text($0.pointee.nodename)
            }
        }
        if let file = try images.fileIfPresent("timens-\(ids.numbers["time"] ?? 0).img", .clocks) {
            clocks = try file.decodeOnly(timens_entry__unpack, timens_entry__free_unpacked) {
                Self.clocks($0.pointee, hostBoottime: hostBoottime)
            }
        }
        if let file = try images.fileIfPresent("userns-\(ids.numbers["user"] ?? 0).img", .users) {
            (userMap, groupMap) = try file.decodeOnly(userns_entry__unpack, userns_entry__free_unpacked) {
                let entry = $0.pointee
                return (
                    Self.ranges(entry.uid_map, entry.n_uid_map), Self.ranges(entry.gid_map, entry.n_gid_map)
                )
            }
        }
        if let file = try images.fileIfPresent("mountpoints-\(ids.numbers["mnt"] ?? 0).img", .mounts) {
            try file.decodeEach(mnt_entry__unpack, mnt_entry__free_unpacked) { (_, entry) in
                mounts.append(Self.mount(entry.pointee))
            }
            // CRIU writes a mount after those that lie on it.
            mounts.sort { $0.id < $1.id }
        }
    }

    private static func clocks(_ entry: TimensEntry, hostBoottime: Double?) -> InspectedClocks? {
        guard let monotonic = entry.monotonic?.pointee, let boottime = entry.boottime?.pointee else {
            return nil
        }
        let since = seconds(boottime.tv_sec, nanoseconds: boottime.tv_nsec)
        return InspectedClocks(
            monotonicSeconds: seconds(monotonic.tv_sec, nanoseconds: monotonic.tv_nsec),
            boottimeSeconds: since, boottimeOffsetSeconds: hostBoottime.map { since - $0 })
    }

    private static func ranges(
        _ first: UnsafeMutablePointer<UnsafeMutablePointer<UidGidExtent>?>?, _ count: Int
    ) -> [InspectedIDRange] {
        messages(first, count).map {
            InspectedIDRange(
                inside: Int64($0.pointee.first), outside: Int64($0.pointee.lower_first),
                count: Int64($0.pointee.count))
        }
    }

    private static func mount(_ entry: MntEntry) -> InspectedMount {
        let types: [UInt32: String] = [
            1: "proc", 2: "sysfs", 3: "devtmpfs", 4: "binfmt_misc", 5: "tmpfs", 6: "devpts", 8: "pstore",
            9: "securityfs", 10: "fusectl", 11: "debugfs", 12: "cgroup", 14: "mqueue", 15: "fuse",
            17: "overlay", 18: "autofs", 19: "tracefs", 23: "cgroup2",
        ]
        // CRIU keeps paths relative to the root of the tree, with a dot before them.
        let point = (text(entry.mountpoint) ?? "").drop { $0 == "." }
        return InspectedMount(
            id: Int(entry.mnt_id), parent: Int(entry.parent_mnt_id),
            mountPoint: point.hasPrefix("/") ? String(point) : "/" + point,
            root: text(entry.root) ?? "", source: text(entry.source) ?? "",
            type: text(entry.fsname) ?? types[entry.fstype] ?? "unknown", options: text(entry.options) ?? "",
            flags: Names.mountFlags(entry.flags | (entry.has_sb_flags != 0 ? entry.sb_flags & 1 : 0)),
            sharedGroup: entry.has_shared_id != 0 && entry.shared_id != 0 ? Int(entry.shared_id) : nil,
            masterGroup: entry.has_master_id != 0 && entry.master_id != 0 ? Int(entry.master_id) : nil,
            external: text(entry.ext_key))
    }
}

/// The namespaces and shared tables of a task, by CRIU's numbers.
struct TaskNamespaces {
    /// The kinds as /proc/PID/ns calls them; those that CRIU knows no number of are missing.
    let numbers: [String: UInt32]
    /// Processes with the same one share their descriptors.
    let files: UInt32

    static let kinds = ["pid", "net", "ipc", "uts", "mnt", "user", "cgroup", "time"]

    init(_ ids: TaskKobjIdsEntry) {
        let all: [(String, Int32, UInt32)] = [
            ("pid", ids.has_pid_ns_id, ids.pid_ns_id), ("net", ids.has_net_ns_id, ids.net_ns_id),
            ("ipc", ids.has_ipc_ns_id, ids.ipc_ns_id), ("uts", ids.has_uts_ns_id, ids.uts_ns_id),
            ("mnt", ids.has_mnt_ns_id, ids.mnt_ns_id), ("user", ids.has_user_ns_id, ids.user_ns_id),
            ("cgroup", ids.has_cgroup_ns_id, ids.cgroup_ns_id), ("time", ids.has_time_ns_id, ids.time_ns_id),
        ]
        numbers = Dictionary(uniqueKeysWithValues: all.filter { $0.1 != 0 }.map { ($0.0, $0.2) })
        files = ids.files_id
    }
}
