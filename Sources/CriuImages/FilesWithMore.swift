import CCriuImages
import Glibc
import LinuxSystem

/// An open file of which CRIU's images do not tell all, and a process that has it.
public struct FileWithMore: Equatable, Sendable {
    public enum Kind: Equatable, Sendable {
        /// A timer that was dumped with neither time left nor an expiration.
        ///
        /// Either nobody has set it, or it is just due: its time is over and the interrupt has yet to come, which the
        /// kernel shows alike (fs/timerfd.c, `timerfd_show`). Which it was shows once the interrupt has come.
        case timerWithoutTime
        /// An eventfd(2) and its count.
        case eventCounter(UInt64)
        case socket
    }

    public let kind: Kind
    /// Its number in files.img.
    public let file: UInt32
    /// The process, by its id in the sandbox.
    public let process: Int32
    public let descriptor: Int32

    /// How often a timer has fired by now, unread; 0 where that cannot be told.
    ///
    /// `process` is the one that has it, by its id on the host; it must still stand still.
    public func expirations(in process: Int32) -> UInt64 { number("ticks:", in: process) ?? 0 }

    /// Whether each read of an event counter takes one of its count (EFD_SEMAPHORE); Linux 6.5 and later tell it.
    public func isSemaphore(in process: Int32) -> Bool { number("eventfd-semaphore:", in: process) == 1 }

    private func number(_ key: StaticString, in process: Int32) -> UInt64? {
        ProcText("/proc/\(process)/fdinfo/\(descriptor)")?.numbers(key).first
    }
}

extension ImageDirectory {
    /// The open files of which the images do not tell all, each once; those of PID 1 are left out.
    public func filesWithMore(of processes: [ImageProcess]) throws(CriuImageError) -> [FileWithMore] {
        var kinds: [UInt32: FileWithMore.Kind] = [:]
        try file("files.img", .files).decodeEach(file_entry__unpack, file_entry__free_unpacked) { _, entry in
            kinds[entry.pointee.id] = entry.pointee.kindWithMore
        }
        // Most have no more than its listener.
        try forEachDescriptor(of: 1) { entry in kinds[entry.id] = nil }
        if kinds.isEmpty { return [] }
        var found: [FileWithMore] = []
        for process in processes where process.state != .zombie {
            try forEachDescriptor(of: process.pid) { entry in
                guard let kind = kinds.removeValue(forKey: entry.id) else { return }
                found.append(
                    FileWithMore(
                        kind: kind, file: entry.id, process: process.pid,
                        descriptor: Int32(truncatingIfNeeded: entry.fd)))
            }
        }
        return found
    }

    private func forEachDescriptor(
        of process: Int32, _ body: (FdinfoEntry) -> Void
    ) throws(CriuImageError) {
        let table = try file("ids-\(process).img", .taskObjects).decodeOnly(
            task_kobj_ids_entry__unpack, task_kobj_ids_entry__free_unpacked
        ) { $0.pointee.files_id }
        try fileIfPresent("fdinfo-\(table).img", .descriptors)?.decodeEach(
            fdinfo_entry__unpack, fdinfo_entry__free_unpacked
        ) { _, entry in body(entry.pointee) }
    }
}

extension FileEntry {
    fileprivate var kindWithMore: FileWithMore.Kind? {
        if let timer = tfd?.pointee { return timer.showsNoTime ? .timerWithoutTime : nil }
        if let counter = efd?.pointee { return .eventCounter(counter.counter) }
        return isk != nil || usk != nil || nlsk != nil || psk != nil ? .socket : nil
    }
}
