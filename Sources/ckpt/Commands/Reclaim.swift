import Client
import CommandInterface
import Messages

extension Command {
    static let reclaim = Command(
        CommandDescription(
            "reclaim", "give memory that a sandbox does not use back to this machine",
            discussion: [
                "What was not used lately is dropped, where a file holds it, or goes to swap, where there is some; it "
                    + "comes back when it is used. Says how much less the sandbox uses afterwards."
            ],
            operands: [OperandDescription("NAME", .sandbox)],
            options: [
                OptionDescription(
                    "amount", value: "SIZE", .spec(.size), "About so much; default: all there is")
            ],
            examples: [
                Example("ckpt reclaim main", "All that is idle"),
                Example("ckpt reclaim main --amount 256m", "256 MiB of it"),
            ])
    ) { call in
        let name = call.words.operand("NAME")
        let amount = try call.words.value("amount").map { try ByteSize($0).bytes }
        let client = call.client()
        let result = try call.waiting("reclaiming", interrupted: .goesOn) {
            try client.reclaim(name, ReclaimRequest(bytes: amount))
        }
        let text =
            "\(sizeText(bytes: result.reclaimedBytes)) given back, \(sizeText(bytes: result.afterBytes)) in use"
        try call.console.print(result, lines: [text])
        return 0
    }
}
