import CCriuImages
import Glibc

extension ImageDirectory {
    /// Makes the timers behind timerfd descriptors go on after a restore as they would have gone on.
    ///
    /// CRIU 4.2 takes what /proc/PID/fdinfo tells for the whole state (criu/timerfd.c). Three kinds of timer come
    /// back wrong from that:
    /// - One that was just due when it was dumped would never fire. `fired` tells how often such timers had fired a
    ///   moment later, by their numbers in files.img (`FileWithMore.Kind.timerWithoutTime`).
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

    var showsNoTime: Bool { ticks == 0 && vsec == 0 && vnsec == 0 }

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
