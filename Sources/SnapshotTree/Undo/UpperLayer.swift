import Glibc
public import LinuxSystem
import LocalArchive

extension UpperImage {
    /// Makes the directory of a layer that holds the same as the upper directories did, by the parts' keys.
    ///
    /// What provably did not change since `previous`, which became the layer at that path, is linked from there. When it
    /// throws, what is in the directory by then is the caller's to remove.
    public func write(
        toLayer path: String, sharing previous: (image: UpperImage, layer: String)? = nil
    ) throws(SystemError) {
        try retrying("mkdir", path) { mkdir(path, 0o755) }
        let layer = try Descriptor.directory(path)
        var writer = UpperLayerWriter(layer: layer.raw)
        guard let previous, let old = try? Descriptor.directory(previous.layer) else {
            for (key, root) in roots { try writer.write(root, Array(key.utf8), before: nil) }
            return
        }
        writer.before = (previous.image, old.raw)
        for (key, root) in roots {
            try writer.write(root, Array(key.utf8), before: previous.image.roots[key])
        }
    }
}

/// Writes entries of an image as an upper directory holds them.
private struct UpperLayerWriter {
    let layer: Int32
    /// An image and the directory of the layer that it became.
    var before: (image: UpperImage, layer: Int32)?
    private let attributes = ExtendedAttributes()
    /// A name of each inode that has several.
    private var firstNames: [ino_t: [CChar]] = [:]

    init(layer: Int32) { self.layer = layer }

    /// Makes the entry at a path below the layer's directory; `before` is the one of that path in the image before.
    mutating func write(_ entry: UpperEntry, _ path: [UInt8], before: UpperEntry?) throws(SystemError) {
        let name = path.map { CChar(bitPattern: $0) } + [0]
        if entry.isWhiteout {
            try retrying("mknodat", printable(name)) { mknodat(layer, name, S_IFCHR, 0) }
            return
        }
        if entry.isDirectory {
            try retrying("mkdirat", printable(name)) { mkdirat(layer, name, 0o700) }
            for (child, it) in entry.children {
                try write(it, path + [UInt8(ascii: "/")] + child, before: before?.children[child])
            }
            try give(name, entry)
            return
        }
        if entry.links > 1, let first = firstNames[entry.inode] {
            try retrying("linkat", printable(name)) { linkat(layer, first, layer, name, 0) }
            return
        }
        if !linkFromBefore(entry, name, before) {
            try entry.make(name, in: layer)
            try give(name, entry)
        }
        if entry.links > 1 { firstNames[entry.inode] = name }
    }

    private func linkFromBefore(_ entry: UpperEntry, _ name: [CChar], _ old: UpperEntry?) -> Bool {
        guard entry.isRegular, let before, let old, entry.inode == old.inode, entry.kind == old.kind,
            entry.changed == old.changed, entry.content.size == old.content.size, before.image.isSettled(old)
        else { return false }
        return linkat(before.layer, name, layer, name, 0) == 0
    }

    /// Owner, mode, extended attributes and times, in the order in which none undoes another.
    private func give(_ name: [CChar], _ entry: UpperEntry) throws(SystemError) {
        try retrying("fchownat", printable(name)) {
            fchownat(layer, name, entry.owner, entry.group, AT_SYMLINK_NOFOLLOW)
        }
        if entry.kind != S_IFLNK {
            try retrying("fchmodat", printable(name)) { fchmodat(layer, name, entry.mode & 0o7777, 0) }
        }
        try name.withUnsafeBufferPointer { (name) throws(SystemError) in
            try attributes.set(entry.attributes, on: .entry(name.baseAddress!, in: layer))
        }
        let times = [entry.accessed, entry.modified]
        try retrying("utimensat", printable(name)) { utimensat(layer, name, times, AT_SYMLINK_NOFOLLOW) }
    }
}
