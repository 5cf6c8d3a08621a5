import Client
import CommandInterface
import FoundationEssentials
import Glibc
import LinuxSystem
import Messages

extension Command {
    static let mem = Command(
        CommandDescription(
            "mem", "read, search and extract the memory of a process of a snapshot",
            discussion: [
                "Without further options it lists the mappings. Addresses are numbers, hexadecimal after 0x; PID is "
                    + "the pid inside the sandbox, which ckpt inspect shows."
            ],
            operands: [OperandDescription("SNAPSHOT", .snapshot)],
            options: [
                OptionDescription(
                    "pid", short: "p", value: "PID", .number(1...Int(Int32.max)), "The process"),
                OptionDescription("at", value: "ADDR", .text, "Read from this address on"),
                OptionDescription(
                    "length", short: "n", value: "BYTES", .number(1...(1 << 40)),
                    "How many bytes; 256 when missing"),
                OptionDescription("search", value: "TEXT", .text, "Find this text"),
                OptionDescription(
                    "hex", value: "BYTES", .text, "Find these bytes, pairs of hexadecimal digits"),
                OptionDescription(
                    "regex", value: "RE", .text, "Find what an extended regular expression matches"),
                OptionDescription(
                    "limit", value: "N", .number(1...MemorySearchRequest.most),
                    "At most N places; 100 when missing"),
                OptionDescription(
                    "extract", value: "MAPPING", .text,
                    "Read a whole mapping: an address in it, or its name, as [heap] or the end of a path"),
                OptionDescription(
                    "output", short: "o", value: "FILE", .path, "Write raw bytes there, - for stdout"),
            ],
            examples: [
                Example("ckpt mem ready --pid 14", "The mappings"),
                Example("ckpt mem ready --pid 14 --at 0x7ffd0f3e1000 --length 64", "A hex dump"),
                Example("ckpt mem ready --pid 14 --search secret", "Where a text is, with what is around it"),
                Example("ckpt mem ready --pid 14 --regex 'key=[a-z]+'", "The same with a pattern"),
                Example("ckpt mem ready --pid 14 --extract '[heap]' -o heap.bin", "A mapping as a file"),
            ],
            triedAs: ["memory", "peek", "hexdump", "strings", "maps"])
    ) { call in
        try MemoryCommand(call).run()
    }
}

/// One call of `ckpt mem`.
private struct MemoryCommand {
    private let call: Invocation
    private let client: Client
    private let reference: String
    private let pid: Int

    init(_ call: Invocation) throws {
        self.call = call
        reference = call.words.operand("SNAPSHOT")
        guard let pid = call.words.number("pid") else {
            throw UsageError("mem needs --pid: ckpt inspect \(reference) shows the processes", command: "mem")
        }
        self.pid = pid
        let doings = ["at", "search", "hex", "regex", "extract"].filter { call.words.value($0) != nil }
        guard doings.count <= 1 else {
            throw UsageError(
                "--\(doings[0]) and --\(doings[1]) do not go together: use one of them", command: "mem")
        }
        if call.words.value("output") != nil, doings != ["at"], doings != ["extract"] {
            throw UsageError("--output is for --at and --extract: add one of them", command: "mem")
        }
        client = call.client()
    }

    func run() throws -> Int32 {
        let words = call.words
        if let text = words.value("at") {
            guard let address = parseAddress(text) else {
                throw UsageError(
                    "--at \(text) is no address: use a number, 0x… in hexadecimal", command: "mem")
            }
            try read(address, length: words.number("length") ?? 256)
        } else if let name = words.value("extract") {
            let region = try find(name)
            let (start, end) = (parseAddress(region.start)!, parseAddress(region.end)!)
            try read(start, length: Int(end - start))
        } else if let pattern = try pattern() {
            try search(pattern)
        } else {
            try list()
        }
        return 0
    }

    private func list() throws {
        let listing = try client.memory(reference, pid: pid)
        var table = TextTable(["ADDRESS", "PERM", "SIZE", "STORED", "INHERITED", "ZERO", "IN FILE", "NAME"])
        func size(_ bytes: Int64) -> TextTable.Cell { .init(bytes == 0 ? "" : sizeText(bytes: bytes)) }
        for region in listing.regions {
            let pages = region.pages
            let all =
                pages.storedBytes + pages.inheritedBytes + pages.zeroBytes + pages.fileBytes
                + pages.notSavedBytes
            table.add([
                .init("\(region.start.dropFirst(2))-\(region.end.dropFirst(2))"), .init(region.permissions),
                size(all),
                size(pages.storedBytes), size(pages.inheritedBytes), size(pages.zeroBytes),
                size(pages.fileBytes),
                .init(call.console.outStyle.clean(region.name ?? "")),
            ])
        }
        try call.console.print(listing, lines: table.lines(call.console.outStyle))
    }

    private func find(_ name: String) throws -> InspectedRegion {
        let regions = try client.memory(reference, pid: pid).regions
        if let address = parseAddress(name) {
            if let region = regions.first(where: {
                parseAddress($0.start)! <= address && address < parseAddress($0.end)!
            }) {
                return region
            }
        } else {
            let named = regions.filter { $0.name == name || $0.name?.hasSuffix("/" + name) == true }
            if named.count == 1 { return named[0] }
            if !named.isEmpty {
                throw ErrorMessage(
                    .ambiguous, "\(named.count) mappings are called \(name)",
                    hint: "name one by an address: " + named.map(\.start).joined(separator: ", "))
            }
        }
        throw ErrorMessage(
            .notFound, "process \(pid) has no mapping \(name)",
            hint: "ckpt mem \(reference) --pid \(pid) lists them")
    }

    private func pattern() throws -> MemorySearchRequest.Pattern? {
        if let text = call.words.value("search") { return .bytes(Array(text.utf8)) }
        if let text = call.words.value("regex") { return .expression(text) }
        guard let digits = call.words.value("hex") else { return nil }
        guard let bytes = parseHexBytes(digits) else {
            throw UsageError(
                "--hex \(digits) is not made of bytes: use pairs of hexadecimal digits", command: "mem")
        }
        return .bytes(bytes)
    }

    private func search(_ pattern: MemorySearchRequest.Pattern) throws {
        let request = MemorySearchRequest(
            pid: pid, pattern: pattern, limit: call.words.number("limit") ?? 100)
        let found = try call.waiting("searching", interrupted: .nothing) {
            try client.searchMemory(reference, request)
        }
        let style = call.console.outStyle
        let lines = found.matches.flatMap { match -> [String] in
            let context =
                FoundationEssentials.Data(base64Encoded: match.contextBase64).map { [UInt8]($0) } ?? []
            let name = match.name.map { "  " + style.clean($0) } ?? ""
            return [style.paint(match.address, .id) + "  \(match.length) bytes" + style.paint(name, .faint)]
                + hexDump(context, at: parseAddress(match.contextAddress) ?? 0).map { "    " + $0 }
        }
        try call.console.print(found, lines: lines)
        guard !call.console.json else { return }
        if found.matches.isEmpty { call.console.note("nothing found") }
        if found.truncated { call.console.note("there are more (hint: --limit)") }
        for name in found.unread {
            call.console.note("\(name) is not in the snapshot: its mapping was not searched")
        }
    }

    /// Reads piece by piece, so that a mapping may be larger than an answer.
    private func read(_ address: UInt64, length: Int) throws {
        let output = try call.words.value("output").map { path in try Output(path) }
        var (position, left) = (address, length)
        while left > 0 {
            let request = MemoryReadRequest(
                pid: pid, address: position, length: min(left, MemoryReadRequest.most))
            let piece = try client.readMemory(reference, request)
            guard let data = FoundationEssentials.Data(base64Encoded: piece.base64), !data.isEmpty else {
                throw ErrorMessage(.internal, "the server answered without bytes")
            }
            let bytes = [UInt8](data)
            if let output {
                try bytes.withUnsafeBytes { try writeAll($0, to: output.descriptor) }
            } else {
                try call.console.print(piece, lines: hexDump(bytes, at: position))
            }
            position += UInt64(bytes.count)
            left -= bytes.count
            if bytes.count < request.length {
                call.console.note("mapped memory ends at 0x\(String(position, radix: 16))")
                return
            }
        }
    }

    /// Where raw bytes go: a file that is closed in the end, or stdout.
    private final class Output {
        let descriptor: Int32

        init(_ path: String) throws {
            descriptor =
                path == "-" ? STDOUT_FILENO : open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
            guard descriptor >= 0 else { throw SystemError.last("open", path) }
        }

        deinit { if descriptor != STDOUT_FILENO { close(descriptor) } }
    }
}
