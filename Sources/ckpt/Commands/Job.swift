import Client
import CommandInterface
import FoundationEssentials
import Glibc
import Messages

extension Command {
    static let job = Command(
        CommandDescription(
            "job", "print what a background command has printed, or end it",
            discussion: [
                "Prints the job's output so far, stdout on stdout and stderr on stderr, and says whether it "
                    + "runs. Once it has ended, ckpt job ends with its exit code. Of each stream the first "
                    + "32 MiB are kept, and the last 31 at least.",
                "After a restore the output is that of the snapshot and what was printed since then.",
            ],
            operands: [OperandDescription("NAME", .sandbox), OperandDescription("ID", .text)],
            options: [
                OptionDescription("follow", short: "f", "Go on printing until the job has ended"),
                OptionDescription("stop", "End it: SIGTERM, and SIGKILL when that has not helped"),
                OptionDescription("signal", value: "SIG", .signal, "With --stop: the first signal instead"),
                OptionDescription(
                    "grace", value: "SEC", .seconds, "With --stop: wait so long before SIGKILL; default: 10"),
                OptionDescription(
                    "rm", "Forget it and what it printed; it must have ended, or --stop ends it"),
            ],
            examples: [
                Example("ckpt job main 3f", "Output so far; the beginning of an id will do"),
                Example("ckpt job -f main 3f", "Follow it to its end, and exit with its code"),
                Example("ckpt job --stop main 3f", "End it"),
            ],
            exitCodes: [
                ExitCode("0", "it runs, or ended with 0"),
                ExitCode("other", "the job's own; 128 + N when signal N killed it"),
            ])
    ) { call in
        let words = call.words
        let name = words.operand("NAME")
        let id = words.operand("ID")
        let client = call.client()
        if words.has("stop") || words.has("rm") {
            guard !words.has("follow") else {
                throw UsageError("--follow is nothing for --stop or --rm", command: "job")
            }
            return try end(call, client, name, id)
        }
        guard words.value("signal") == nil, words.value("grace") == nil else {
            throw UsageError("--signal and --grace belong to --stop", command: "job")
        }
        let info =
            try call.console.json ? printJSON(call, client, name, id) : printOutput(call, client, name, id)
        return info.exitCode ?? 0
    }

    private static func end(_ call: Invocation, _ client: Client, _ name: String, _ id: String) throws
        -> Int32
    {
        let words = call.words
        var job: JobInfo?
        if words.has("stop") {
            let request = JobStopRequest(
                signal: words.value("signal").flatMap(signalNumber), grace: words.seconds("grace"))
            job = try call.waiting("waiting for job \(id) to end", interrupted: .goesOn) {
                try client.stopJob(name, id, request)
            }
        }
        if words.has("rm") { try client.removeJob(name, job?.id ?? id) }
        if call.console.json {
            if let job { try call.console.printJSON(job) } else { try call.console.printJSON(Done()) }
        }
        return 0
    }

    /// Prints what there is of both streams, and with `--follow` what comes until the end.
    private static func printOutput(
        _ call: Invocation, _ client: Client, _ name: String, _ id: String
    ) throws -> JobInfo {
        var query = JobQuery()
        query.limit = 4 << 20
        if call.words.has("follow") { query.wait = 20 }
        var missing: UInt64 = 0
        while true {
            let output = try client.job(name, id, query)
            missing += output.stdout.offset - query.stdoutOffset + output.stderr.offset - query.stderrOffset
            try output.stdout.bytes.withUnsafeBytes { try writeAll($0, to: STDOUT_FILENO) }
            try output.stderr.bytes.withUnsafeBytes { try writeAll($0, to: STDERR_FILENO) }
            query.stdoutOffset = output.stdout.next
            query.stderrOffset = output.stderr.next
            let job = output.job
            if query.stdoutOffset < job.stdoutBytes || query.stderrOffset < job.stderrBytes { continue }
            if missing > 0, job.state == .exited || !call.words.has("follow") {
                call.console.note("\(missing) bytes of the output were not kept")
            }
            if job.state == .exited {
                let how = job.timedOut ? "ran out of time" : "ended with exit code \(job.exitCode ?? 0)"
                call.console.note("job \(job.id) \(how)")
                return job
            }
            if !call.words.has("follow") {
                call.console.note("job \(job.id) is running")
                return job
            }
        }
    }

    /// All output as one value: the pieces put together.
    private static func printJSON(
        _ call: Invocation, _ client: Client, _ name: String, _ id: String
    ) throws -> JobInfo {
        var query = JobQuery()
        if call.words.has("follow") { query.wait = 20 }
        var stdout: [UInt8] = []
        var stderr: [UInt8] = []
        while true {
            let output = try client.job(name, id, query)
            stdout += output.stdout.bytes
            stderr += output.stderr.bytes
            query.stdoutOffset = output.stdout.next
            query.stderrOffset = output.stderr.next
            let job = output.job
            if query.stdoutOffset < job.stdoutBytes || query.stderrOffset < job.stderrBytes { continue }
            if job.state == .running, call.words.has("follow") { continue }
            try call.console.printJSON(JobReport(job: job, stdout: stdout, stderr: stderr))
            return job
        }
    }
}

extension OutputPiece {
    /// The bytes it carries.
    var bytes: [UInt8] {
        text.map { Array($0.utf8) } ?? base64.flatMap { Data(base64Encoded: $0) }.map { Array($0) } ?? []
    }
}

/// What `ckpt job --json` prints: the job, and its output as in `exec --json`.
private struct JobReport: Encodable {
    let job: JobInfo
    let stdout, stderr, stdoutBase64, stderrBase64: String?

    init(job: JobInfo, stdout: [UInt8], stderr: [UInt8]) {
        self.job = job
        self.stdout = String(validating: stdout, as: UTF8.self)
        self.stderr = String(validating: stderr, as: UTF8.self)
        stdoutBase64 = self.stdout == nil ? Data(stdout).base64EncodedString() : nil
        stderrBase64 = self.stderr == nil ? Data(stderr).base64EncodedString() : nil
    }
}
