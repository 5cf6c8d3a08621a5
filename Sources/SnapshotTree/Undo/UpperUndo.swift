import Glibc
import LinuxSystem
import LocalArchive

extension UpperImage {
    /// Makes what the sandbox sees of its files what it was at the capture, and returns the image of what the upper
    /// directories hold then; nothing may run in the sandbox meanwhile.
    ///
    /// What differs is changed through the mounts of the sandbox (`root` is its root directory as we reach it), so that
    /// the kernel knows of it and files that are open stay what they are. So the sandbox sees the same, but the upper may
    /// hold copies of files that are the same below.
    public func putBack(_ parts: [UpperPart], below root: String) throws(UpperImageError) -> UpperImage {
        var isChanged = false
        for part in parts {
            guard let saved = roots[part.key] else { continue }
            do throws(SystemError) {
                let undo = UpperUndo(self, part, saved, root)
                try undo.run()
                isChanged = isChanged || undo.isChanged
            } catch { throw .system(error) }
        }
        return isChanged ? try .capture(parts, previous: self) : self
    }
}

/// Puts back one overlay.
final class UpperUndo {
    private let image: UpperImage
    private let part: UpperPart
    private let saved: UpperEntry
    let repair: EntryRepair
    private let lower: LowerView
    private let mergedPath: String
    private(set) var isChanged = false
    /// For each inode with several names one that it still has, or has again: as directory and name.
    private var anchors: [ino_t: (path: [[UInt8]], name: [UInt8])] = [:]

    init(_ image: UpperImage, _ part: UpperPart, _ saved: UpperEntry, _ root: String) {
        (self.image, self.part, self.saved) = (image, part, saved)
        repair = EntryRepair()
        lower = LowerView(part.lowers)
        mergedPath = part.path.isEmpty ? root : "\(root)/\(part.path)"
    }

    func run() throws(SystemError) {
        let upper = try Descriptor.directory(part.upper)
        try findAnchors(saved, [], upper)
        let merged = MergedDirectory(path: mergedPath)
        try visit(saved, upper, merged, [], overLower: true)
        try settle(saved, upper, merged)
    }

    /// Puts back what is in a directory; `path` is where it lies in the overlay, and `overLower` tells whether what
    /// lies there in the lower directories shows through.
    private func visit(
        _ saved: UpperEntry, _ upper: borrowing Descriptor, _ merged: MergedDirectory, _ path: [[UInt8]],
        overLower: Bool
    ) throws(SystemError) {
        var names = Set(saved.children.keys)
        var status = stat()
        let at = upper.raw
        try retrying("fstat") { fstat(at, &status) }
        if !saved.isSame(status) || !image.isSettled(saved) {
            try DirectoryEntries(of: upper).forEach { (name, _) throws(SystemError) in
                names.insert(bytes(of: name))
            }
        }
        let showsLower = overLower && !saved.isOpaque
        for name in names {
            try visit(name, saved.children[name], at, merged, path, overLower: showsLower)
        }
    }

    private func visit(
        _ name: [UInt8], _ before: UpperEntry?, _ upper: Int32, _ merged: MergedDirectory, _ path: [[UInt8]],
        overLower: Bool
    ) throws(SystemError) {
        let now = try statusIfThere(name, in: upper)
        if let now, let before, before.isInode(now) {
            if before.isDirectory {
                return try enter(before, name, upper, merged, path, overLower: overLower)
            }
            if before.isWhiteout || (before.isSame(now) && image.isSettled(before)) { return }
            isChanged = try repair.mend(name, to: before, upper: upper, in: merged) || isChanged
            return
        }
        // A lower one shows where the upper had nothing.
        let below = before == nil && overLower ? try lower.entry(path + [name]) : nil
        let wanted = (before?.isWhiteout ?? true) ? below : before
        if let now, let below, before == nil, below.kind == now.st_mode & S_IFMT {
            if below.isRegular {
                let full = try lower.whole(path + [name])
                isChanged = try repair.mend(name, to: full, upper: upper, in: merged) || isChanged
                return
            }
            if below.isDirectory, !(try repair.isOpaque(name, in: upper)) {
                return try enter(below, name, upper, merged, path, overLower: true)
            }
        }
        if wanted == nil, now.map({ UpperEntry($0).isWhiteout }) ?? true { return }
        isChanged = true
        try repair.remove(name, in: merged)
        if let wanted { try make(name, wanted, in: merged, path, overLower: overLower) }
    }

    private func enter(
        _ before: UpperEntry, _ name: [UInt8], _ upper: Int32, _ merged: MergedDirectory, _ path: [[UInt8]],
        overLower: Bool
    ) throws(SystemError) {
        let directory = try openDirectory(name, in: upper)
        let below = MergedDirectory(name, in: merged)
        try visit(before, directory, below, path + [name], overLower: overLower)
        try settle(before, directory, below)
    }

    /// A directory's own attributes and times, when nothing in it changes any more.
    private func settle(
        _ before: UpperEntry, _ directory: borrowing Descriptor, _ merged: MergedDirectory
    ) throws(SystemError) {
        var status = stat()
        try retrying("fstat") { fstat(directory.raw, &status) }
        if before.isSame(status), image.isSettled(before) { return }
        isChanged = try repair.mendDirectory(before, status, directory, merged) || isChanged
    }

    /// Makes what was there, with all that it held: of a directory what lay below too.
    private func make(
        _ name: [UInt8], _ entry: UpperEntry, in merged: MergedDirectory, _ path: [[UInt8]], overLower: Bool
    ) throws(SystemError) {
        let place = path + [name]
        if !entry.isDirectory {
            if entry.links > 1, !entry.liesBelow, let anchor = anchors[entry.inode] {
                let from = anchor.path.reduce(MergedDirectory(path: mergedPath)) { (above, name) in
                    MergedDirectory(name, in: above)
                }
                return try repair.link(anchor.name, in: from, as: name, in: merged)
            }
            let whole = entry.liesBelow && entry.isRegular ? try lower.whole(place) : entry
            try repair.make(name, whole, in: merged)
            if entry.links > 1, !entry.liesBelow { anchors[entry.inode] = (path, name) }
            return
        }
        try repair.makeDirectory(name, in: merged)
        let directory = MergedDirectory(name, in: merged)
        var children = entry.children
        if overLower, !entry.isOpaque {
            for (name, child) in try lower.children(place) where children[name] == nil {
                children[name] = child
            }
        }
        for (name, child) in children where !child.isWhiteout {
            try make(name, child, in: directory, place, overLower: overLower && !entry.isOpaque)
        }
        try repair.finishDirectory(entry, directory)
    }

    /// Finds the inodes with several names of which one is still in its place.
    private func findAnchors(
        _ entry: UpperEntry, _ path: [[UInt8]], _ upper: borrowing Descriptor
    ) throws(SystemError) {
        for (name, child) in entry.children {
            if child.isDirectory {
                guard let below = try? openDirectory(name, in: upper.raw) else { continue }
                try findAnchors(child, path + [name], below)
            } else if child.links > 1, !child.isWhiteout, anchors[child.inode] == nil,
                let now = try statusIfThere(name, in: upper.raw), child.isInode(now)
            {
                anchors[child.inode] = (path, name)
            }
        }
    }

    private func statusIfThere(_ name: [UInt8], in directory: Int32) throws(SystemError) -> stat? {
        do throws(SystemError) { return try entryStatus(name, in: directory) } catch {
            if error.isMissing { return nil }
            throw error
        }
    }
}

/// A directory in the sandbox's own mounts, opened when something in it is to change.
final class MergedDirectory {
    private enum Place {
        case path(String)
        case below(MergedDirectory, [UInt8])
    }
    private let place: Place
    private var opened: Int32 = -1

    init(path: String) { place = .path(path) }
    init(_ name: [UInt8], in directory: MergedDirectory) { place = .below(directory, name) }
    deinit { if opened >= 0 { close(opened) } }

    /// Its descriptor, borrowed. Throws EXDEV where another mount lies over it.
    func descriptor() throws(SystemError) -> Int32 {
        if opened >= 0 { return opened }
        switch place {
        case .path(let path): opened = try Descriptor.directory(path).release()
        case .below(let directory, let name):
            let above = try directory.descriptor()
            let found = try openDirectory(name, in: above)
            guard try found.status().st_dev == Self.device(above) else {
                throw SystemError(call: "openat", code: EXDEV, subject: "what is mounted in the sandbox")
            }
            opened = found.release()
        }
        return opened
    }

    private static func device(_ directory: Int32) throws(SystemError) -> dev_t {
        var status = stat()
        try retrying("fstat") { fstat(directory, &status) }
        return status.st_dev
    }
}
