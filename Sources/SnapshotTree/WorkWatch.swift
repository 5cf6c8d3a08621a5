public import LinuxSystem
public import Messages

/// Is told of each part of a piece of work as it begins: its name, and how much of it is done, of how much where that
/// is known. The count goes on on the thread that works.
public typealias WorkWatch =
    @Sendable (
        _ phase: String, _ unit: ProgressUnit, _ done: WorkCount, _ total: Int64?
    ) -> Void

/// Is told that so many layers below a snapshot are about to be made one, and how many of them are; what it returns is
/// told of the end, and whether it was a good one.
public typealias MergeWatch =
    @Sendable (
        _ snapshot: String, _ parts: Int, _ done: WorkCount
    ) -> @Sendable (_ succeeded: Bool) -> Void

/// Work that nobody looks at.
public let unwatchedWork: WorkWatch = { _, _, _, _ in }

/// A merge that nobody looks at.
public let unwatchedMerge: MergeWatch = { _, _, _ in { _ in } }
