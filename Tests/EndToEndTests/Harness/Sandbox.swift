import Foundation
import Messages
import Testing

/// A sandbox of a test, driven through the command line.
struct Sandbox {
    let ckpt: Ckpt
    let name: String

    /// Runs a command as a fresh process, whatever its end.
    @discardableResult
    func exec(
        _ argv: String..., options: [String] = [], stdin: Data? = nil, deadline: Double = 60
    ) throws -> CommandResult {
        let arguments = ["exec"] + (stdin == nil ? [] : ["-i"]) + options + [name, "--"] + argv
        return try ckpt.call(arguments, stdin: stdin ?? Data(), deadline: deadline)
    }

    /// Runs shell text as a fresh process that must succeed; returns its stdout without newlines at the end.
    @discardableResult
    func sh(_ text: String, options: [String] = [], deadline: Double = 60) throws -> String {
        let arguments = ["exec"] + options + [name, "--", "bash", "-c", text]
        return try ckpt.succeed(arguments, deadline: deadline).line
    }

    /// Runs text in a session's bash, whatever its end.
    @discardableResult
    func session(_ text: String, _ session: String = "main", options: [String] = [], deadline: Double = 60)
        throws -> CommandResult
    {
        try ckpt.call(["exec", "--session", session] + options + [name, "--", text], deadline: deadline)
    }

    /// Runs text in a session's bash, which must end with 0; returns its stdout without newlines at the end.
    @discardableResult
    func say(_ text: String, _ session: String = "main", deadline: Double = 60) throws -> String {
        let arguments = ["exec", "--session", session, name, "--", text]
        return try ckpt.succeed(arguments, deadline: deadline).line
    }

    /// Puts a file into the sandbox.
    func write(_ data: Data, to path: String) throws {
        let arguments = ["exec", "-i", name, "--", "sh", "-c", "cat > '\(path)'"]
        try ckpt.succeed(arguments, stdin: data)
    }

    /// Puts one of `Programs/` into the sandbox, as /root/NAME.
    func install(_ program: String) throws {
        try write(try Program.text(program), to: "/root/\(program)")
    }

    /// Compiles one of `Programs/`, a C file, to /root/NAME without its extension.
    func compile(_ program: String, _ flags: String = "") throws {
        try install(program)
        let output = (program as NSString).deletingPathExtension
        try sh("gcc -O1 -Wall -o /root/\(output) /root/\(program) \(flags)")
    }

    /// Starts a Python REPL beside the main session's bash, as its coprocess: there `put LINE…` tells it something and
    /// `ask LINE` prints the one line that it answers.
    func startPython() throws {
        try say(
            #"""
            coproc PY { exec /usr/bin/python3 -iqu 2>/root/repl.err; }
            put() { printf '%s\n' "$@" >&"${PY[1]}"; }
            ask() { put "$1" && IFS= read -r -t 60 answer <&"${PY[0]}" && printf '%s\n' "$answer"; }
            """#)
    }

    /// Saves it; returns the snapshot's id.
    func save(_ options: String..., deadline: Double = 60) throws -> String {
        let result = try ckpt.succeed(["save", name] + options, deadline: deadline)
        guard let id = result.lines.last, !id.isEmpty, !id.contains(" ") else {
            throw HarnessError("save printed no id: \(result)")
        }
        return id
    }

    func restore(_ snapshot: String? = nil) throws {
        try ckpt.succeed(["restore", name] + (snapshot.map { [$0] } ?? []))
    }

    func info() throws -> SandboxInfo {
        guard let info = try ckpt.sandboxes().first(where: { $0.name == name }) else {
            throw HarnessError("ps does not show \(name)")
        }
        return info
    }

    /// Waits until shell text, run as a fresh process, succeeds.
    func waitFor(
        _ text: String, within seconds: Double = 30, sourceLocation: SourceLocation = #_sourceLocation
    )
        throws
    {
        let held = try eventually(within: seconds) { try exec("bash", "-c", text).status == 0 }
        if !held { throw HarnessError("in \(name), never held: \(text)") }
    }
}

/// Saves a sandbox and checks that a restore in place and a fork both show the state of the snapshot,
/// that the processes behind it live on (`change` works in both), and that a fork leaves the original alone.
///
/// - Parameters:
///   - read: tells the state without altering it.
///   - change: alters the state.
/// - Returns: the fork, after its change.
@discardableResult
func checkRoundTrip(
    _ box: Sandbox, read: (Sandbox) throws -> String, change: (Sandbox) throws -> Void
) throws -> Sandbox {
    let before = try read(box)
    let snapshot = try box.save()
    #expect(try read(box) == before, "the save altered the sandbox")
    try change(box)
    let changed = try read(box)
    #expect(changed != before, "the change changes nothing: this test cannot fail")

    try box.restore(snapshot)
    #expect(try read(box) == before, "after the restore")
    let fork = try box.ckpt.fork(snapshot)[0]
    #expect(try read(fork) == before, "in the fork")

    try change(fork)
    #expect(try read(fork) == changed, "the fork does not go on")
    #expect(try read(box) == before, "the fork reaches into the original")
    try change(box)
    #expect(try read(box) == changed, "the restored sandbox does not go on")
    // Where the processes are still the same this one is made without CRIU.
    let second = try box.save()
    #expect(try read(box) == changed, "the second save altered the sandbox")
    try box.restore(second)
    #expect(try read(box) == changed, "after the restore of the second save")
    // Where they can be, these are made anew without CRIU; it is to understand the images all the same.
    try box.ckpt.succeed(["restore", box.name, second, "--engine", "criu"])
    #expect(try read(box) == changed, "after CRIU's restore of the second save")
    return fork
}
