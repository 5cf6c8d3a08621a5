import CCriuImages
import Glibc
import LinuxSystem

/// Reads files of a snapshot's root filesystem, which the images only name: for pages of mapped files that no
/// process has changed.
public protocol MappedFiles: Sendable {
    /// At most `count` bytes of the file from `offset` on, fewer where it ends; nil when there is no such file.
    ///
    /// `path` is absolute, as the processes see it, and free of symbolic links.
    func read(_ path: String, offset: UInt64, count: Int) -> [UInt8]?

    /// What is at the path; nil when there is no such file.
    func identity(of path: String) -> MappedFileIdentity?
}

/// Which file it is, and how long.
public struct MappedFileIdentity: Equatable, Sendable {
    /// Two files of one name are the same file.
    public let name: String
    /// In bytes.
    public let size: UInt64

    public init(name: String, size: UInt64) {
        self.name = name
        self.size = size
    }
}

/// What the images say about the files that are mapped, by their ids in `files.img`.
struct MappedObjects: Sendable {
    enum Object: Equatable, Sendable {
        /// A file with a name, and its size when it was saved.
        case path(String, size: UInt64?)
        /// A file without a name, whose contents are in `ghost-file-ID.img`.
        case deleted(UInt32, name: String)
        /// A memory file (memfd_create(2)), or memory that CRIU stores as one, by its segment.
        case memory(segment: UInt64, name: String)
    }

    private(set) var objects: [UInt32: Object] = [:]

    init(_ images: borrowing ImageDirectory) throws(CriuImageError) {
        let segments = try Self.memoryFiles(images)
        let deleted = try Self.deletedFiles(images)
        let files = try images.file("files.img", .files)
        var objects: [UInt32: Object] = [:]
        try files.decodeEach(file_entry__unpack, file_entry__free_unpacked) {
            (index, message) throws(CriuImageError) in
            let entry = message.pointee
            if let memory = entry.memfd?.pointee {
                guard let inode = segments[UInt64(memory.inode_id)] else {
                    throw CriuImageError(
                        files.name, entry: index, "names the unknown memory file \(memory.inode_id)")
                }
                objects[entry.id] = .memory(segment: inode.segment, name: inode.name)
            } else if let name = text(entry.reg?.pointee.name) {
                objects[entry.id] =
                    deleted[entry.id].map { .deleted($0, name: name) }
                    ?? .path(name, size: entry.reg.pointee.has_size != 0 ? entry.reg.pointee.size : nil)
            }
        }
        self.objects = objects
    }

    private static func memoryFiles(
        _ images: borrowing ImageDirectory
    ) throws(CriuImageError) -> [UInt64: (segment: UInt64, name: String)] {
        guard let file = try images.fileIfPresent("memfd.img", .memoryFiles) else { return [:] }
        var found: [UInt64: (segment: UInt64, name: String)] = [:]
        try file.decodeEach(memfd_inode_entry__unpack, memfd_inode_entry__free_unpacked) { (_, entry) in
            found[entry.pointee.inode_id] = (UInt64(entry.pointee.shmid), text(entry.pointee.name) ?? "")
        }
        return found
    }

    /// The ghost file of each file that has one.
    private static func deletedFiles(
        _ images: borrowing ImageDirectory
    ) throws(CriuImageError) -> [UInt32: UInt32] {
        guard let file = try images.fileIfPresent("remap-fpath.img", .remappedFiles) else { return [:] }
        var found: [UInt32: UInt32] = [:]
        try file.decodeEach(remap_file_path_entry__unpack, remap_file_path_entry__free_unpacked) {
            (_, entry) in
            let isGhost = entry.pointee.has_remap_type == 0 || entry.pointee.remap_type == REMAP_TYPE__GHOST
            if isGhost { found[entry.pointee.orig_id] = entry.pointee.remap_id }
        }
        return found
    }
}
