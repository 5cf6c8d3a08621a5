import Glibc

/// Room that a store keeps back, so that on a full disk there is enough to delete something.
///
/// A deletion writes too: a page of the catalog's journal, the pid of the server that is started for it. 1 MiB in eight
/// files of `ROOT/reserve`, which also stand for eight inodes.
public enum Reserve {
    private static let name = "reserve"
    private static let files = 8
    private static let fileBytes: off_t = 128 << 10

    /// Makes the reserve, or what is missing of it. No error: where there is no room for it, there is none.
    public static func keep(_ root: String) {
        let directory = "\(root)/\(name)"
        mkdir(directory, 0o700)
        for number in 0..<files {
            let path = "\(directory)/\(number)"
            guard let file = try? Descriptor.open(path, O_WRONLY | O_CREAT | O_NOFOLLOW, mode: 0o600)
            else { return }
            var status = stat()
            if fstat(file.raw, &status) == 0, off_t(status.st_blocks) * 512 >= fileBytes { continue }
            if posix_fallocate(file.raw, 0, fileBytes) != 0 {
                unlink(path)
                return
            }
        }
    }

    /// Gives the reserve up for what is about to be written; whether there was something to give.
    @discardableResult
    public static func release(_ root: String) -> Bool {
        var released = false
        for number in 0..<files where unlink("\(root)/\(name)/\(number)") == 0 { released = true }
        return released
    }

    /// Gives the reserve up where a file can no longer be made and filled.
    public static func releaseIfFull(_ root: String) {
        guard let error = Room.lacking(in: root), error.isNoRoom else { return }
        release(root)
    }
}

/// Whether something can be written.
public enum Room {
    /// What keeps a small file from being written to a directory; nil when nothing does.
    public static func lacking(in directory: String) -> SystemError? {
        let path = "\(directory)/.room-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
        defer { unlink(path) }
        do throws(SystemError) {
            let file = try Descriptor.open(path, O_WRONLY | O_CREAT | O_EXCL, mode: 0o600)
            try file.writeAll([UInt8](repeating: 1, count: 64 << 10))
            return nil
        } catch { return SystemError(call: error.call, code: error.code, subject: directory) }
    }
}

extension SystemError {
    /// Whether a disk or a quota is full, of bytes or of inodes.
    public var isNoRoom: Bool { code == ENOSPC || code == EDQUOT }

    /// What to do about it, where that is known whatever was called.
    public var remedy: String? { Self.remedy(code) }

    /// The same for an errno.
    public static func remedy(_ code: Int32) -> String? {
        switch code {
        case ENOSPC: "make room, or inodes: ckpt delete old snapshots, ckpt gc, or rm sandboxes"
        case EDQUOT: "raise the quota, or make room: ckpt delete old snapshots, ckpt gc, or rm sandboxes"
        case EROFS:
            "the kernel makes a filesystem read-only when it meets an error, which dmesg tells: repair it and mount it "
                + "anew; what is saved on it can be restored then"
        case EIO: "the disk fails: dmesg tells more; ckpt verify finds what is damaged"
        default: nil
        }
    }
}
