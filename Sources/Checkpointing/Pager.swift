import CLinux
import CriuImages
import Glibc
import LinuxSystem
import SandboxRuntime

/// A process that serves the missing pages of one sandbox, from before its tree runs until all are there.
///
/// It is ckpt itself, started again with `__pager` (CLinux, pager.c), in a session of its own: a server may
/// end meanwhile. Dropped before `begin`, it goes away by itself.
final class Pager {
    private let one: WaitingPager

    /// Starts it, or takes the one that waits, and has it open all files.
    init(_ memory: LazyMemory, directory: String, incarnation: Int) throws(SystemError) {
        let plan = Descriptor(
            owning: try retrying("memfd_create") { memfd_create("plan", UInt32(MFD_CLOEXEC)) })
        try plan.writeAll(Self.plan(of: memory))
        let place = try Descriptor.open(directory, O_RDONLY | O_DIRECTORY)
        let name = Array(MemoryFilling.name(incarnation).utf8)
        if let spare = WaitingPager.takeSpare(),
            (try? Self.send(name, [plan.raw, place.raw], through: spare.socket)) != nil
        {
            one = spare
            return
        }
        one = try WaitingPager()
        try Self.send(name, [plan.raw, place.raw], through: one.socket)
    }

    /// Bytes a second that come in from behind at most, where nobody waits for them: CKPT_MEMORY_PACE of the
    /// server, in MiB; 0 knows no bound.
    private static var pace: UInt64 {
        let text = getenv("CKPT_MEMORY_PACE").map { String(cString: $0) } ?? ""
        return min(UInt64(text) ?? 0, 1 << 20) << 20
    }

    /// What pager.c calls a plan.
    private static func plan(of memory: LazyMemory) -> [UInt8] {
        let extents = memory.processes.flatMap(\.extents)
        var words = [UInt64(clinux_pager_magic), UInt64(memory.processes.count)]
        words += [UInt64(memory.files.count), UInt64(extents.count), Self.pace]
        words += memory.processes.map { UInt64($0.extents.count) }
        words.reserveCapacity(words.count + 4 * extents.count)
        for extent in extents {
            words.append(extent.start)
            words.append(extent.pages)
            words.append(UInt64(extent.file))
            words.append(extent.offset)
        }
        return words.withUnsafeBytes { Array($0) } + memory.files.flatMap { Array($0.utf8) + [0] }
    }

    /// Hands over the sandbox of PID 1 `root` and a userfaultfd for each process; from then on it serves.
    func begin(
        root: Int32, _ userFaults: [UserFault], directory: String, incarnation: Int
    ) throws(SystemError) -> MemoryFilling {
        WaitingPager.makeSpareSoon()
        try hear(from: one.socket)
        let filling = try MemoryFilling(directory, incarnation, pager: one.process)
        do throws(SystemError) {
            let handle = Descriptor(owning: try retrying("pidfd_open") { clinux_pidfd_open(root) })
            let file = try Descriptor.open(filling.path, O_RDWR)
            var rest = [handle.raw, file.raw] + userFaults.map { $0.descriptor.raw }
            while !rest.isEmpty {
                try Self.send([0], Array(rest.prefix(Self.mostAtOnce)), through: one.socket)
                rest.removeFirst(min(Self.mostAtOnce, rest.count))
            }
            try hear(from: one.socket)
            return filling
        } catch {
            filling.end()
            throw error
        }
    }

    /// Descriptors that go through the socket in one message.
    private static let mostAtOnce = 60

    private static func send(
        _ bytes: [UInt8], _ descriptors: [Int32], through socket: borrowing Descriptor
    ) throws(SystemError) {
        let code = clinux_send_descriptors(
            socket.raw, bytes, Int32(bytes.count), descriptors, Int32(descriptors.count))
        if code != 0 { throw SystemError(call: "sendmsg", code: code, subject: "the pager") }
    }

    private func hear(from socket: borrowing Descriptor) throws(SystemError) {
        let answer = String(decoding: try socket.read(upTo: 1024), as: UTF8.self)
        if answer == "ok" { return }
        throw SystemError(
            call: "pager", code: EIO, subject: answer.isEmpty ? "it ended without an answer" : answer)
    }
}

/// A pager that has not been told of its sandbox yet.
private final class WaitingPager: Sendable {
    let socket: Descriptor
    let process: SandboxProcess

    init() throws(SystemError) {
        var ends: [Int32] = [-1, -1]
        try retrying("socketpair") {
            socketpair(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue | SOCK_CLOEXEC.rawValue), 0, &ends)
        }
        let theirs = Descriptor(owning: ends[1])
        socket = Descriptor(owning: ends[0])
        var code: Int32 = 0
        let pid = clinux_pager_spawn(theirs.raw, &code)
        if pid < 0 { throw SystemError(call: "vfork", code: code, subject: "a pager") }
        do throws(SystemError) { process = try SandboxProcess(pid: pid) } catch {
            kill(pid, SIGKILL)
            waitpid(pid, nil, 0)
            throw error
        }
    }

    deinit {
        // Until it serves it ends when nobody speaks with it any more, which must not leave a zombie.
        let process = process
        _ = shutdown(socket.raw, Int32(SHUT_RDWR))
        startThread { _ = process.ended(within: -1) }
    }

    /// Its start takes some milliseconds, so one waits from the first restore on that had use for it.
    private static let spare = Monitor<WaitingPager?>(nil)

    static func takeSpare() -> WaitingPager? {
        spare.with { kept in
            defer { kept = nil }
            return kept
        }
    }

    /// Makes one, when the restore under way has most likely ended.
    static func makeSpareSoon() {
        startThread {
            usleep(50_000)
            guard spare.with({ $0 == nil }), let made = try? WaitingPager() else { return }
            spare.with { $0 = $0 ?? made }
        }
    }
}
