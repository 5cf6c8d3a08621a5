import Glibc
import LinuxSystem
import Messages

/// A close-on-exec pipe (pipe2(2)): what is written to one end comes out of the other.
struct Pipe: ~Copyable {
    let reading: Descriptor
    let writing: Descriptor

    init() throws(ErrorMessage) {
        var ends: [Int32] = [-1, -1]
        try explaining("cannot make a pipe") { () throws(SystemError) in
            _ = try retrying("pipe2") { pipe2(&ends, O_CLOEXEC) }
        }
        reading = Descriptor(owning: ends[0])
        writing = Descriptor(owning: ends[1])
    }
}

/// Turns a failed system call into the API's error: `message`, with the call as its cause.
func explaining<Result: ~Copyable>(
    _ message: String, _ body: () throws(SystemError) -> Result
) throws(ErrorMessage) -> Result {
    do throws(SystemError) {
        return try body()
    } catch {
        throw ErrorMessage(.internal, message, cause: "\(error)")
    }
}
