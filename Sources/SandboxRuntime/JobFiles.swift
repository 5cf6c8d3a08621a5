import CLinux
import Glibc
public import LinuxSystem
public import Messages

/// The output of one sandbox's jobs, as PID 1 stores it (`Sources/SandboxInit/job.c`).
public struct JobFiles: ~Copyable {
    private let root: Descriptor

    /// Bytes of each stream that are kept of a job at the least, and at the most; of more output the first half
    /// and the last remain.
    public static let leastKept = (CKPT_JOB_HEAD + CKPT_JOB_TAIL - 1) * CKPT_JOB_SEGMENT
    public static let mostKept = (CKPT_JOB_HEAD + CKPT_JOB_TAIL) * CKPT_JOB_SEGMENT

    /// Opens those of the sandbox of PID 1 `pid`.
    public init(inSandboxOf pid: Int32) throws(SystemError) {
        root = try Descriptor.open("/proc/\(pid)/root", O_PATH | O_DIRECTORY)
    }

    /// Up to `limit` bytes of a job's stream from `offset` on, and the offset of the first of them: a later one
    /// where what was asked for is not kept.
    public func read(
        _ job: CommandEntry, _ stream: OutputStream, from offset: UInt64, limit: Int
    ) throws(SystemError) -> (offset: UInt64, bytes: [UInt8]) {
        let produced = job.produced[stream.index]
        let end = min(produced, job.job?.lostFrom[stream.index] ?? produced)
        var start = Self.kept(offset, of: end)
        var bytes: [UInt8] = []
        while start + UInt64(bytes.count) < end, bytes.count < limit {
            let at = start + UInt64(bytes.count)
            let number = at / Self.segment
            let stop = min(end, (number + 1) * Self.segment)
            let piece = try segment(
                "\(job.id).\(stream.index + 1).\(number)", from: at % Self.segment,
                count: min(Int(stop - at), limit - bytes.count))
            if piece.isEmpty {
                // Dropped since PID 1 was asked, or removed inside.
                if !bytes.isEmpty { break }
                start = Self.kept(stop, of: end)
            }
            bytes += piece
        }
        return (bytes.isEmpty ? max(min(offset, produced), end == produced ? start : produced) : start, bytes)
    }

    /// Whether the files hold less than all of a stream.
    public static func isCut(_ job: CommandEntry) -> Bool {
        job.produced.contains { Self.kept(Self.head, of: $0) != min(Self.head, $0) }
            || job.job?.lostFrom.contains { $0 != nil } == true
    }

    private static let segment = UInt64(CKPT_JOB_SEGMENT)
    private static let head = UInt64(CKPT_JOB_HEAD) * segment

    /// `offset`, or the first one after it that is kept of a stream with `end` bytes.
    private static func kept(_ offset: UInt64, of end: UInt64) -> UInt64 {
        guard offset < end else { return end }
        let last = (end - 1) / segment
        guard offset >= head, last >= UInt64(CKPT_JOB_HEAD + CKPT_JOB_TAIL) else { return offset }
        return max(offset, (last - UInt64(CKPT_JOB_TAIL) + 1) * segment)
    }

    /// Part of one file; nothing where there is none, or something else in its place.
    private func segment(_ name: String, from offset: UInt64, count: Int) throws(SystemError) -> [UInt8] {
        let path = "\(CKPT_INIT_JOBS)/\(name)"
        let number = clinux_open_in_root(root.raw, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW)
        guard number >= 0 else { return [] }
        let file = Descriptor(owning: number)
        var status = stat()
        guard fstat(file.raw, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return [] }
        var failure: SystemError?
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, got in
            do throws(SystemError) {
                got = try retrying("pread", path) { pread(number, buffer.baseAddress, count, off_t(offset)) }
            } catch { failure = error }
        }
        if let failure { throw failure }
        return bytes
    }
}
