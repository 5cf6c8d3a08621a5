import CLinux
import Glibc
import LinuxSystem
public import Messages

/// A store's filesystem of its own, on a loop device: `ROOT/pool.img`, a sparse file with XFS or btrfs in it, which a
/// server mounts on `ROOT/pool`, where nobody else sees it.
///
/// The mount goes with the server. Its filesystem stays alive as long as a sandbox runs on it, and the loop device as long
/// as the filesystem does: whoever mounts it next finds that device by the file's inode, for two devices on one file
/// would be two filesystems that overwrite each other.
public struct StorePool {
    static let imageName = "pool.img", directoryName = "pool"
    /// mkfs.xfs refuses less than 300 MB.
    static let leastBytes: Int64 = 512 << 20

    let root: String
    var image: String { "\(root)/\(Self.imageName)" }
    var directory: String { "\(root)/\(Self.directoryName)" }

    /// The directory that holds the store of a root: its pool's, which is mounted here, or the root itself where it has
    /// none. Call it in a mount namespace of the server's own.
    ///
    /// With a `size` the pool is made on the first start, and grown later where that is more; it never shrinks.
    /// Throws `badValue`, `wrongState` where a store lies in the root itself, `notInstalled`, `noSpace`.
    public static func place(root: String, size: ByteSize?) throws(ErrorMessage) -> String {
        let pool = StorePool(of: root)
        if !Files.exists(pool.image) {
            guard let size else { return root }
            try pool.make(size.bytes)
        }
        try pool.mount(growingTo: size?.bytes)
        return pool.directory
    }

    private init(of root: String) { self.root = root }

    // MARK: - Making

    private func make(_ bytes: Int64) throws(ErrorMessage) {
        if Files.exists("\(root)/format") {
            throw ErrorMessage(
                .wrongState, "\(root) has a store already, and a pool is for a new one",
                hint: "choose another root, and take snapshots there with ckpt export and ckpt import")
        }
        guard bytes >= Self.leastBytes else {
            throw ErrorMessage(
                .badValue, "a pool of \(bytes) bytes is too small",
                hint: "give it \(Self.leastBytes >> 20)m or more")
        }
        let makers = Self.makers()
        guard let maker = makers.first else {
            throw ErrorMessage(
                .notInstalled, "a pool needs mkfs.xfs or mkfs.btrfs, and neither is installed",
                hint: "apt-get install xfsprogs, or btrfs-progs")
        }
        // Under its name it is whole.
        let half = "\(image).new"
        unlink(half)
        do throws(SystemError) {
            let file = try Descriptor.open(half, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW)
            try retrying("ftruncate", half) { ftruncate(file.raw, off_t(bytes)) }
            try format(half, with: maker)
            try file.synchronize()
            try Files.rename(half, image)
            try Descriptor.open(root, O_RDONLY | O_DIRECTORY).synchronize()
        } catch {
            unlink(half)
            throw ErrorMessage("the pool of \(root) cannot be made", error)
        }
    }

    /// What can make a filesystem here, first those that the kernel has in it already.
    private static func makers() -> [[String]] {
        let known = String(decoding: (try? Files.read("/proc/filesystems")) ?? [], as: UTF8.self)
            .split(separator: "\n").compactMap { $0.split(separator: "\t").last }
        let all = [
            (type: "xfs", words: ["mkfs.xfs", "-q", "-m", "reflink=1"]),
            (type: "btrfs", words: ["mkfs.btrfs", "-q"]),
        ]
        let ordered =
            all.filter { known.contains($0.type[...]) } + all.filter { !known.contains($0.type[...]) }
        return ordered.compactMap { maker in
            let places = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map { "\($0)/\(maker.words[0])" }
            return places.first { access($0, X_OK) == 0 }.map { [$0] + maker.words.dropFirst() }
        }
    }

    private func format(_ file: String, with maker: [String]) throws(SystemError) {
        let said = "\(file).log"
        defer { unlink(said) }
        let child = try spawnProgram(maker + [file], errors: said)
        var status: Int32 = 0
        try retrying("waitpid") { waitpid(child, &status, 0) }
        guard status != 0 else { return }
        let words = String(decoding: (try? Files.read(said)) ?? [], as: UTF8.self).split(separator: "\n")
        throw SystemError(
            call: maker[0], code: EIO, subject: words.first.map(String.init) ?? "it said nothing")
    }

    // MARK: - Mounting

    private func mount(growingTo bytes: Int64?) throws(ErrorMessage) {
        do throws(SystemError) {
            let file = try Descriptor.open(image, O_RDWR | O_NOFOLLOW)
            let type = try Self.type(of: file, image)
            var size = Int64(try Self.status(file).st_size)
            let grows = bytes.map { $0 > size } ?? false
            if grows, let bytes {
                try retrying("ftruncate", image) { ftruncate(file.raw, off_t(bytes)) }
                size = bytes
            }
            let loop = try Self.device(of: file)
            if bytes != nil {
                try retrying("ioctl(LOOP_SET_CAPACITY)") { clinux_resize_loop(loop.device.raw) }
            }
            try Files.makeDirectory(directory)
            try Mount.filesystem(type, on: loop.path, at: directory)
            if bytes != nil { try grow(type, to: size) }
        } catch {
            throw Self.explained(error, root)
        }
    }

    private static func explained(_ error: SystemError, _ root: String) -> ErrorMessage {
        var message = ErrorMessage("the pool of \(root) cannot be mounted", error)
        if error.subject?.hasPrefix("/dev/loop") == true || error.call == "ioctl(LOOP_CTL_GET_FREE)" {
            message.hint =
                "it needs loop devices: modprobe loop; a container needs /dev/loop-control and some /dev/loopN"
        }
        return message
    }

    /// Grows the filesystem to its device; nothing happens where it is as large.
    private func grow(_ type: String, to bytes: Int64) throws(SystemError) {
        let top = try Descriptor.open(directory, O_RDONLY | O_DIRECTORY)
        var room = statvfs()
        try retrying("statvfs", directory) { statvfs(directory, &room) }
        let block = UInt64(room.f_frsize)
        // Log and metadata are not counted there.
        if UInt64(room.f_blocks) * block + (64 << 20) >= UInt64(bytes), type == "xfs" { return }
        try retrying("ioctl(grow \(type))", directory) {
            type == "xfs" ? clinux_grow_xfs(top.raw, UInt64(bytes), block) : clinux_grow_btrfs(top.raw)
        }
    }

    private static func status(_ file: borrowing Descriptor) throws(SystemError) -> stat {
        var status = stat()
        let raw = file.raw
        try retrying("fstat") { fstat(raw, &status) }
        return status
    }

    /// What is in the file, by its superblock's magic.
    private static func type(of file: borrowing Descriptor, _ path: String) throws(SystemError) -> String {
        var magic = [UInt8](repeating: 0, count: 8)
        for (type, offset, wanted) in [("xfs", 0, "XFSB"), ("btrfs", 0x10040, "_BHRfS_M")] {
            let raw = file.raw
            let got = try retrying("pread", path) { pread(raw, &magic, 8, off_t(offset)) }
            if got == 8, magic.starts(with: wanted.utf8) { return type }
        }
        throw SystemError(call: "mount", code: EINVAL, subject: "\(path) holds neither XFS nor btrfs")
    }

    /// A loop device, held open so that it stays until it is mounted.
    private struct Loop: ~Copyable {
        let device: Descriptor
        let path: String
    }

    /// The device that shows the file already, or one that does from now on.
    private static func device(of file: borrowing Descriptor) throws(SystemError) -> Loop {
        let status = try status(file)
        for name in (try? Files.names(in: "/sys/block")) ?? [] where name.hasPrefix("loop") {
            guard Files.exists("/sys/block/\(name)/loop") else { continue }
            let path = "/dev/\(name)"
            guard let device = try? Descriptor.open(path, O_RDWR),
                clinux_loop_shows(device.raw, UInt64(status.st_dev), UInt64(status.st_ino)) == 1
            else { continue }
            return Loop(device: device, path: path)
        }
        let control = try Descriptor.open("/dev/loop-control", O_RDWR)
        for _ in 0..<100 {
            let number = try retrying("ioctl(LOOP_CTL_GET_FREE)") { clinux_free_loop(control.raw) }
            let path = "/dev/loop\(number)"
            let device = try Descriptor.open(path, O_RDWR)
            if clinux_attach_loop(device.raw, file.raw) == 0 { return Loop(device: device, path: path) }
            if errno != EBUSY { throw .last("ioctl(LOOP_CONFIGURE)", path) }
        }
        throw SystemError(call: "ioctl(LOOP_CONFIGURE)", code: EBUSY, subject: "/dev/loop*")
    }
}
