import Client
import Glibc
import Messages
import Server
import ServerFixture

// The transport in processes of their own, to be killed, signalled and given a terminal.
//
// `serve --root DIR --ready-fd N` serves the fixture engine; FIXTURE_FAILURE makes it fail as it says.
// `exec --root DIR [-i] [-t] --id ID ARGV…` runs a command as `ckpt exec` does, against a server that is
// there.

func complain(_ line: String) {
    let bytes = Array("\(line)\n".utf8)
    _ = write(STDERR_FILENO, bytes, bytes.count)
}

/// What the command line asks for.
struct Options {
    var root = ""
    var readyDescriptor: Int32?
    var request = ExecRequest(argv: [])
}

var options = Options()
var arguments = CommandLine.arguments.dropFirst(2).makeIterator()
while let argument = arguments.next() {
    switch argument {
    case "--root": options.root = arguments.next()!
    case "--ready-fd": options.readyDescriptor = Int32(arguments.next()!)
    case "--id": options.request.id = arguments.next()!
    case "-i": options.request.interactive = true
    case "-t": options.request.tty = true
    default: options.request.argv.append(argument)
    }
}

func serveFixture(_ options: Options) throws(ErrorMessage) {
    let ready = ReadyReport(descriptor: options.readyDescriptor)
    let failure = getenv("FIXTURE_FAILURE").map { String(cString: $0) }
    if failure == "crash" {
        complain("the fixture crashes as it was asked to")
        exit(9)
    }
    try serve(root: options.root, ready: ready) { (_) throws(ErrorMessage) in
        if failure == "engine" { throw ErrorMessage(.notInstalled, "there is no engine", hint: "get one") }
        let engine = FixtureEngine(directory: options.root)
        _ = try engine.create(CreateRequest(name: "box", spec: SandboxSpec()))
        return engine
    }
}

do throws(ErrorMessage) {
    if CommandLine.arguments[1] == "serve" {
        try serveFixture(options)
    } else {
        let client = Client(root: options.root, launch: nil)
        exit(try ExecTerminal(client, sandbox: "box").run(options.request).exitCode)
    }
} catch {
    complain("\(error)")
    exit(125)
}
