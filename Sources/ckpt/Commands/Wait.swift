import Client
import CommandInterface
import Messages

extension Command {
    static let wait = Command(
        CommandDescription(
            "wait", "wait for the end of a sandbox or of one of its jobs",
            discussion: [
                "Prints the exit code and ends with it. Of a sandbox that run -d made it is that of its command, the "
                    + "job main, as docker wait has it; the sandbox itself goes on.",
                "Another sandbox has ended when its processes have, by kill, by save --stop, by rm or by themselves; "
                    + "that is 137 always, as PID 1 only ends when it is killed. A restore does not end the waiting.",
            ],
            operands: [OperandDescription("NAME", .sandbox), OperandDescription("ID", .text, .optional)],
            examples: [
                Example(
                    "ckpt wait main \"$(ckpt exec -d main -- make)\"", "Start something, wait for it later"),
                Example("ckpt wait main", "Until the sandbox is stopped or dead"),
            ],
            exitCodes: [ExitCode("other", "the code of the job, or 137 for the sandbox")])
    ) { call in
        let name = call.words.operand("NAME")
        let client = call.client()
        if let id = call.words.optionalOperand("ID") {
            while true { if let code = try wait(forJob: id, of: name, call, client) { return code } }
        }
        // What a restore brings back or takes away decides anew.
        while true {
            do {
                if try client.jobs(name).jobs.contains(where: { $0.id == mainJob }) {
                    if let code = try wait(forJob: mainJob, of: name, call, client) { return code }
                    continue
                }
            } catch let error as ErrorMessage where error.code == .wrongState || error.code == .notFound {
                // A sandbox that has ended knows of no jobs.
            }
            let result = try client.wait(name, seconds: 20)
            guard result.ended else { continue }
            try call.console.print(result, lines: ["\(result.exitCode ?? 0)"])
            return result.exitCode ?? 0
        }
    }

    /// Waits for a while; the exit code once it has ended and was printed.
    private static func wait(
        forJob id: String, of name: String, _ call: Invocation, _ client: Client
    ) throws -> Int32? {
        var query = JobQuery()
        query.limit = 0
        // Output is not what is waited for: none is beyond this.
        (query.stdoutOffset, query.stderrOffset) = (.max, .max)
        query.wait = 20
        let job = try client.job(name, id, query).job
        guard job.state == .exited else { return nil }
        try call.console.print(job, lines: ["\(job.exitCode ?? 0)"])
        return job.exitCode ?? 0
    }
}
