import CLinux
import CTwin
import Glibc
import LinuxSystem

/// What /proc tells of a process that stands still, as far as a dump writes it down.
///
/// It is read while everything stands still, and mostly taken apart when everything goes on.
final class LiveProcess {
    /// The host's pid.
    let host: Int32
    let status: ProcText
    private let stat: ProcText
    /// Once they are looked at.
    private(set) var areas: [LiveArea] = []
    let descriptors: [LiveDescriptor]
    let directory: String
    let root: String
    let program: String
    let userNamespace: String
    /// stat(2) of the working directory and of the root.
    let directoryStatus: Glibc.stat
    let rootStatus: Glibc.stat
    let hasTimers: Bool
    private let auxiliaryBytes: [UInt8]
    private let outOfMemory: ProcText
    private let domain: ProcText
    private let login: ProcText?

    /// One that stands still; of a twin with what its original had, which has gone on.
    init(_ host: Int32, as instant: TwinInstant? = nil) throws(FollowUpRefusal) {
        func gone() -> FollowUpRefusal { FollowUpRefusal("process \(host) of the host cannot be looked at") }
        self.host = host
        let place = "/proc/\(host)/"
        var (working, top) = (Glibc.stat(), Glibc.stat())
        guard let status = ProcText(place + "status"), let stat = ProcText(place + "stat"),
            let directory = linkTarget(place + "cwd"),
            let root = linkTarget(place + "root"), let program = linkTarget(place + "exe"),
            let user = linkTarget(place + "ns/user"), let auxiliary = try? Files.read(place + "auxv"),
            let memory = ProcText(place + "oom_score_adj"), let domain = ProcText(place + "personality"),
            fstatat(AT_FDCWD, place + "cwd", &working, 0) == 0,
            fstatat(AT_FDCWD, place + "root", &top, 0) == 0
        else { throw gone() }
        (self.status, self.stat, self.directory, self.root) = (status, stat, directory, root)
        (self.program, userNamespace, auxiliaryBytes) = (program, user, auxiliary)
        (outOfMemory, self.domain, login) = (memory, domain, ProcText(place + "loginuid"))
        if let instant {
            guard areSame(directory, instant.directory) else {
                throw FollowUpRefusal("the working directory of process \(host) of the host was moved")
            }
            (working.st_mode, top.st_mode) = (instant.directoryMode, instant.rootMode)
        }
        (directoryStatus, rootStatus) = (working, top)
        hasTimers = ProcText(place + "timers")?.bytes.isEmpty != true
        let all = try LiveDescriptor.all(of: host)
        descriptors =
            try instant.map { (instant) throws(FollowUpRefusal) in
                try LiveDescriptor.all(all, as: instant)
            } ?? all
    }

    /// Looks at its mappings, in which nothing may be that is not its own.
    func lookAtAreas() throws(FollowUpRefusal) {
        guard let all = LiveArea.all(of: host) else {
            throw FollowUpRefusal("the mappings of process \(host) of the host cannot be looked at")
        }
        areas = all
    }

    /// The command may hold spaces and parentheses of its own.
    private lazy var parted: (command: String?, words: [ArraySlice<UInt8>]) = {
        let bytes = stat.bytes
        guard let open = bytes.firstIndex(of: UInt8(ascii: "(")),
            let close = bytes.lastIndex(of: UInt8(ascii: ")")),
            open < close
        else { return ("", []) }
        return (
            String(decoding: bytes[(open + 1)..<close], as: UTF8.self),
            CriuImages.words(in: bytes[(close + 1)...])
        )
    }()

    /// nil where it is no text.
    var command: String? { parted.command }

    /// A field of /proc/PID/stat by its number in proc_pid_stat(5), of those that are not negative.
    func field(_ number: Int) -> UInt64? {
        parted.words.count > number - 3 ? CriuImages.number(parted.words[number - 3]) : nil
    }

    /// oom_score_adj, which may be negative.
    var outOfMemoryScore: Int32? {
        Int32(String(decoding: outOfMemory.bytes.prefix { $0 != newline }, as: UTF8.self))
    }
    var personality: UInt64? { domain.first(radix: 16) }
    var loginUser: UInt64? { login?.first() }

    /// The auxiliary vector (getauxval(3)), pair by pair.
    var auxiliary: [UInt64] {
        auxiliaryBytes.withUnsafeBytes { buffer in
            (0..<buffer.count / 8).map { buffer.loadUnaligned(fromByteOffset: $0 * 8, as: UInt64.self) }
        }
    }

    /// stat(2) of the file behind a mapping.
    func status(of area: LiveArea) -> Glibc.stat? {
        var found = Glibc.stat()
        return fstatat(AT_FDCWD, "/proc/\(host)/map_files/\(area.range)", &found, 0) == 0 ? found : nil
    }
}

/// What was seen of processes before their mappings could be looked at.
public struct FirstLooks {
    private var seen: [Int32: LiveProcess] = [:]

    public init() {}

    /// Looks at one, by the host's pid, which stands still; what fails is tried again.
    public mutating func look(at process: Int32) { seen[process] = try? LiveProcess(process) }

    func process(_ host: Int32, as instant: TwinInstant?) throws(FollowUpRefusal) -> LiveProcess {
        if let known = seen[host] { return known }
        return try LiveProcess(host, as: instant)
    }
}

/// A descriptor of a process that stands still.
struct LiveDescriptor {
    private(set) var number: Int32
    /// What /proc/PID/fd calls it: a path, `pipe:[19808]`, `socket:[19771]` ….
    private(set) var target: String
    private(set) var look: clinux_descriptor
    /// /proc/PID/fdinfo/N.
    private let info: ProcText
    /// The number by which the process itself has it.
    let source: Int32
    /// Of a twin's, how it was.
    private var noted: cnote_file?
    private var isClosedOnExec = false

    private init(number: Int32, target: String, look: clinux_descriptor, info: ProcText) {
        (self.number, self.target, self.look, self.info, source) = (number, target, look, info, number)
    }

    /// All of them, in order.
    static func all(of process: Int32) throws(FollowUpRefusal) -> [LiveDescriptor] {
        let pidfd = clinux_pidfd_open(process)
        guard pidfd >= 0, let names = try? Files.names(in: "/proc/\(process)/fd") else {
            if pidfd >= 0 { close(pidfd) }
            throw FollowUpRefusal("the descriptors of process \(process) of the host cannot be looked at")
        }
        defer { close(pidfd) }
        var all: [LiveDescriptor] = []
        for number in names.compactMap({ Int32($0) }).sorted() {
            var look = clinux_descriptor()
            guard let target = linkTarget("/proc/\(process)/fd/\(number)"),
                let info = ProcText("/proc/\(process)/fdinfo/\(number)"),
                clinux_look_at_descriptor(pidfd, number, &look) == 0
            else {
                throw FollowUpRefusal("fd \(number) of process \(process) of the host cannot be looked at")
            }
            all.append(LiveDescriptor(number: number, target: target, look: look, info: info))
        }
        return all
    }

    /// Those of a twin as its original had them. PID 1's connection to the server is /dev/null's, out of which PID 1 reads the
    /// end of it, as after a rollback.
    fileprivate static func all(
        _ live: [LiveDescriptor], as instant: TwinInstant
    ) throws(FollowUpRefusal) -> [LiveDescriptor] {
        var all: [LiveDescriptor] = []
        for var one in live {
            guard let (file, path) = instant.files[one.number], file.is_line == 0 else {
                throw FollowUpRefusal("a twin has other descriptors than its original")
            }
            if !path.isEmpty { one.target = path }
            one.noted = file
            (one.look.mode, one.look.links, one.look.size) = (file.mode, file.links, file.size)
            (one.look.changed, one.look.changed_nanoseconds) = (file.changed, file.changed_nanoseconds)
            one.look.waiting = 0
            all.append(one)
        }
        for (number, (file, _)) in instant.files where file.is_line != 0 {
            guard var one = all.first(where: { $0.number == 0 && $0.target == "/dev/null" }) else {
                throw FollowUpRefusal("PID 1 has another stdin")
            }
            (one.number, one.isClosedOnExec) = (number, true)
            all.append(one)
        }
        guard all.count == instant.files.count else {
            throw FollowUpRefusal("a twin has other descriptors than its original")
        }
        return all.sorted { $0.number < $1.number }
    }

    /// O_* of open(2), O_CLOEXEC among them (proc_pid_fdinfo(5)).
    var flags: UInt32? {
        guard var flags = info.numbers("flags:", radix: 8).first.map({ UInt32(truncatingIfNeeded: $0) })
        else {
            return nil
        }
        if let noted, isFile || pipe != nil, look.mode & S_IFMT != S_IFCHR {
            flags = noted.flags & ~UInt32(O_CLOEXEC) | flags & UInt32(O_CLOEXEC)
        }
        return isClosedOnExec ? flags | UInt32(O_CLOEXEC) : flags
    }
    var position: UInt64? {
        if let noted, isFile, look.mode & S_IFMT != S_IFCHR { return UInt64(noted.offset) }
        return info.numbers("pos:").first
    }
    /// The mount that it was opened through.
    var mount: UInt64? { info.numbers("mnt_id:").first }
    var hasLock: Bool { noted == nil && info.line("lock:") != nil }

    /// The inode of `pipe:[19808]`.
    var pipe: UInt64? {
        guard target.hasPrefix("pipe:["), target.hasSuffix("]") else { return nil }
        return UInt64(target.dropFirst(6).dropLast())
    }
    /// When its file was changed last (st_ctim of stat(2)).
    var changed: ClockTime {
        ClockTime(seconds: Int64(look.changed), nanoseconds: Int64(look.changed_nanoseconds))
    }
    var isFile: Bool { target.hasPrefix("/") }
    var isSocket: Bool { target.hasPrefix("socket:[") }
}

/// The mounts that a process sees.
struct LiveMounts {
    private let text: ProcText

    init(of process: Int32) throws(FollowUpRefusal) {
        guard let text = ProcText("/proc/\(process)/mountinfo") else {
            throw FollowUpRefusal("the mounts of process \(process) of the host cannot be looked at")
        }
        self.text = text
    }

    /// Where each is mounted, by the kernel's number.
    func points() throws(FollowUpRefusal) -> [UInt64: String] {
        var points: [UInt64: String] = [:]
        for line in text.bytes.split(separator: newline) {
            let words = line.split(separator: 32, maxSplits: 5)
            guard words.count > 4, let number = number(words[0]) else {
                throw FollowUpRefusal("a mount is not understood")
            }
            points[number] = String(decoding: words[4], as: UTF8.self)
        }
        return points
    }
}
