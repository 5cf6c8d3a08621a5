import Client
import CommandInterface
import Glibc
import Messages

extension Command {
    static let cp = Command(
        CommandDescription(
            "cp", "copy files into a sandbox or out of it",
            discussion: [
                "One side is NAME:PATH, the other a path of this machine, or - for a tar stream on stdin or "
                    + "stdout. A directory is copied with all that is in it. Where DST is a directory the copy "
                    + "goes into it, else it is called DST; SRC/. means what SRC contains.",
                "Modes, times, links, holes and user's extended attributes are kept. What is copied in belongs to "
                    + "root there, what is copied out belongs to you, unless -a keeps the owners; set-uid bits "
                    + "and device nodes stay behind. A local path with a colon is written ./with:colon.",
            ],
            operands: [OperandDescription("SRC", .copyEnd), OperandDescription("DST", .copyEnd)],
            options: [
                OptionDescription(
                    "archive", short: "a", "Keep the owners, by number; for a copy out that needs root")
            ],
            examples: [
                Example("ckpt cp ./project main:/root/", "Copy a directory to /root/project"),
                Example("ckpt cp main:/var/log/app.log .", "Get a file out"),
                Example("ckpt cp main:/etc - | tar -t", "Look at a directory without unpacking it"),
                Example(
                    "tar -C src -c . | ckpt cp - main:/srv", "Unpack a stream in a directory of the sandbox"),
            ],
            triedAs: ["copy", "push", "pull", "upload", "download", "scp"])
    ) { call in
        let source = try CopyEnd(call.words.operand("SRC"))
        let destination = try CopyEnd(call.words.operand("DST"))
        switch (source, destination) {
        case (.inside(let name, let path), .stream):
            try copyToStdout(call, name, CopyPath(path).path)
        case (.stream, .inside(let name, let path)):
            try copyFromStdin(call, name, CopyPath(path).path)
        case (.inside(let name, let path), .here(let local)):
            try copyOut(call, name, CopyPath(path), CopyPath(local))
        case (.here(let local), .inside(let name, let path)):
            try copyIn(call, CopyPath(local), name, CopyPath(path))
        case (.inside, .inside):
            throw UsageError("both sides are sandboxes: copy to this machine first", command: "cp")
        default:
            throw UsageError("neither side is a sandbox: one must be NAME:PATH", command: "cp")
        }
        if call.console.json { try call.console.printJSON(Done()) }
        return 0
    }
}
