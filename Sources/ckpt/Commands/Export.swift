import Client
import CommandInterface
import FoundationEssentials
import Glibc
import LinuxSystem
import Messages

extension Command {
    static let export = Command(
        CommandDescription(
            "export", "write a snapshot and all it needs into one archive",
            discussion: [
                "The archive is a tar stream in zstd and holds the manifest, the layers, the process image and the "
                    + "ckpt-init of that snapshot; not its base. It goes to stdout, or with -o to a file of mode "
                    + "0600, which is there whole or not at all. It holds the memory of every process, secrets "
                    + "included.",
                "What the receiver has need not travel. ckpt objects tells there what it has, and --have takes that "
                    + "list; --without takes ids of layers and snapshots.",
            ],
            operands: [OperandDescription("SNAPSHOT", .snapshot)],
            options: [
                OptionDescription("output", short: "o", value: "FILE", .path, "Where to; - for stdout"),
                OptionDescription(
                    "with-ancestors", "Let its ancestors go with it, each layer and page once"),
                OptionDescription(
                    "have", value: "FILE", .path,
                    "Leave out what this list names, as ckpt objects prints it; - for stdin"),
                OptionDescription(
                    "without", value: "IDS", .text, "Leave out these layers and process images, with commas"),
                OptionDescription(
                    "level", value: "N", .number(0...19),
                    "How hard zstd tries: 1 is fast, 19 is small, 0 leaves it alone; 3 when missing"),
            ],
            examples: [
                Example("ckpt export ready -o ready.tar.zst", "Put a snapshot into a file"),
                Example("ckpt export ready | ssh node ckpt import", "Move one to another machine"),
                Example(
                    "ssh node ckpt objects | ckpt export step-9 --have - | ssh node ckpt import",
                    "Send only what is not there yet"),
                Example("ckpt export main --with-ancestors -o tree.tar.zst", "The whole path to it"),
            ],
            triedAs: ["push", "send", "backup", "pack"])
    ) { call in
        try ExportCommand(call: call, client: call.client()).run()
        return 0
    }
}

/// What `ckpt export --json` prints.
private struct ExportOutcome: Encodable {
    let snapshot: String
    let file: String
    let bytes: Int64
    /// How many layers, process images and programs were left out.
    let leftOut: Int
}

private struct ExportCommand {
    let call: Invocation
    let client: Client

    func run() throws {
        let snapshot = try client.snapshot(call.words.operand("SNAPSHOT")).id
        let target = call.words.value("output") ?? "-"
        if target == "-", isatty(STDOUT_FILENO) == 1 {
            throw UsageError(
                "an archive is nothing for a terminal: give -o FILE, or send stdout elsewhere",
                command: "export")
        }
        let withAncestors = call.words.has("with-ancestors")
        let mine = try client.objects(snapshot: snapshot, withAncestors: withAncestors).objects
        let have = try haves(mine)
        let request = ExportRequest(
            withAncestors: withAncestors ? true : nil, have: have.isEmpty ? nil : have,
            level: call.words.number("level"))
        if target == "-" {
            let stdout = Descriptor(
                owning: try retrying("dup") { fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3) })
            return try client.export(snapshot, request, to: stdout)
        }
        let bytes = try call.waiting(
            "exporting \(snapshot)", .operation("exportSnapshot"), interrupted: .givenUp
        ) {
            try WholeFile.write(target) { (file) throws in try client.export(snapshot, request, to: file) }
        }
        let leftOut = Set(mine).intersection(have).count
        let outcome = ExportOutcome(snapshot: snapshot, file: target, bytes: bytes, leftOut: leftOut)
        try call.console.print(outcome, lines: ["\(target): \(sizeText(bytes: bytes))"])
    }

    /// What the receiver has, by a list of `ckpt objects` and by ids. Everything else of that list stays in: the
    /// server links from ancestors that the receiver has.
    private func haves(_ mine: [StoredObject]) throws -> [StoredObject] {
        var have: [StoredObject] = []
        if let path = call.words.value("have") {
            let text =
                path == "-" ? try readStandardInput() : String(decoding: try Files.read(path), as: UTF8.self)
            have = try ObjectLines.parse(text)
        }
        for id in call.words.value("without")?.split(separator: ",") ?? [] {
            let named = mine.filter { $0.id == id }
            guard !named.isEmpty else {
                throw ErrorMessage(
                    .notFound, "the snapshot has no part \(id)",
                    hint: "ckpt objects \(call.words.operand("SNAPSHOT")) lists its parts")
            }
            have += named
        }
        return have
    }
}

/// A file that is there whole or not at all.
enum WholeFile {
    /// Lets `fill` write a file of mode 0600, which then gets its name; returns its bytes.
    ///
    /// It has no name until it is whole, where the filesystem can do that (open(2), O_TMPFILE): not even a kill leaves
    /// any of it. A device or a FIFO is written to as it is.
    static func write(_ path: String, _ fill: (borrowing Descriptor) throws -> Void) throws -> Int64 {
        if let status = try? FileStatus(path), !status.isRegular {
            try fill(try Descriptor.open(path, O_WRONLY))
            return 0
        }
        let slash = path.lastIndex(of: "/")
        let directory = slash.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
        // A name that is nobody else's: another's file would be removed, and a link planted there be followed.
        let staged = path + ".part-" + String(UInt64.random(in: 0...UInt64.max), radix: 36)
        var isNameless = true
        let file: Descriptor
        // O_TMPFILE, which Swift cannot import: __O_TMPFILE | O_DIRECTORY (asm-generic/fcntl.h).
        let raw = Glibc.open(directory, 0o20_000_000 | O_DIRECTORY | O_RDWR | O_CLOEXEC, 0o600)
        if raw >= 0 {
            file = Descriptor(owning: raw)
        } else {
            isNameless = false
            file = try local("write \(path)") { () throws(SystemError) in
                try Descriptor.open(staged, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, mode: 0o600)
            }
        }
        do {
            try fill(file)
            let size = try Self.size(of: file)
            if isNameless {
                let link = "/proc/self/fd/\(file.raw)"
                try retrying("linkat", staged) {
                    linkat(AT_FDCWD, link, AT_FDCWD, staged, AT_SYMLINK_FOLLOW)
                }
            }
            try Files.rename(staged, path)
            return size
        } catch {
            unlink(staged)
            throw error
        }
    }

    private static func size(of file: borrowing Descriptor) throws(SystemError) -> Int64 {
        var status = stat()
        let number = file.raw
        try retrying("fstat") { fstat(number, &status) }
        return Int64(status.st_size)
    }
}
