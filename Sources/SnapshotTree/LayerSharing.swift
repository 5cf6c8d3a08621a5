import Glibc
import LinuxSystem

/// The layer of a previous capture, walked beside the upper directory, as a source of unchanged files.
final class LayerSharing {
    private let index: CaptureIndex
    private let hot: Set<ino_t>
    /// The directory of the previous layer that is the twin of the one the walk is in.
    private var current: Descriptor
    /// How many directories the walk is below `current`, which have no twin there.
    private var strayed = 0

    // Directories in which programs count links: cron ignores a crontab that has several names, logrotate
    // a log file. What lies below them is copied.
    static let linkCounting: Set<String> = ["etc", "log", "spool"]

    init(_ index: CaptureIndex, _ layer: consuming Descriptor, hot: Set<ino_t>) {
        self.index = index
        self.hot = hot
        current = layer
    }

    /// Follows the walk into a directory, if that had the same name in the same place.
    func enter(_ name: UnsafePointer<CChar>, _ status: stat, parent: ino_t) {
        guard strayed == 0, !Self.linkCounting.contains(printable(name)),
            index.hadDirectory(status, name: name, parent: parent)
        else {
            strayed += 1
            return
        }
        let child = openat(current.raw, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        if child < 0 { strayed += 1 } else { current = Descriptor(owning: child) }
    }

    /// Follows the walk out of a directory.
    func leave() {
        if strayed > 0 {
            strayed -= 1
        } else if let above = try? Descriptor.open("..", below: current, O_RDONLY | O_DIRECTORY) {
            current = above
        } else {
            // Without a way back nothing can be shared any more; this count is never walked off.
            strayed = .max / 2
        }
    }

    /// Whether the previous layer has the very same file: one that has provably not changed since.
    func hasTwin(of name: UnsafePointer<CChar>, _ status: stat, parent: ino_t) -> Bool {
        guard strayed == 0, status.st_nlink == 1, !hot.contains(status.st_ino),
            index.provesUnchanged(status, name: name, parent: parent)
        else { return false }
        var copy = stat()
        return fstatat(current.raw, name, &copy, AT_SYMLINK_NOFOLLOW) == 0
            && copy.st_mode == status.st_mode && copy.st_size == status.st_size
            && copy.st_uid == status.st_uid && copy.st_gid == status.st_gid
    }

    /// Links the previous layer's twin of a file; false asks for a copy, where a link fails for whatever reason
    /// (EMLINK, EXDEV …).
    func link(_ name: UnsafePointer<CChar>, to destination: Int32) -> Bool {
        linkat(current.raw, name, destination, name, 0) == 0
    }
}

extension Descriptor {
    /// What fstat(2) says.
    func status() throws(SystemError) -> stat {
        var status = stat()
        try retrying("fstat") { fstat(raw, &status) }
        return status
    }
}
