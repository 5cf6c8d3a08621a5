import Glibc
import Messages
import Server
import ServerFixture

// A server with the fixture engine in a process of its own, to be started, killed and started again.
// `serve --root DIR --ready-fd N`; FIXTURE_FAILURE makes it fail to start in the way it names.

func complain(_ line: String) {
    let bytes = Array("\(line)\n".utf8)
    _ = write(STDERR_FILENO, bytes, bytes.count)
}

var root = ""
var readyDescriptor: Int32?
var arguments = CommandLine.arguments.dropFirst().makeIterator()
while let argument = arguments.next() {
    switch argument {
    case "serve": break
    case "--root": root = arguments.next()!
    case "--ready-fd": readyDescriptor = Int32(arguments.next()!)
    default: exit(2)
    }
}
let ready = ReadyReport(descriptor: readyDescriptor)
let failure = getenv("FIXTURE_FAILURE").map { String(cString: $0) }
if failure == "crash" {
    complain("the fixture crashes as it was asked to")
    exit(9)
}
do throws(ErrorMessage) {
    try serve(root: root, ready: ready) { () throws(ErrorMessage) in
        if failure == "engine" { throw ErrorMessage(.notInstalled, "there is no engine", hint: "get one") }
        let engine = FixtureEngine(directory: root)
        _ = try engine.create(CreateRequest(name: "box", spec: SandboxSpec()))
        return engine
    }
} catch {
    complain("\(error)")
    exit(125)
}
