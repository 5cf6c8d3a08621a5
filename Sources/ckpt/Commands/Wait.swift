import Client
import CommandInterface
import Messages

extension Command {
    static let wait = Command(
        CommandDescription(
            "wait", "wait for the end of a sandbox or of one of its jobs",
            discussion: [
                "Prints the exit code and ends with it. A sandbox has ended when its processes have, by kill, by "
                    + "save --stop, by rm or by themselves; that is 137 always, as PID 1 only ends when it is "
                    + "killed. A restore does not end the waiting."
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
            var query = JobQuery()
            query.limit = 0
            // Output is not what is waited for: none is beyond this.
            (query.stdoutOffset, query.stderrOffset) = (.max, .max)
            query.wait = 20
            while true {
                let job = try client.job(name, id, query).job
                guard job.state == .exited else { continue }
                try call.console.print(job, lines: ["\(job.exitCode ?? 0)"])
                return job.exitCode ?? 0
            }
        }
        while true {
            let result = try client.wait(name, seconds: 20)
            guard result.ended else { continue }
            try call.console.print(result, lines: ["\(result.exitCode ?? 0)"])
            return result.exitCode ?? 0
        }
    }
}
