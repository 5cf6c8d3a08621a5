import CLinux
import Glibc
public import LinuxSystem

extension HeldTasks {
    /// Numbers of system calls (arch/x86/entry/syscalls/syscall_64.tbl).
    private enum Number: UInt64 {
        case close = 3
        case mmap = 9
        case munmap = 11
        case ioctl = 16
        case recvmsg = 47
        case socketpair = 53
    }

    /// Where in the borrowed page what lies.
    private enum Place: UInt64 {
        case sockets = 0
        case message = 64
        case vector = 128
        case control = 192
        case byte = 256
    }

    /// Has a held process make a userfaultfd of its memory, through the open `device` /dev/userfaultfd, and
    /// takes it away.
    ///
    /// Root in a user namespace may not call userfaultfd(2), but whoever has the device open may ask that for
    /// one (Documentation/admin-guide/mm/userfaultfd.rst). The process cannot open it, so it gets it through
    /// a pair of sockets of its own. It is left as it was. Throws where it may have no more descriptors or
    /// memory.
    public func userFault(of process: Int32, device: borrowing Descriptor) throws(SystemError) -> Descriptor {
        guard let instruction = TreeOfTasks.systemCallInstruction(of: process) else {
            throw SystemError(call: "userfaultfd", code: ENOEXEC)
        }
        func make(_ number: Number, _ arguments: UInt64...) throws(SystemError) -> UInt64 {
            let result = try call(process, number.rawValue, arguments, instruction: instruction)
            if result < 0 {
                throw SystemError(call: "\(number) in a restored process", code: Int32(-result))
            }
            return UInt64(result)
        }
        let handle = Descriptor(owning: try retrying("pidfd_open") { clinux_pidfd_open(process) })
        func taken(_ number: UInt64) throws(SystemError) -> Descriptor {
            Descriptor(
                owning: try retrying("pidfd_getfd") { clinux_pidfd_getfd(handle.raw, Int32(number)) })
        }
        let page = try make(
            .mmap, 0, 4096, UInt64(PROT_READ | PROT_WRITE), UInt64(MAP_PRIVATE | MAP_ANONYMOUS), .max, 0)
        _ = try make(
            .socketpair, UInt64(AF_UNIX), UInt64(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0,
            page + Place.sockets.rawValue)
        let sockets = try words(1, of: process, at: page + Place.sockets.rawValue)[0]
        let (ours, theirs) = (sockets & 0xffff_ffff, sockets >> 32)
        let line = try taken(ours)
        let code = clinux_send_descriptors(line.raw, "x", 1, [device.raw], 1)
        if code != 0 { throw SystemError(call: "sendmsg", code: code) }
        // struct msghdr and struct iovec of <bits/socket.h>; a control message of one descriptor has 24
        // bytes.
        try put(
            [
                0, 0, page + Place.vector.rawValue, 1, page + Place.control.rawValue, 24, 0, 0,
                page + Place.byte.rawValue, 1,
            ], of: process, at: page + Place.message.rawValue)
        _ = try make(.recvmsg, theirs, page + Place.message.rawValue, UInt64(MSG_CMSG_CLOEXEC))
        let received = try words(3, of: process, at: page + Place.control.rawValue)[2] & 0xffff_ffff
        let number = try make(.ioctl, received, Self.newUserFault, UInt64(O_CLOEXEC | O_NONBLOCK))
        let userFault = try taken(number)
        for descriptor in [number, received, ours, theirs] { _ = try make(.close, descriptor) }
        _ = try make(.munmap, page, 4096)
        return userFault
    }

    /// USERFAULTFD_IOC_NEW of <linux/userfaultfd.h>.
    private static let newUserFault: UInt64 = 0xaa00

    private func words(_ count: Int, of process: Int32, at address: UInt64) throws(SystemError) -> [UInt64] {
        var words = [UInt64](repeating: 0, count: count)
        let code = clinux_read_memory(process, UInt(address), &words, UInt(count * 8))
        if code != 0 { throw SystemError(call: "process_vm_readv", code: code) }
        return words
    }

    private func put(_ words: [UInt64], of process: Int32, at address: UInt64) throws(SystemError) {
        let code = clinux_write_memory(process, UInt(address), words, UInt(words.count * 8))
        if code != 0 { throw SystemError(call: "process_vm_writev", code: code) }
    }
}
