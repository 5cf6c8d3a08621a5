public import Messages
import Glibc
import LinuxSystem

/// Files of the fixture engine lie in its directory, under the path's last part.
extension FixtureEngine {
    private func place(_ path: String) -> String {
        "\(directory)/file-\(path.split(separator: "/").last ?? "none")"
    }

    public func openFile(_ name: String, path: String, offset: UInt64) throws(ErrorMessage) -> Int32 {
        _ = try sandbox(name)
        let file = open(place(path), O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { throw ErrorMessage(.notFound, "there is no \(path)") }
        lseek(file, off_t(offset), SEEK_SET)
        return file
    }

    public func writeFile(
        _ name: String, path: String, _ options: WriteOptions
    ) throws(ErrorMessage) -> any FileWriting {
        _ = try sandbox(name)
        if path == "/refused" { throw ErrorMessage(.notPermitted, "\(path) is not to be written") }
        return Writer(place(path), fails: path == "/fails")
    }

    public func fileInfo(_ name: String, path: String, follow: Bool) throws(ErrorMessage) -> FileInfo {
        _ = try sandbox(name)
        return Sample.fileInfo
    }

    public func directory(_ name: String, path: String) throws(ErrorMessage) -> DirectoryListing {
        _ = try sandbox(name)
        return DirectoryListing(entries: [Sample.fileInfo], truncated: false)
    }

    /// Writes a file; fails after the first bytes where it is told to.
    private final class Writer: FileWriting {
        private let file: Int32
        private let fails: Bool

        init(_ path: String, fails: Bool) {
            file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
            self.fails = fails
        }

        deinit { close(file) }

        func write(_ bytes: UnsafeRawBufferPointer) throws(ErrorMessage) {
            if fails { throw ErrorMessage(.noSpace, "the disk is full") }
            Glibc.write(file, bytes.baseAddress, bytes.count)
        }

        func finish() throws(ErrorMessage) -> FileInfo { Sample.fileInfo }
    }
}
