import Client
import CommandInterface
import Glibc
import LinuxSystem
import Messages

extension Command {
    static let core = Command(
        CommandDescription(
            "core", "write an ELF core file of a process of a snapshot, for gdb",
            discussion: [
                "It has every thread's registers and all memory, as if the kernel had dumped the process at that "
                    + "instant. PID is the one inside the sandbox, which ckpt inspect shows; a snapshot that a "
                    + "crash made knows its own.",
                "gdb finds symbols in the programs and libraries themselves. With --files those that the process "
                    + "has mapped are copied out of the snapshot, and the gdb command that uses them is said on "
                    + "stderr.",
            ],
            operands: [OperandDescription("SNAPSHOT", .snapshot)],
            options: [
                OptionDescription(
                    "pid", short: "p", value: "PID", .number(1...Int(Int32.max)), "The process"),
                OptionDescription(
                    "output", short: "o", value: "FILE", .path,
                    "Where to; core.PID when missing, - for stdout"),
                OptionDescription(
                    "files", value: "DIR", .directory, "Copy the mapped programs and libraries below DIR"),
            ],
            examples: [
                Example("ckpt core ready --pid 14 -o core.14", "A core file of process 14"),
                Example(
                    "ckpt core ready --pid 14 --files lib -o core.14 && gdb -x lib/symbols.gdb lib/root/app core.14",
                    "Debug a program that this machine does not have"),
                Example("ckpt core crash-main-14 -o core", "The process that crashed"),
            ],
            triedAs: ["coredump", "gcore"])
    ) { call in
        try CoreCommand(call: call, client: call.client()).run()
        return 0
    }
}

/// What `ckpt core --json` prints.
private struct CoreOutcome: Encodable {
    let snapshot: String
    let pid: Int
    let file: String
    let program: String?
    let files: [String]
}

private struct CoreCommand {
    let call: Invocation
    let client: Client

    func run() throws {
        let reference = call.words.operand("SNAPSHOT")
        let snapshot = try client.snapshot(reference)
        guard let pid = call.words.number("pid") ?? snapshot.crash?.pid else {
            throw UsageError(
                "core needs --pid: ckpt inspect \(reference) shows the processes", command: "core")
        }
        let target = call.words.value("output") ?? "core.\(pid)"
        try call.waiting("writing \(target)", interrupted: .givenUp) {
            try write(snapshot.id, pid: pid, to: target)
        }
        var outcome = CoreOutcome(
            snapshot: snapshot.id, pid: pid, file: target, program: try program(snapshot.id, pid), files: [])
        if let directory = call.words.value("files") {
            let copied = try call.waiting("copying programs and libraries", interrupted: .partly) {
                try copyFiles(snapshot.id, pid: pid, below: directory)
            }
            outcome = CoreOutcome(
                snapshot: snapshot.id, pid: pid, file: target, program: outcome.program, files: copied)
            let commands = try writeSymbolCommands(copied, below: directory, snapshot.id, pid)
            call.console.note("gdb -x \(commands) \(directory)\(outcome.program ?? "") \(target)")
        }
        if target != "-" { try call.console.print(outcome, lines: [target]) }
    }

    private func write(_ snapshot: String, pid: Int, to target: String) throws {
        if target == "-" {
            try client.core(snapshot, pid: pid, to: Descriptor(owning: dup(1)))
            return
        }
        // A device or a FIFO is written to: a rename would put a file in its place, /dev/null's too.
        if let status = try? FileStatus(target), !status.isRegular {
            try client.core(snapshot, pid: pid, to: Descriptor.open(target, O_WRONLY))
            return
        }
        // What is not whole does not stay.
        _ = try WholeFile.write(target) { (file) throws in
            try client.core(snapshot, pid: pid, to: file)
            try file.punchZeros()
        }
    }

    private func program(_ snapshot: String, _ pid: Int) throws -> String? {
        let process = try client.inspect(snapshot, InspectRequest(pid: pid, files: true)).processes.first
        return process?.executable
    }

    /// The files that the process has mapped, below `directory` by their paths in the sandbox.
    private func copyFiles(_ snapshot: String, pid: Int, below directory: String) throws -> [String] {
        let names = Set(try client.memory(snapshot, pid: pid).regions.compactMap(\.name))
        var copied: [String] = []
        for name in names.sorted() where name.hasPrefix("/") && !name.hasSuffix(" (deleted)") {
            let target = directory + name
            try makeDirectories(for: target)
            if try copy(name, of: snapshot, to: target) {
                copied.append(name)
            } else {
                // A device, or a file of a volume.
                unlink(target)
            }
        }
        return copied
    }

    /// False where the snapshot has no such file.
    private func copy(_ name: String, of snapshot: String, to target: String) throws -> Bool {
        let file = try Descriptor.open(target, O_WRONLY | O_CREAT | O_TRUNC, mode: 0o700)
        var failure: ErrorMessage?
        do throws(ErrorMessage) {
            try client.readSnapshotFile(snapshot, path: name, to: file)
        } catch { failure = error }
        if let failure, failure.code != .notFound { throw failure }
        return failure == nil
    }

    /// Tells gdb where each library was: it would look for them by names that are links in the sandbox.
    private func writeSymbolCommands(
        _ copied: [String], below directory: String, _ snapshot: String, _ pid: Int
    ) throws -> String {
        let (regions, main) = (try client.memory(snapshot, pid: pid).regions, try program(snapshot, pid))
        var text = ""
        for name in copied where name != main {
            guard let first = regions.first(where: { $0.name == name && ($0.offset ?? 0) == 0 }),
                try Descriptor.open(directory + name, O_RDONLY).read(upTo: 4) == [0x7f, 0x45, 0x4c, 0x46]
            else { continue }
            text += "add-symbol-file \"\(directory)\(name)\" -o \(first.start)\n"
        }
        let path = "\(directory)/symbols.gdb"
        try Files.write(path, Array(text.utf8))
        return path
    }

    private func makeDirectories(for path: String) throws(SystemError) {
        var directory = path.hasPrefix("/") ? "" : "."
        for part in path.split(separator: "/").dropLast() {
            directory += "/\(part)"
            try Files.makeDirectory(directory)
        }
    }
}

extension Descriptor {
    /// Gives the space of the file's zeros back (fallocate(2), FALLOC_FL_PUNCH_HOLE), where the filesystem can.
    fileprivate borrowing func punchZeros() throws(SystemError) {
        let block = 64 << 10
        let keepAndPunch: Int32 = 0x01 | 0x02
        var buffer = [UInt8](repeating: 0, count: block)
        let zeros = buffer
        var offset: off_t = 0
        let number = raw
        while true {
            let count = try retrying("pread") { pread(number, &buffer, block, offset) }
            if count <= 0 { return }
            if count == block, buffer == zeros { _ = fallocate(number, keepAndPunch, offset, off_t(block)) }
            offset += off_t(count)
        }
    }
}
