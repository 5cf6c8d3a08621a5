import CLinux
import Glibc
import LinuxSystem
import Messages

/// What the filesystem below a store is and can do.
struct StoreCheckup {
    let root: String
    /// What survives a power cut; nil where no server can tell.
    let durability: Durability?
    /// The root, or the directory above it that is there already.
    private let place: String

    init(root: String, durability: Durability? = nil) {
        self.root = root
        self.durability = durability
        var place = root
        while place.count > 1, !Files.exists(place) {
            place = String(place[..<(place.lastIndex(of: "/") ?? place.startIndex)])
            if place.isEmpty { place = "/" }
        }
        self.place = place
    }

    func checks() -> [DoctorCheck] { [room(), filesystem()] + (StorePool(holding: root)?.checks() ?? []) }

    /// Bytes and inodes that are left.
    private func room() -> DoctorCheck {
        var status = statvfs()
        guard statvfs(place, &status) == 0 else {
            return DoctorCheck(
                name: "store", status: .failed, detail: SystemError.last("statvfs", place).description,
                hint: "choose another root with --root or CKPT_ROOT")
        }
        let free = UInt64(status.f_bavail) * UInt64(status.f_frsize)
        // Filesystems that make inodes as they go say 0 of 0.
        let inodes = status.f_files == 0 ? nil : UInt64(status.f_favail)
        let detail =
            "\(root), \(free >> 20) MiB" + (inodes.map { " and \($0) inodes" } ?? "") + " free"
            + (durability.map { ", durability \($0.rawValue)" } ?? "")
        let readOnly = status.f_flag & UInt(ST_RDONLY) != 0
        if readOnly {
            return DoctorCheck(
                name: "store", status: .failed, detail: "\(root) is mounted read-only",
                hint: "mount it writable, or choose another root with --root or CKPT_ROOT")
        }
        return free < 1 << 30 || inodes ?? .max < 100_000
            ? DoctorCheck(
                name: "store", status: .warning, detail: detail,
                hint: "ckpt gc with a policy, or give it more room")
            : DoctorCheck(name: "store", status: .ok, detail: detail)
    }

    /// The magic numbers of statfs(2), of filesystems that a store may lie on.
    private static let names: [Int: String] = [
        0xef53: "ext4", 0x9123_683e: "btrfs", 0x5846_5342: "XFS", 0x0102_1994: "tmpfs",
        0x794c_7630: "overlayfs",
        0x6969: "NFS", 0x2fc1_2fc1: "ZFS", 0xf2f5_2010: "F2FS", 0x6573_5546: "FUSE", 0xca45_1a4e: "bcachefs",
        0x0102_1997: "9p",
    ]

    /// What it is, and whether it can share blocks between files and hold what overlayfs keeps in its upper layer.
    private func filesystem() -> DoctorCheck {
        let type = clinux_filesystem_type(place)
        let name = Self.names[type] ?? "type 0x\(String(type, radix: 16))"
        let abilities: Abilities
        do throws(SystemError) { abilities = try tryOut() } catch {
            return DoctorCheck(
                name: "filesystem", status: .failed, detail: "\(name): \(error)",
                hint: "choose another root with --root or CKPT_ROOT")
        }
        if !abilities.types || !abilities.attributes {
            return DoctorCheck(
                name: "filesystem", status: .failed,
                detail: "\(name) cannot lie below an overlay: "
                    + (abilities.types ? "no trusted attributes" : "directories do not tell types (d_type)"),
                hint: "put the root on ext4, XFS (ftype=1) or btrfs with --root or CKPT_ROOT")
        }
        if name == "tmpfs" {
            return DoctorCheck(
                name: "filesystem", status: .warning, detail: "tmpfs: snapshots go when the machine restarts",
                hint: "put the root on btrfs or XFS")
        }
        return abilities.reflinks
            ? DoctorCheck(
                name: "filesystem", status: .ok, detail: "\(name), copies share their blocks (reflink)")
            : DoctorCheck(
                name: "filesystem", status: .warning, detail: "\(name), no reflinks",
                hint:
                    "btrfs or XFS copies large files in no time and stores what is equal once: put the root there, "
                    + "or give a new one a pool of its own with ckpt serve --store-size 20g")
    }

    private struct Abilities {
        var reflinks: Bool
        var attributes: Bool
        var types: Bool
    }

    /// Makes a directory with two files in it, and takes it away again.
    private func tryOut() throws(SystemError) -> Abilities {
        let directory = "\(place)/.ckpt-doctor-\(getpid())-\(UInt32.random(in: 0 ... .max))"
        try retrying("mkdir", directory) { mkdir(directory, 0o700) }
        defer {
            for name in ["from", "to"] { unlink("\(directory)/\(name)") }
            rmdir(directory)
        }
        try Files.write("\(directory)/from", [UInt8](repeating: 1, count: 4096))
        let from = try Descriptor.open("\(directory)/from", O_RDONLY)
        let to = try Descriptor.open("\(directory)/to", O_WRONLY | O_CREAT)
        let clone: UInt = 0x4004_9409  // FICLONE, _IOW(0x94, 9, int)
        return Abilities(
            reflinks: ioctl(to.raw, clone, from.raw) == 0,
            attributes: clinux_set_xattr(directory, "trusted.overlay.opaque", "y") == 0,
            types: Self.tellsTypes(directory))
    }

    private static func tellsTypes(_ directory: String) -> Bool {
        guard let stream = opendir(directory) else { return false }
        defer { closedir(stream) }
        while let entry = readdir(stream) { if entry.pointee.d_type == UInt8(DT_UNKNOWN) { return false } }
        return true
    }
}
