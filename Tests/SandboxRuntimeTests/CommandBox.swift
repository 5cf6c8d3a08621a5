import CLinux
import Criu
import CriuImages
import Glibc
import LinuxSystem
import Messages
import Testing

@testable import SandboxRuntime

/// Everything that drives a real PID 1, one test at a time.
@Suite(.serialized) struct CommandSuite {}

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
    let end = soon()
    while try !condition() {
        guard monotonicNanoseconds() < end else { throw TestFailure("never happened: \(what)") }
        usleep(2000)
    }
}

/// A deadline that only a hang reaches.
func soon() -> UInt64 { monotonicNanoseconds() + 20_000_000_000 }

let repository = String(#filePath.prefix(upTo: #filePath.range(of: "/Tests/")!.lowerBound))

extension String {
    fileprivate func range(of part: String) -> Range<String.Index>? {
        var at = startIndex
        while at < endIndex {
            if self[at...].hasPrefix(part) { return at..<index(at, offsetBy: part.count) }
            at = index(after: at)
        }
        return nil
    }
}

/// ckpt-init as it is in the tree now, built once a run.
let builtInit: Result<String, any Error> = Result {
    let path = "\(repository)/.build/test-init"
    try shell("\(repository)/scripts/build-init \(path)")
    return path
}

/// Runs `body` with a sandbox whose root is the host's /usr, in a mount namespace of this thread's own: all
/// mounts are gone afterwards.
func inSandbox(
    grace: UInt64 = 60_000, spec: SandboxSpec = SandboxSpec(), _ body: (CommandBox) throws -> Void
) throws {
    let before = try Descriptor.open("/proc/thread-self/ns/mnt", O_RDONLY)
    try retrying("unshare") { unshare(CLONE_NEWNS) }
    defer {
        // A thread of ours that is about to end shares this one's root and directory until then (setns(2), EINVAL).
        let end = soon()
        while setns(before.raw, CLONE_NEWNS) != 0 {
            precondition(errno == EINVAL && monotonicNanoseconds() < end, "the test's thread cannot go back")
            usleep(1000)
        }
    }
    try shell("mount --make-rprivate / && mount -t tmpfs tmpfs /run")
    let box = try CommandBox(grace: grace, walls: SandboxWalls(spec))
    defer { box.end() }
    try body(box)
}

/// A sandbox that consists of PID 1 and what a test starts in it.
final class CommandBox {
    let directory: String
    let logged = Monitor<[String: String]>([:])
    private(set) var channel: CommandChannel
    private(set) var process: SandboxProcess
    private var root: RootFilesystem
    private let view: BaseView
    private let grace: UInt64
    private var number = 0
    private var layers: [String] = []

    fileprivate init(grace: UInt64, walls: SandboxWalls) throws {
        let directory = String(try shell("mktemp -d /tmp/ckpt-command-test.XXXXXX").dropLast())
        self.directory = directory
        self.grace = grace
        let program = try InitProgram(
            executable: "/none", stateRoot: "\(directory)/store", override: try builtInit.get())
        // On the host's own filesystem, not a tmpfs: an overlay's layers are what a sandbox has there too.
        try shell("mkdir \(directory)/workspace \(directory)/images")
        let views = try BaseViews(
            workspace: "\(directory)/workspace", stateRoot: "\(directory)/store", initProgram: program)
        view = try views.view(of: .directory("/usr"), initID: program.currentID)
        root = RootFilesystem(
            sandboxDirectory: directory, workspace: "\(directory)/workspace", sandbox: "box", number: 0,
            view: view)
        let upper = "\(root.upper)/root"
        try shell("mkdir -p \(upper)/etc && ln -s . \(upper)/usr && chmod 755 \(upper)")
        try shell(
            "printf 'root:x:0:0::/root:/bin/bash\\nsandy:x:1234:1235::/home/sandy:/bin/sh\\n' > \(upper)/etc/passwd"
        )
        try shell("printf 'root:x:0:\\nsandy:x:1235:\\nplug:x:46:games,sandy\\n' > \(upper)/etc/group")
        process = try SandboxProcess.start(
            root: root, staging: views.staging, hostname: "box", walls: walls, spec: SandboxSpec())
        channel = CommandChannel(grace: grace)
        channel = newChannel()
        try channel.connect(pid: process.pid, deadline: soon())
    }

    func newChannel() -> CommandChannel {
        CommandChannel(grace: grace) { [logged] id, stream, bytes in
            logged.with { $0["\(id) \(stream)", default: ""] += String(decoding: bytes, as: UTF8.self) }
        }
    }

    /// As after the server's crash: another channel, which knows nothing.
    func restartServer() throws {
        channel.wire.abort(.disconnected)
        channel = newChannel()
        try channel.connect(pid: process.pid, deadline: soon())
    }

    fileprivate func end() {
        process.kill()
        _ = process.ended(within: 20_000)
        root.release()
        // What a mount in this namespace still holds goes with the namespace.
        _ = try? shell(
            "cd / && for m in $(grep -o ' \(directory)[^ ]*' /proc/self/mounts | tac); do umount -l $m; done; rm -rf '\(directory)'"
        )
    }

    func path(_ inside: String) -> String { "/proc/\(process.pid)/root\(inside)" }

    func file(_ inside: String) -> String? {
        (try? Files.read("/proc/\(process.pid)/root\(inside)")).map { String(decoding: $0, as: UTF8.self) }
    }

    // MARK: CRIU

    /// Saves the tree; the channel must be quiet. Returns the number for `restore`.
    func dump() throws -> Int {
        let image = "\(directory)/images/\(number)"
        let layer = "\(directory)/layer-\(number)"
        try shell("mkdir -p \(image) \(layer)")
        let binary = try Self.criu()
        let network = try process.networkNamespace()
        let worker = try CriuWorker.spawn(binary, in: CriuSurroundings(network: network.raw))
        let images = try Descriptor.open(image, O_RDONLY | O_DIRECTORY)
        try worker.dump(DumpRequest(pid: process.pid, leaveRunning: true, deadline: soon()), into: images) {
            if $0.moment == .postDump { try shell("cp -a \(root.upper)/. \(layer)") }
        }
        try ImageDirectory(image).giveTreeItsOwnNetwork()
        layers.insert(layer, at: 0)
        return number
    }

    /// Ends what runs and puts what `dump` saved in its place; the channel is left as it is.
    func restore(_ image: Int) throws {
        process.kill()
        _ = process.ended(within: 20_000)
        root.release()
        number += 1
        root = RootFilesystem(
            sandboxDirectory: directory, workspace: "\(directory)/workspace", sandbox: "box", number: number,
            view: view)
        try root.mount(over: layers)
        let worker = try CriuWorker.spawn(Self.criu(), in: CriuSurroundings(ownCgroupNamespace: true))
        let images = try Descriptor.open("\(directory)/images/\(image)", O_RDONLY | O_DIRECTORY)
        let work = try Descriptor.open(directory, O_RDONLY | O_DIRECTORY)
        let pid = try worker.restore(
            RestoreRequest(root: root.mountPoint, deadline: soon()), from: images, work: work
        ) {
            if $0.moment == .setupNamespaces { try SandboxNetwork.prepare(pid: $0.pid!, for: SandboxSpec()) }
        }
        process = try SandboxProcess(pid: pid)
    }

    private static func criu() throws -> CriuBinary {
        let binary = try CriuBinary(checking: "\(repository)/.build/libexec/ckpt/criu")
        _ = try binary.prime()
        return binary
    }

    // MARK: Commands

    func spec(_ id: String, _ arguments: String...) -> CommandSpec {
        CommandSpec(id: id, arguments: arguments)
    }

    /// A script for /bin/sh.
    func script(_ id: String, _ text: String) -> CommandSpec { spec(id, "/bin/sh", "-c", text) }

    func call(_ id: String, _ session: String, _ text: String, milliseconds: UInt64? = nil) -> CommandSpec {
        var spec = spec(id, text)
        spec.session = session
        spec.timeoutMilliseconds = milliseconds
        return spec
    }

    func start(_ spec: CommandSpec) throws -> RunningCommand { try channel.start(spec, deadline: soon()) }

    /// Runs a command to its end and forgets it.
    @discardableResult
    func run(_ spec: CommandSpec) throws -> Finished {
        let command = try start(spec)
        let finished = try command.finish()
        command.forget()
        return finished
    }
}

/// What a command printed and how it ended.
struct Finished {
    var stdout = ""
    var stderr = ""
    var result: ExecResult
    var code: Int32 { result.exitCode }
}

extension AttachedCommand {
    /// Reads it to its end, acknowledging everything.
    func finish() throws -> Finished {
        var out: [UInt8] = []
        var error: [UInt8] = []
        while true {
            switch next(deadline: soon()) {
            case .output(let stream, let offset, let bytes):
                if stream == .stdout { out += bytes } else { error += bytes }
                acknowledge(stream, upTo: offset + UInt64(bytes.count))
            case .stdinTaken: break
            case .exited(let result):
                return Finished(
                    stdout: String(decoding: out, as: UTF8.self),
                    stderr: String(decoding: error, as: UTF8.self),
                    result: result)
            case .failed(let error): throw error
            case nil: throw TestFailure("\(id) neither ends nor says anything")
            }
        }
    }

    /// Reads until stdout holds `text`; returns stdout so far.
    func read(until text: String) throws -> String {
        var out = ""
        while !out.contains(text) {
            switch next(deadline: soon()) {
            case .output(let stream, let offset, let bytes):
                if stream == .stdout { out += String(decoding: bytes, as: UTF8.self) }
                acknowledge(stream, upTo: offset + UInt64(bytes.count))
            case .stdinTaken: break
            default: throw TestFailure("\(id) ended without printing \(text): \(out)")
            }
        }
        return out
    }
}
