import Client
import Glibc
import LinuxSystem
import Messages

/// Lets `body` read the tar stream of `path` in a sandbox.
///
/// The client pushes and libarchive pulls, so the client works on a thread of its own with a pipe between.
/// The reading closure throws what the client threw. With `toEnd` the stream is read to its end even where
/// `body` had enough, so that a copy is only called done when the server says so.
func readingArchive<Result>(
    _ call: Invocation, _ name: String, _ path: String, toEnd: Bool = true, owners: Bool = false,
    counting count: WorkCount? = nil, _ body: (@escaping () throws -> [UInt8]) throws -> Result
) throws -> Result {
    let pipe = try Pipe()
    let transfer = Transfer<Void>()
    let root = call.root
    let writing = pipe.writing
    startThread {
        let file = Descriptor(owning: writing)
        transfer.finish { () throws(ErrorMessage) in
            try Client(root: root).readArchive(name, path: path, owners: owners, to: file)
        }
    }
    let reading = Descriptor(owning: pipe.reading)
    let number = reading.raw
    let read = {
        let piece = try readPiece(of: number)
        if piece.isEmpty { try transfer.wait() }
        count?.add(Int64(piece.count))
        return piece
    }
    let result = try body(read)
    if toEnd { while try !read().isEmpty {} }
    return result
}

/// Lets `produce` write a tar stream that is unpacked in the directory `path` of a sandbox.
func writingArchive(
    _ call: Invocation, _ name: String, _ path: String, owners: Bool = false,
    counting count: WorkCount? = nil,
    _ produce: (@escaping (UnsafeRawBufferPointer) throws -> Void) throws -> Void
) throws {
    let pipe = try Pipe()
    let transfer = Transfer<ArchiveResult>()
    let root = call.root
    let reading = pipe.reading
    startThread {
        let file = Descriptor(owning: reading)
        transfer.finish { () throws(ErrorMessage) in
            try Client(root: root).writeArchive(name, path: path, owners: owners, from: file)
        }
    }
    do {
        let writing = Descriptor(owning: pipe.writing)
        let number = writing.raw
        try produce { bytes in
            do {
                try writeAll(bytes, to: number)
                count?.add(Int64(bytes.count))
            } catch is OutputClosed {
                // The client gave up and closed its end; it knows why.
                _ = try transfer.wait()
                throw ErrorMessage(.internal, "the server took only a part of the archive")
            }
        }
    }
    noteLeftOut(try transfer.wait().leftOut, call)
}

/// Says which entries of an archive were not made.
func noteLeftOut(_ names: [String], _ call: Invocation) {
    for name in names { call.console.note("left out \(name): it is a device node") }
}

/// How the client's side of a copy ended.
private final class Transfer<Value: Sendable>: Sendable {
    private let outcome = Monitor<Result<Value, ErrorMessage>?>(nil)

    func finish(_ body: () throws(ErrorMessage) -> Value) {
        let result: Result<Value, ErrorMessage>
        do throws(ErrorMessage) {
            result = .success(try body())
        } catch {
            result = .failure(error)
        }
        outcome.with(wake: true) { $0 = result }
    }

    /// Waits for the end; throws what the client threw.
    func wait() throws -> Value { try outcome.wait { $0 }!.get() }
}

/// Both ends of a pipe, close-on-exec.
private struct Pipe {
    let reading: Int32
    let writing: Int32

    init() throws(SystemError) {
        var ends: [Int32] = [-1, -1]
        try retrying("pipe2") { pipe2(&ends, O_CLOEXEC) }
        (reading, writing) = (ends[0], ends[1])
    }
}
