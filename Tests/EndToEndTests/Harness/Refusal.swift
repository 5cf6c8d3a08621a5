import Foundation
import Messages
import Testing

/// Checks that `ckpt` refused as it promises to: the exit code, one sentence on stderr that names the cause,
/// a hint, nothing on stdout.
func expectRefusal(
    _ result: CommandResult, status: Int32 = 125, names words: [String], hint: Bool = true,
    sourceLocation: SourceLocation = #_sourceLocation
) {
    #expect(result.status == status, "\(result)", sourceLocation: sourceLocation)
    #expect(result.stdout == "", "a refusal prints nothing on stdout", sourceLocation: sourceLocation)
    let lines = result.stderr.split(separator: "\n")
    #expect(lines.first?.hasPrefix("ckpt: ") == true, "\(result)", sourceLocation: sourceLocation)
    for word in words {
        #expect(
            result.stderr.contains(word), "does not name \(word): \(result)", sourceLocation: sourceLocation)
    }
    if status == 125 {
        #expect(lines.count == 1, "not one sentence: \(result)", sourceLocation: sourceLocation)
        if hint {
            #expect(result.stderr.contains("(hint: "), "no hint: \(result)", sourceLocation: sourceLocation)
        }
    }
}

/// Checks that a sandbox runs on as before: the same session's bash, the same variable, nothing half-made.
struct Witness {
    let box: Sandbox
    private let answer: String
    private static let question = "echo witness $$ $witness; cat /root/witness"

    init(_ box: Sandbox) throws {
        self.box = box
        try box.say("witness=$RANDOM; echo file-$witness > /root/witness", "witness")
        answer = try box.say(Self.question, "witness")
    }

    func check(_ when: String, sourceLocation: SourceLocation = #_sourceLocation) throws {
        #expect(try box.info().state == .running, "after \(when)", sourceLocation: sourceLocation)
        #expect(
            try box.say(Self.question, "witness") == answer, "after \(when) the sandbox is not as before",
            sourceLocation: sourceLocation)
        #expect(box.ckpt.halfMade == [], "after \(when), half-made", sourceLocation: sourceLocation)
    }
}
