import CCriuImages
import CLinux
import Glibc
public import LinuxSystem

/// Where a worker stands when it starts: it dumps and restores from there.
public struct CriuSurroundings: Sendable {
    /// An open network namespace to enter; nil stays in this process's.
    public var network: Int32?
    /// Open `cgroup.procs` files of the cgroups to join, one a hierarchy.
    public var cgroups: [Int32]
    /// Whether it gets a cgroup namespace rooted at those cgroups, which what it restores inherits.
    public var ownCgroupNamespace: Bool
    /// As many files, of the cgroups that it goes back to when it has its namespace: what it uses itself is then
    /// not charged to the others, nor bounded by them. Empty stays.
    public var homes: [Int32]
    /// The rights that files it makes do not give; CRIU makes images with 0644, and they hold secrets. What it restores
    /// gets masks of its own.
    public var umask: UInt32

    /// All descriptors stay the caller's and must be open until the worker is spawned.
    public init(
        network: Int32? = nil, cgroups: [Int32] = [], homes: [Int32] = [], ownCgroupNamespace: Bool = false,
        umask: UInt32 = 0o022
    ) {
        precondition(homes.isEmpty || homes.count == cgroups.count, "a way back from every cgroup, or none")
        self.network = network
        self.cgroups = cgroups
        self.homes = homes
        self.ownCgroupNamespace = ownCgroupNamespace
        self.umask = umask
    }
}

/// A running `criu swrk` that waits for its one request (criu/cr-service.c, `cr_service_work`).
///
/// It can be spawned well before it is needed. Dropped without a request, it goes away by itself.
public struct CriuWorker: ~Copyable, Sendable {
    /// Our end of the socket pair; one packet a message.
    let socket: Int32
    /// The worker, leader of a session and a process group of its own; our child.
    let process: pid_t

    /// Starts a worker. Throws `CriuError` with `.workerFailed`.
    public static func spawn(
        _ binary: CriuBinary, in surroundings: CriuSurroundings = CriuSurroundings()
    ) throws(CriuError) -> CriuWorker {
        var ends: [Int32] = [-1, -1]
        do {
            try retrying("socketpair") {
                socketpair(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue | SOCK_CLOEXEC.rawValue), 0, &ends)
            }
        } catch {
            throw CriuError(.workerFailed, "no socket for a CRIU worker", cause: error)
        }
        defer { close(ends[1]) }
        // No configuration file may change what we ask for.
        let arguments = ["criu", "--no-default-config", "swrk", "3"]
        let environment = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"]
        var failure = clinux_spawn_failure()
        let pid = withCStringArray(arguments) { argv in
            withCStringArray(environment) { envp in
                binary.path.withCString { path in
                    withUnsafePointer(to: ends[1]) { kept in
                        surroundings.cgroups.withUnsafeBufferPointer { cgroups in
                            surroundings.homes.withUnsafeBufferPointer { homes in
                                var worker = clinux_worker(
                                    path: path, argv: argv, envp: envp, kept: kept, kept_count: 1,
                                    netns_fd: surroundings.network ?? -1, cgroup_procs: cgroups.baseAddress,
                                    cgroup_count: Int32(cgroups.count),
                                    new_cgroup_namespace: surroundings.ownCgroupNamespace ? 1 : 0,
                                    home_procs: homes.isEmpty ? nil : homes.baseAddress,
                                    umask: surroundings.umask)
                                return clinux_spawn_worker(&worker, &failure)
                            }
                        }
                    }
                }
            }
        }
        guard pid > 0 else {
            close(ends[0])
            let cause = SystemError(
                call: String(cString: failure.step), code: failure.code, subject: binary.path)
            throw CriuError(.workerFailed, "a CRIU worker could not be started", cause: cause)
        }
        return CriuWorker(socket: ends[0], process: pid)
    }

    init(socket: Int32, process: pid_t) {
        self.socket = socket
        self.process = process
    }

    deinit {
        close(socket)
        reap(process)
    }

    /// Gives up ownership without waiting for the worker: what follows must close the socket and reap it.
    consuming func release() -> (socket: Int32, process: pid_t) {
        let parts = (socket, process)
        discard self
        return parts
    }

    /// Has a worker that waits for its request move into namespaces of process `pid`: the network's, and with `names`
    /// those of hostname, System V's objects and clocks, none of which it then dumps. Throws where it does not wait yet.
    public func enterNamespaces(of pid: Int32, names: Bool) throws(SystemError) {
        var code: Int32 = 0
        guard let borrowed = clinux_borrow(process, &code) else {
            throw SystemError(call: "ptrace", code: code, subject: "CRIU")
        }
        defer { clinux_give_back(borrowed) }
        func call(_ number: Call, _ first: Int, _ second: Int) throws(SystemError) -> Int {
            let arguments = [UInt(first), UInt(second), 0, 0, 0, 0]
            let result = clinux_borrowed_call(borrowed, number.rawValue, arguments)
            if result < 0 { throw SystemError(call: "\(number)", code: Int32(-result), subject: "CRIU") }
            return result
        }
        let opened = try call(.pidfd_open, Int(pid), 0)
        defer { _ = try? call(.close, opened, 0) }
        let kinds = names ? CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC | Self.newTime : CLONE_NEWNET
        _ = try call(.setns, opened, Int(kinds))
    }

    /// CLONE_NEWTIME of <linux/sched.h>.
    private static let newTime: Int32 = 0x80

    /// Numbers of system calls (arch/x86/entry/syscalls/syscall_64.tbl).
    private enum Call: Int {
        case close = 3
        case setns = 308
        case pidfd_open = 434
    }

    /// Tells the worker to end, and has another thread wait for that: giving its memory back takes it half a millisecond.
    public consuming func leave() {
        let (socket, process) = release()
        close(socket)
        let isFirst = Self.left.with { processes in
            processes.append(process)
            return processes.count == 1
        }
        if isFirst { startThread { while Self.reapNext() {} } }
    }

    /// Those that were left, of which the first is being reaped.
    private static let left = Monitor<[pid_t]>([])

    /// Waits for the end of one; whether there are more.
    private static func reapNext() -> Bool {
        reap(left.with { $0[0] })
        return left.with { processes in
            processes.removeFirst()
            return !processes.isEmpty
        }
    }

    /// The version this CRIU says it has. Throws `CriuError` with `.workerFailed`.
    public consuming func version() throws(CriuError) -> CriuVersion {
        let conversation = CriuConversation(socket: socket, worker: process)
        let answer = try conversation.ask(RequestMessage.plain(CRIU_REQ_TYPE__VERSION))
        guard let version = answer.version else {
            throw CriuError(.workerFailed, "CRIU does not say its version")
        }
        return version
    }
}

/// Waits for a child that has ended or is about to.
func reap(_ process: pid_t) {
    while waitpid(process, nil, 0) < 0 && errno == EINTR {}
}

/// Calls `body` with a null-terminated array of C strings.
private func withCStringArray<Result>(
    _ texts: [String], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> Result
) -> Result {
    let copies = texts.map { strdup($0) } + [nil]
    defer { copies.forEach { free($0) } }
    return copies.withUnsafeBufferPointer { body($0.baseAddress!) }
}
