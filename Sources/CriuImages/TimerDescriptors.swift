import CCriuImages
import Glibc

/// A timer behind a descriptor that was dumped with neither time left nor an expiration.
///
/// Either nobody has set it, or it is just due: its time is over and the interrupt has yet to come, which the kernel
/// shows alike (fs/timerfd.c, `timerfd_show`). Which it was shows once the interrupt has come.
public struct TimerWithoutTime: Equatable, Sendable {
    /// Its number in files.img.
    public let file: UInt32
    /// A process that has it, by its id in the sandbox.
    public let process: Int32
    public let descriptor: Int32

    /// How often it has fired by now, unread; 0 where that cannot be told.
    ///
    /// `process` is the one that has it, by its id on the host; it must still stand still.
    public func expirations(in process: Int32) -> UInt64 {
        ProcText("/proc/\(process)/fdinfo/\(descriptor)")?.numbers("ticks:").first ?? 0
    }
}

extension ImageDirectory {
    /// The timers that were dumped as set by nobody, each once.
    public func timersWithoutTime() throws(CriuImageError) -> [TimerWithoutTime] {
        var files: Set<UInt32> = []
        try file("files.img", .files).decodeEach(file_entry__unpack, file_entry__free_unpacked) { _, entry in
            if entry.pointee.tfd?.pointee.showsNoTime == true { files.insert(entry.pointee.id) }
        }
        if files.isEmpty { return [] }
        var timers: [TimerWithoutTime] = []
        for process in try processes() where process.state != .zombie {
            let table = try file("ids-\(process.pid).img", .taskObjects).decodeOnly(
                task_kobj_ids_entry__unpack, task_kobj_ids_entry__free_unpacked
            ) { $0.pointee.files_id }
            try fileIfPresent("fdinfo-\(table).img", .descriptors)?.decodeEach(
                fdinfo_entry__unpack, fdinfo_entry__free_unpacked
            ) { _, entry in
                guard files.remove(entry.pointee.id) != nil else { return }
                timers.append(
                    TimerWithoutTime(
                        file: entry.pointee.id, process: process.pid,
                        descriptor: Int32(truncatingIfNeeded: entry.pointee.fd)))
            }
        }
        return timers
    }

    /// Makes the timers behind timerfd descriptors go on after a restore as they would have gone on.
    ///
    /// CRIU 4.2 takes what /proc/PID/fdinfo tells for the whole state (criu/timerfd.c). Three kinds of timer come
    /// back wrong from that:
    /// - One that was just due when it was dumped would never fire. `fired` tells how often those of
    ///   `timersWithoutTime` had fired a moment later, by their numbers in files.img.
    /// - A periodic timer whose expiration nobody has read shows no time left, because the kernel winds it up at
    ///   the read (fs/timerfd.c, `timerfd_read_iter`); restored, it would never fire again. It gets one interval.
    /// - Of an absolute time only the time left is known, and CRIU adds the clock's whole seconds to it
    ///   (criu/pie/restorer.c, `timerfd_arm`), so that it would fire up to a second early. On clocks that stand
    ///   still while saved it becomes a relative one.
    public func keepTimersGoing(fired: [UInt32: UInt64]) throws(CriuImageError) {
        var files = try file("files.img", .files)
        var changed = false
        for index in files.entries.indices {
            let differs = try files.decode(index, file_entry__unpack, file_entry__free_unpacked) { entry in
                entry.pointee.tfd?.pointee.keepGoing(fired: fired[entry.pointee.id]) == true
            }
            guard differs else { continue }
            try files.edit(index, file_entry__unpack, file_entry__free_unpacked) { entry in
                _ = entry.pointee.tfd?.pointee.keepGoing(fired: fired[entry.pointee.id])
            }
            changed = true
        }
        if changed { try replace(files) }
    }
}

extension TimerfdEntry {
    /// TFD_TIMER_ABSTIME of <sys/timerfd.h>.
    private static let absolute: UInt32 = 1

    fileprivate var showsNoTime: Bool { ticks == 0 && vsec == 0 && vnsec == 0 }

    /// Corrects what would come back wrong; false when nothing would.
    fileprivate mutating func keepGoing(fired: UInt64?) -> Bool {
        var changed = false
        if let fired, fired > 0, showsNoTime {
            ticks = fired
            changed = true
        }
        if ticks > 0, vsec == 0, vnsec == 0, isec > 0 || insec > 0 {
            (vsec, vnsec) = (isec, insec)
            changed = true
        }
        let standsStill = clockid == UInt32(CLOCK_MONOTONIC) || clockid == UInt32(CLOCK_BOOTTIME)
        if standsStill, settime_flags & Self.absolute != 0 {
            settime_flags &= ~Self.absolute
            changed = true
        }
        return changed
    }
}
