import CLinux
import Glibc
import LinuxSystem

@testable import Criu
@testable import CriuImages

struct TestFailure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// Runs a shell command and returns what it prints; throws with its output when it fails.
@discardableResult
func shell(_ command: String) throws -> String {
    guard let pipe = popen("exec 2>&1; \(command)", "r") else { throw TestFailure("popen failed") }
    var output = ""
    var buffer = [CChar](repeating: 0, count: 4096)
    while fgets(&buffer, Int32(buffer.count), pipe) != nil {
        output += buffer.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
    }
    let status = pclose(pipe)
    guard status == 0 else { throw TestFailure("\(command): status \(status): \(output)") }
    return output
}

/// Asks `condition` again and again until it holds; throws after a time that only a hang takes.
func eventually(_ what: String, _ condition: () throws -> Bool) throws {
    let end = monotonicNanoseconds() + 90_000_000_000
    while try !condition() {
        guard monotonicNanoseconds() < end else { throw TestFailure("never happened: \(what)") }
        usleep(5000)
    }
}

func text(of path: String) -> String? {
    guard let file = try? Descriptor.open(path, O_RDONLY), let bytes = try? file.readAll() else { return nil }
    return String(decoding: bytes, as: UTF8.self)
}

/// Runs `body` with this thread in a mount namespace of its own, with a tmpfs on /run and CRIU's kernel probe done.
///
/// All mounts made meanwhile are gone afterwards. The thread is the test's own, so that expectations find their test.
func inPrivateMounts(_ body: (CriuBinary) throws -> Void) throws {
    let before = try Descriptor.open("/proc/thread-self/ns/mnt", O_RDONLY)
    try retrying("unshare") { unshare(CLONE_NEWNS) }
    defer {
        precondition(setns(before.raw, CLONE_NEWNS) == 0, "the test's thread cannot leave its namespace")
    }
    try shell("mount --make-rprivate / && mount -t tmpfs tmpfs /run")
    let binary = try CriuBinary(checking: pinnedBinary)
    guard try binary.prime() else { throw TestFailure("CRIU keeps no kernel probe on a tmpfs at /run") }
    try body(binary)
}

let sourceDirectory = String(#filePath.prefix(upTo: #filePath.lastIndex(of: "/")!))
let repository = sourceDirectory + "/../.."
let pinnedBinary = repository + "/.build/libexec/ckpt/criu"

/// The programs of `Tests/CriuTests/Programs`, compiled once a run.
let programs: Result<String, any Error> = Result {
    let directory = try shell("mktemp -d /tmp/ckpt-criu-programs.XXXXXX").dropLast()
    atexit_remove(String(directory))
    for name in ["sandbox", "init", "hold", "sockets", "clocks", "terminal"] {
        try shell(
            "gcc -O1 -static -Wall -Werror -o \(directory)/\(name) \(sourceDirectory)/Programs/\(name).c")
    }
    // With a mode for each refusal; the end-to-end tests run it, too.
    try shell(
        "gcc -O1 -static -pthread -Wall -Werror -o \(directory)/refusals "
            + "\(repository)/Tests/EndToEndTests/Programs/refusals.c -lrt")
    return String(directory)
}

private func atexit_remove(_ directory: String) {
    removed = directory
    atexit { _ = try? shell("rm -rf '\(removed)'") }
}
nonisolated(unsafe) private var removed = ""

/// A sandbox of the tests and the chain of layers and images it leaves, all in one directory.
/// Sendable, as each is used by one thread at a time: the tests hand one over and wait for its thread.
final class TestSandbox: @unchecked Sendable {
    let directory: String
    let binary: CriuBinary
    /// The root's pid on the host; nil when nothing runs.
    private(set) var pid: Int32?
    private var generation = 0
    /// The lower layers that what runs now stands on, and those that each dump is to be restored onto.
    private var layers: [String]
    private var saved: [[String]] = []

    /// Starts `command` (programs of Programs/ lie in /) in a fresh sandbox, in a directory below `parent`.
    init(_ binary: CriuBinary, _ command: String, sysfs: Bool = false, below parent: String = "/tmp") throws {
        self.binary = binary
        let programs = try programs.get()
        directory = String(try shell("mktemp -d \(parent)/ckpt-criu-test.XXXXXX").dropLast())
        // What is below /usr serves as the lower layer: an overlay's upper may not lie inside its lower.
        layers = ["\(directory)/skeleton", "/usr"]
        try shell(
            """
            cd \(directory) && mkdir -p images layers skeleton/dev/pts skeleton/proc skeleton/sys skeleton/run skeleton/tmp
            cd skeleton && cp \(programs)/* .
            mknod -m 666 dev/null c 1 3 && mknod -m 666 dev/tty c 5 0 && ln -s pts/ptmx dev/ptmx && ln -s . usr
            """)
        try mount()
        let kind = sysfs ? "sysfs" : "plain"
        pid = Int32(try shell("\(programs)/sandbox \(root) \(kind) /init \(command)").dropLast())
    }

    /// A sandbox in which nothing runs yet, to restore an image of another one in.
    init(copying other: TestSandbox, _ image: Int) throws {
        binary = other.binary
        directory = String(try shell("mktemp -d /tmp/ckpt-criu-test.XXXXXX").dropLast())
        layers = other.saved[image]
        saved = Array(repeating: layers, count: image + 1)
        try shell("ln -s \(other.directory)/images \(directory)/images")
    }

    deinit {
        kill()
        for generation in 0...generation { try? Mount.detach("\(directory)/\(generation)/merged") }
        _ = try? shell("rm -rf '\(directory)'")
    }

    /// The mount point of the root filesystem as it is now.
    var root: String { "\(directory)/\(generation)/merged" }

    private var upper: String { "\(directory)/\(generation)/upper" }

    /// The content of a file in the sandbox.
    func file(_ path: String) -> String? { text(of: root + path) }

    /// The pid on the host of the process that is `inner` in the sandbox.
    func hostPID(_ inner: Int) throws -> Int32 {
        for candidate in try shell("pgrep --ns \(pid!) --nslist pid .").split(separator: "\n") {
            let status = (text(of: "/proc/\(candidate)/status") ?? "").split(separator: "\n")
            if status.contains(where: { $0.hasPrefix("NSpid:") && $0.hasSuffix("\t\(inner)") }) {
                return Int32(candidate)!
            }
        }
        throw TestFailure("no process \(inner) in the sandbox")
    }

    func images(_ number: Int) -> String { "\(directory)/images/\(number)" }

    /// Dumps into a new image directory and makes the image ready for a restore; returns its number.
    @discardableResult
    func dump(
        leaveRunning: Bool = true, deadline: UInt64? = nil, grace: UInt64? = nil,
        notify: (CriuNotification) throws -> Void = { _ in }
    ) throws -> Int {
        let number = saved.count
        let layer = "\(self.directory)/layers/\(number)"
        saved.append([layer] + layers)
        try shell("mkdir \(images(number)) && rm -rf \(layer)")
        let network = try Descriptor.open("/proc/\(pid!)/ns/net", O_RDONLY)
        let worker = try CriuWorker.spawn(binary, in: CriuSurroundings(network: network.raw))
        let directory = try Descriptor.open(images(number), O_RDONLY | O_DIRECTORY)
        var request = DumpRequest(pid: pid!, leaveRunning: leaveRunning, deadline: deadline)
        if let grace { request.grace = grace }
        try worker.dump(request, into: directory) { moment in
            // Files and memory of one instant: CRIU refuses a file of another size than it had.
            if moment.moment == .postDump { try shell("cp -a \(upper) \(layer)") }
            try notify(moment)
        }
        if !leaveRunning {
            reap(pid!)
            pid = nil
        }
        try ImageDirectory(images(number)).giveTreeItsOwnNetwork()
        return number
    }

    /// Ends whatever runs, puts a new upper layer on top of the old ones and restores the image onto it.
    func restore(
        _ number: Int, in surroundings: CriuSurroundings = CriuSurroundings(ownCgroupNamespace: true),
        deadline: UInt64? = nil, notify: (CriuNotification) throws -> Void = { _ in }
    ) throws {
        kill()
        layers = saved[number]
        generation += 1
        try mount()
        let worker = try CriuWorker.spawn(binary, in: surroundings)
        let from = try Descriptor.open(images(number), O_RDONLY | O_DIRECTORY)
        let work = try Descriptor.open("\(directory)/\(generation)", O_RDONLY | O_DIRECTORY)
        pid = try worker.restore(RestoreRequest(root: root, deadline: deadline), from: from, work: work) {
            moment in
            if moment.moment == .setupNamespaces { try prepareNetwork(of: moment.pid!) }
            try notify(moment)
        }
    }

    func kill() {
        guard let pid else { return }
        Glibc.kill(pid, SIGKILL)
        reap(pid)
        self.pid = nil
    }

    private func mount() throws {
        try shell("cd \(directory) && mkdir -p \(generation)/upper \(generation)/work \(generation)/merged")
        try Mount.attach(
            try Mount.overlay(lowers: layers, upper: (upper, "\(directory)/\(generation)/work")), at: root)
    }

    private func prepareNetwork(of pid: Int32) throws {
        let theirs = try Descriptor.open("/proc/\(pid)/ns/net", O_RDONLY)
        let ours = try Descriptor.open("/proc/thread-self/ns/net", O_RDONLY)
        var failure = clinux_spawn_failure()
        var network = clinux_network()
        network.port_count = -1
        guard clinux_prepare_network(theirs.raw, ours.raw, &network, &failure) == 0 else {
            throw TestFailure("\(String(cString: failure.step)): errno \(failure.code)")
        }
    }
}
