import Client
import CommandInterface
import Glibc
import LinuxSystem
import Messages

extension Command {
    static let readFile = Command(
        CommandDescription(
            "read", "print a file of a sandbox",
            discussion: [
                "The bytes go to stdout as they are. The path is resolved inside the sandbox: no symbolic link "
                    + "leads out of it. FIFOs, sockets and devices are refused."
            ],
            operands: [OperandDescription("NAME", .sandbox), OperandDescription("PATH", .insidePath)],
            options: [
                OptionDescription("offset", value: "N", .number(0...Int.max), "Begin at this byte"),
                OptionDescription("limit", value: "N", .number(0...Int.max), "Print so many bytes at most"),
            ],
            examples: [
                Example("ckpt read main /etc/os-release", "Look at a file"),
                Example("ckpt read --offset 1000 --limit 512 main /var/log/app.log", "Look at a part of it"),
            ],
            triedAs: ["get", "cat"])
    ) { call in
        let words = call.words
        let file = Descriptor(owning: try retrying("dup") { fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3) })
        try call.client().readFile(
            words.operand("NAME"), path: words.operand("PATH"), offset: UInt64(words.number("offset") ?? 0),
            limit: words.number("limit").map { UInt64($0) }, to: file)
        return 0
    }

    static let writeFile = Command(
        CommandDescription(
            "write", "write stdin to a file of a sandbox",
            discussion: [
                "What is there is overwritten and keeps its owner and mode; a new file belongs to root and has "
                    + "mode 0644. The path is resolved inside the sandbox: no symbolic link leads out of it.",
                "With --atomic a reader inside sees the old file or the new one and never a part; a symbolic link "
                    + "at PATH is replaced then.",
            ],
            operands: [OperandDescription("NAME", .sandbox), OperandDescription("PATH", .insidePath)],
            options: [
                OptionDescription("mode", value: "MODE", .text, "Permission bits in octal, as in 755"),
                OptionDescription(
                    "user", short: "u", value: "U", .text, "Owner: name, uid, name:group or uid:gid inside"),
                OptionDescription("atomic", "Put a new file in the place of the old one, in one step"),
                OptionDescription("parents", short: "p", "Make missing directories on the way, mode 0755"),
                OptionDescription("append", "Write after what is there"),
            ],
            examples: [
                Example("ckpt write main /root/input.txt < input.txt", "Hand over a file"),
                Example("ckpt write -p --mode 755 main /opt/run.sh < run.sh", "A program in a new directory"),
            ],
            triedAs: ["put", "tee"])
    ) { call in
        let words = call.words
        var options = WriteOptions()
        if let text = words.value("mode") {
            guard let mode = UInt32(text, radix: 8), mode <= 0o7777 else {
                throw UsageError(
                    "bad value '\(text)' for --mode: it must be octal, 0 to 7777", command: "write")
            }
            options.mode = mode
        }
        options.user = words.value("user")
        options.isAtomic = words.has("atomic")
        options.makesParents = words.has("parents")
        options.appends = words.has("append")
        if options.isAtomic, options.appends {
            throw UsageError("--atomic and --append do not go together", command: "write")
        }
        let file = Descriptor(owning: try retrying("dup") { fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3) })
        let info = try call.client().writeFile(
            words.operand("NAME"), path: words.operand("PATH"), options, from: file)
        if call.console.json { try call.console.printJSON(info) }
        return 0
    }
}
