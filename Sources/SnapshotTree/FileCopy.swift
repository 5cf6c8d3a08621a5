import Glibc
import LinuxSystem

/// Copies the data of regular files by the cheapest exact means that the filesystem offers.
final class FileCopy {
    /// Whether the filesystem shares extents on request; found out with the first file.
    private(set) var canClone = true
    private var canCopyRange = true
    private static let bufferSize = 256 * 1024
    /// How much the kernel copies in one go, in bytes: what is counted shall not stand still for long.
    private static let most = 32 << 20
    private let buffer = UnsafeMutableRawPointer.allocate(byteCount: bufferSize, alignment: 4096)

    /// Bytes on disk that have a twin now.
    private let copied: WorkCount

    /// Counts in `copied` what it copies, while it does.
    init(counting copied: WorkCount = WorkCount()) { self.copied = copied }

    deinit { buffer.deallocate() }

    /// Finds out at once whether the filesystem of a directory shares extents, with two files that have no name.
    func probe(in directory: Int32) {
        let unnamed: Int32 = 0x41_0000  // O_TMPFILE, open(2)
        let source = openat(directory, ".", O_RDWR | unnamed | O_CLOEXEC, 0o600)
        let twin = openat(directory, ".", O_RDWR | unnamed | O_CLOEXEC, 0o600)
        defer { for file in [source, twin] where file >= 0 { close(file) } }
        canClone =
            source >= 0 && twin >= 0 && write(source, "x", 1) == 1 && (try? clone(source, to: twin)) == true
    }

    /// Copies `source` into the empty file `destination`, holes as holes.
    func copy(_ source: Int32, to destination: Int32, _ status: stat) throws(SystemError) {
        let size = Int64(status.st_size)
        if size == 0 { return }
        if canClone, try clone(source, to: destination) { return count(status) }
        // Not told from st_blocks: attributes have blocks too, so a file of nothing but holes may have some.
        if lseek(source, 0, SEEK_HOLE) == off_t(size) {
            try copyRange(source, to: destination, from: 0, end: size)
        } else {
            try copySparse(source, to: destination, size)
        }
    }

    /// Counts a file that got its twin at once.
    func count(_ status: stat) { copied.add(Int64(status.st_blocks) * 512) }

    private func clone(_ source: Int32, to destination: Int32) throws(SystemError) -> Bool {
        let ficlone: UInt = 0x4004_9409  // FICLONE, _IOW(0x94, 9, int), linux/fs.h
        if ioctl(destination, ficlone, source) == 0 { return true }
        switch errno {
        case EOPNOTSUPP, EXDEV, ENOTTY, ENOSYS: canClone = false
        // One file that cannot be cloned, for example without checksums among files that have them.
        case EINVAL, EPERM, ETXTBSY: break
        default: throw .last("ioctl(FICLONE)")
        }
        return false
    }

    /// Copies what SEEK_DATA and SEEK_HOLE (lseek(2)) call data, and leaves the rest a hole.
    private func copySparse(_ source: Int32, to destination: Int32, _ size: Int64) throws(SystemError) {
        try retrying("ftruncate") { ftruncate(destination, off_t(size)) }
        var at = off_t(0)
        while at < size {
            let data = lseek(source, at, SEEK_DATA)
            if data < 0 {
                if errno == ENXIO { return }
                throw .last("lseek(SEEK_DATA)")
            }
            let hole = try retrying("lseek(SEEK_HOLE)") { lseek(source, data, SEEK_HOLE) }
            try copyRange(source, to: destination, from: Int64(data), end: Int64(hole))
            at = hole
        }
    }

    private func copyRange(
        _ source: Int32, to destination: Int32, from start: Int64, end: Int64
    ) throws(SystemError) {
        var at = start
        while canCopyRange, end - at > Self.bufferSize {
            var (input, output) = (off_t(at), off_t(at))
            let copied = copy_file_range(
                source, &input, destination, &output, min(Self.most, Int(end - at)), 0)
            if copied > 0 {
                at += Int64(copied)
                self.copied.add(Int64(copied))
            } else if copied == 0 {
                throw SystemError(call: "copy_file_range", code: EIO, subject: "the file ended early")
            } else if [EXDEV, EOPNOTSUPP, ENOSYS, EINVAL].contains(errno) {
                canCopyRange = false
            } else if errno != EINTR {
                throw .last("copy_file_range")
            }
        }
        while at < end {
            let wanted = min(Self.bufferSize, Int(end - at))
            let got = try retrying("pread") { pread(source, buffer, wanted, off_t(at)) }
            if got == 0 { throw SystemError(call: "pread", code: EIO, subject: "the file ended early") }
            var written = 0
            while written < got {
                let (from, to) = (written, off_t(at) + off_t(written))
                written += try retrying("pwrite") { pwrite(destination, buffer + from, got - from, to) }
            }
            at += Int64(got)
            copied.add(Int64(got))
        }
    }
}
