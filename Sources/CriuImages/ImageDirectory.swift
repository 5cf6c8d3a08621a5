import Glibc
public import LinuxSystem

/// A directory of image files that one dump wrote; everything in it is reached through one open descriptor.
public struct ImageDirectory: ~Copyable, Sendable {
    let directory: Descriptor

    /// Where CRIU looks for what pages are inherited from (CR_PARENT_LINK of criu/include/image.h).
    static let parentName = "parent"

    /// Opens the image directory at `path`.
    public init(_ path: String) throws(CriuImageError) {
        do {
            directory = try .open(path, O_RDONLY | O_DIRECTORY)
        } catch {
            throw CriuImageError(path, "cannot be opened", cause: error)
        }
    }

    /// Takes over a descriptor of the image directory.
    public init(owning directory: consuming Descriptor) {
        self.directory = directory
    }

    /// Reads and takes apart one file.
    func file(_ name: String, _ kind: ImageKind) throws(CriuImageError) -> ImageFile {
        try ImageFile(name, kind, parsing: read(name))
    }

    /// Reads and takes apart one file that need not be there; nil when it is not.
    func fileIfPresent(_ name: String, _ kind: ImageKind) throws(CriuImageError) -> ImageFile? {
        guard let bytes = try readIfPresent(name) else { return nil }
        return try ImageFile(name, kind, parsing: bytes)
    }

    /// The bytes of a file that need not be there; nil when it is not.
    func readIfPresent(_ name: String) throws(CriuImageError) -> [UInt8]? {
        do {
            return try read(name)
        } catch {
            guard error.cause?.code == ENOENT else { throw error }
            return nil
        }
    }

    /// Opens a file for reading at any place, as those that are contents of something are read.
    func open(_ name: String) throws(CriuImageError) -> Descriptor {
        do throws(SystemError) {
            return try Descriptor.open(name, below: directory, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
        } catch {
            throw CriuImageError(name, "cannot be opened", cause: error)
        }
    }

    /// The image directory of the parent snapshot, which holds the pages that this one inherits; nil when there is
    /// none.
    ///
    /// CRIU asks for no more than that it can be opened as a directory.
    func parentDirectory() throws(CriuImageError) -> ImageDirectory? {
        do throws(SystemError) {
            return ImageDirectory(
                owning: try Descriptor.open(Self.parentName, below: directory, O_RDONLY | O_DIRECTORY))
        } catch {
            guard error.code != ENOENT else { return nil }
            throw CriuImageError(Self.parentName, "cannot be opened", cause: error)
        }
    }

    /// Puts `file` in the place of the one of its name, whole or not at all.
    ///
    /// It is not made durable here: whoever publishes the directory does that for all of it.
    func replace(_ file: ImageFile) throws(CriuImageError) {
        try replace(file.name, with: file.bytes)
    }

    /// The same for a file of these bytes.
    func replace(_ name: String, with bytes: [UInt8]) throws(CriuImageError) {
        let staged = name + ".new"
        do {
            let output = try Descriptor.open(
                staged, below: directory, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, mode: 0o600)
            try output.writeAll(bytes)
            try retrying("renameat", name) { renameat(directory.raw, staged, directory.raw, name) }
        } catch {
            unlinkat(directory.raw, staged, 0)
            throw CriuImageError(name, "cannot be written", cause: error)
        }
    }

    func read(_ name: String) throws(CriuImageError) -> [UInt8] {
        var status = stat()
        do {
            let input = try Descriptor.open(name, below: directory, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
            try retrying("fstat", name) { fstat(input.raw, &status) }
            if status.st_mode & S_IFMT == S_IFREG, status.st_size <= ImageFile.largest {
                return try input.readAll()
            }
        } catch {
            throw CriuImageError(name, "cannot be read", cause: error)
        }
        guard status.st_mode & S_IFMT == S_IFREG else { throw CriuImageError(name, "is not a regular file") }
        throw CriuImageError(name, "has \(status.st_size) bytes, more than \(ImageFile.largest)")
    }
}
