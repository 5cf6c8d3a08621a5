import Client
import CommandInterface
import Glibc
import LinuxSystem
import Messages

extension Command {
    static let importArchive = Command(
        CommandDescription(
            "import", "take in an archive that ckpt export wrote",
            discussion: [
                "Its snapshots get the ids and parents they had; a parent that is not here is linked once it comes. "
                    + "The id of the snapshot that was exported is printed. What is here already is not stored again, "
                    + "and an archive that brings nothing new is no error.",
                "Every file is compared with its digest before anything is published; an archive that breaks off, was "
                    + "changed or holds what does not belong there is refused whole, and nothing of it stays. "
                    + "Digests find damage and are no defence against forgery: whoever made the archive decides what "
                    + "its processes do when they are restored.",
            ],
            operands: [OperandDescription("FILE", .path, .optional)],
            options: [
                OptionDescription(
                    "tag", short: "t", value: "TAG", .newTag, "Give the snapshot that was exported this tag"),
                OptionDescription(
                    "max-bytes", value: "SIZE", .text,
                    "Refuse an archive whose files, holes included, are larger; 1t when missing"),
            ],
            examples: [
                Example("ckpt import ready.tar.zst", "Take in a file"),
                Example("ckpt import -t start < ready.tar.zst", "From stdin, and give it a tag"),
                Example("ckpt import --max-bytes 2g upload.tar.zst", "One that may not be too large"),
            ],
            triedAs: ["pull", "receive", "load", "unpack"])
    ) { call in
        let path = call.words.operands("FILE").first ?? "-"
        var most: Int64?
        if let text = call.words.value("max-bytes") {
            do throws(ErrorMessage) { most = try ByteSize(text).bytes } catch {
                throw UsageError("--max-bytes: \(error.description)", command: "import")
            }
        }
        if path == "-", isatty(STDIN_FILENO) == 1 {
            throw UsageError("no archive comes from a terminal: name a file", command: "import")
        }
        let file =
            path == "-"
            ? Descriptor(owning: try retrying("dup") { fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3) })
            : try local("read \(path)") { () throws(SystemError) in try Descriptor.open(path, O_RDONLY) }
        let client = call.client()
        let result = try call.waiting("importing", .operation("importSnapshots"), interrupted: .givenUp) {
            try client.importArchive(tag: call.words.value("tag"), mostBytes: most, from: file)
        }
        try call.console.print(result, lines: [result.snapshot])
        if result.imported.isEmpty { call.console.note("\(result.snapshot) was here already") }
        result.warnings?.forEach { call.console.note("warning: \($0)") }
        if call.console.verbose {
            let parts = "\(result.newObjects) new parts, \(result.knownObjects) were here"
            call.console.note("\(sizeText(bytes: result.bytes)) came: \(parts)")
        }
        return 0
    }
}
