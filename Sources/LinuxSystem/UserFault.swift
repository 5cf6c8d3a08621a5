import CLinux
import Glibc

/// A userfaultfd of another process, by which its memory is given to it (userfaultfd(2)).
public final class UserFault {
    public let descriptor: Descriptor

    /// Takes the one that a process has at a number.
    ///
    /// With `tellsEvents` whoever reads from it learns of forks and of what is mapped anew, moved and given up.
    public init(of process: Int32, at number: Int32, tellsEvents: Bool) throws(SystemError) {
        let handle = Descriptor(owning: try retrying("pidfd_open") { clinux_pidfd_open(process) })
        let taken = Descriptor(owning: try retrying("pidfd_getfd") { clinux_pidfd_getfd(handle.raw, number) })
        try Self.agree(taken, tellsEvents)
        descriptor = taken
    }

    /// A fresh one.
    public init(_ descriptor: consuming Descriptor, tellsEvents: Bool) throws(SystemError) {
        try Self.agree(descriptor, tellsEvents)
        self.descriptor = descriptor
    }

    private static func agree(_ fresh: borrowing Descriptor, _ tellsEvents: Bool) throws(SystemError) {
        try check("UFFDIO_API", clinux_userfault_agree(fresh.raw, tellsEvents ? 1 : 0))
    }

    /// From now on it covers these ranges of the process's memory.
    public func cover(_ ranges: [Range<UInt64>]) throws(SystemError) {
        for range in ranges {
            let code = clinux_userfault_cover(descriptor.raw, range.lowerBound, range.upperBound)
            try Self.check("UFFDIO_REGISTER", code)
        }
    }

    /// It does no more.
    public func leave(_ ranges: [Range<UInt64>]) throws(SystemError) {
        for range in ranges {
            let code = clinux_userfault_leave(descriptor.raw, range.lowerBound, range.upperBound)
            try Self.check("UFFDIO_UNREGISTER", code)
        }
    }

    /// Puts pages of ours where the process has none, within one mapping; whether that could be done.
    ///
    /// A third of what writing them to /proc/PID/mem takes, for they are not cleared first and not copied twice. It cannot
    /// where ours are of a file that cannot be read.
    public func put(_ pages: UnsafeRawPointer, at address: UInt64, size: Int) -> Bool {
        clinux_userfault_put(descriptor.raw, address, pages, UInt64(size)) == 0
    }

    /// Whether a process may make one of itself for the faults of its program alone (UFFD_USER_MODE_ONLY), as everybody
    /// may where the kernel has them and no filter forbids it.
    public static let isThere: Bool = {
        let made = clinux_userfault_open()
        if made >= 0 { close(made) }
        return made >= 0
    }()

    private static func check(_ request: String, _ code: Int32) throws(SystemError) {
        if code != 0 { throw SystemError(call: "ioctl(\(request))", code: code) }
    }
}
