import Glibc
public import LinuxSystem

/// Copies the upper directory of an overlay mount into the directory of a layer, exactly.
///
/// Kept: whiteouts, opaque and redirected directories, all extended attributes (ACLs and capabilities
/// among them), hard links, sockets, FIFOs, devices, symlinks, holes, owners, modes, times to the
/// nanosecond, names of any bytes. Left out: what overlayfs notes about this very upper directory (see
/// `ExtendedAttributes.isLeftOut`). Nothing may write to the upper directory meanwhile: its sandbox is
/// frozen.
public struct LayerCapture: Sendable {
    /// The overlay's upper directory.
    public let upper: String
    /// The layer's directory: on the same filesystem, empty; made where it is not there.
    public let layer: String

    /// A capture of `upper` into `layer`.
    public init(upper: String, layer: String) {
        self.upper = upper
        self.layer = layer
    }

    /// A capture that is over: what to remember of the upper directory, and the layer that holds it.
    public struct Previous: Sendable {
        /// What that capture returned.
        public let index: CaptureIndex
        /// The directory of the layer it made; immutable and on the same filesystem.
        public let layer: String
        /// What heard of changes since; nil where nothing did.
        public let journal: ChangeJournal?

        /// A capture to compare the next one with.
        public init(index: CaptureIndex, layer: String, journal: ChangeJournal? = nil) {
            self.index = index
            self.layer = layer
            self.journal = journal
        }
    }

    /// What a capture found.
    public enum Outcome: Sendable {
        /// Nothing changed since the previous capture: its layer serves, and `layer` was not made.
        case unchanged
        /// The layer holds a copy.
        case captured(Captured)
    }

    /// What a capture did.
    public struct Captured: Sendable {
        /// What to compare the next capture with.
        public let index: CaptureIndex
        /// Files, directories and all else in the layer.
        public let entries: Int
        /// Regular files shared with the previous layer by a hard link.
        public let linked: Int
        /// Bytes of data that were copied or cloned.
        public let copiedBytes: Int64
        /// The paths of files that are the same in the previous layer.
        let unchanged: [[CChar]]
    }

    /// Copies, as little as can be proved to be enough.
    ///
    /// With a `previous` capture of the same upper directory, a regular file that has provably not
    /// changed since is linked from the previous layer instead of copied, where the filesystem cannot clone;
    /// it then shows a link count above 1 in a sandbox that stands on the layer. `hot` are the files that
    /// a process has mapped shared and writable, by their path relative to the upper directory: a store
    /// to mapped memory need not change a file's times, so those are copied, and also by the capture after.
    /// `opened` are the files that are open for writing, by such paths too; asked for only with a journal.
    /// With `always` the layer holds a copy also where nothing changed.
    /// `copied` counts the bytes on disk of the files that are in the layer.
    /// When it throws, what the layer's directory holds by then is the caller's to remove.
    public func capture(
        previous: Previous? = nil, hot: [[UInt8]] = [], opened: () -> [[UInt8]]? = { [] },
        always: Bool = false, counting copied: WorkCount = WorkCount()
    ) throws(SnapshotTreeError) -> Outcome {
        try wrapping { () throws(SystemError) in
            let source = try Descriptor.directory(upper)
            let previous = previous.flatMap { $0.index.isValid ? $0 : nil }
            let hotNow = inodes(of: hot, below: source)
            let hotSince = hotNow.union(previous?.index.hot ?? [])
            if !always, let previous, try isUnchanged(source, since: previous, hot: hotSince, opened) {
                return .unchanged
            }
            if mkdir(layer, 0o755) != 0, errno != EEXIST { throw SystemError.last("mkdir", layer) }
            let copy = try LayerCopy(
                source, into: try Descriptor.directory(layer), hot: hotNow, counting: copied)
            if let previous { copy.share(previous, except: hotSince) }
            return .captured(try copy.run(source))
        }
    }

    private func isUnchanged(
        _ source: borrowing Descriptor, since previous: Previous, hot: Set<ino_t>, _ opened: () -> [[UInt8]]?
    ) throws(SystemError) -> Bool {
        if let journal = previous.journal, let opened = opened() {
            let opened = status(of: opened, below: source)
            if journal.provesUnchanged(source, since: previous.index, hot: hot, opened: opened) {
                return true
            }
        }
        if try ChangeScan.hasChanged(source, since: previous.index, hot: hot) { return false }
        previous.journal?.forget()
        return true
    }

    /// What an upper directory holds.
    public struct Size: Equatable, Sendable {
        /// Files, directories and all else below it.
        public let entries: Int
        /// Bytes on disk, as du(1) counts.
        public let bytes: Int64
        /// Whether all was counted: false when a limit was reached first.
        public let isComplete: Bool
    }

    /// Counts what an upper directory holds, and stops as soon as one of the limits is reached.
    public static func measure(
        upper: String, entryLimit: Int = .max, byteLimit: Int64 = .max
    ) throws(SnapshotTreeError) -> Size {
        try wrapping { () throws(SystemError) in
            var usage = DiskUsage(entryLimit: entryLimit, byteLimit: byteLimit)
            try TreeWalk.walk(try Descriptor.directory(upper), &usage)
            return Size(entries: usage.entries, bytes: usage.bytes, isComplete: !usage.reachedLimit)
        }
    }

    private func inodes(of paths: [[UInt8]], below root: borrowing Descriptor) -> Set<ino_t> {
        Set(status(of: paths, below: root).map(\.st_ino))
    }

    /// What the paths lead to; what is not there needs no care.
    private func status(of paths: [[UInt8]], below root: borrowing Descriptor) -> [stat] {
        var found: [stat] = []
        for path in paths {
            let relative = path.drop { $0 == UInt8(ascii: "/") }.map { CChar(bitPattern: $0) } + [0]
            var status = stat()
            if fstatat(root.raw, relative, &status, AT_SYMLINK_NOFOLLOW) == 0 { found.append(status) }
        }
        return found
    }
}
