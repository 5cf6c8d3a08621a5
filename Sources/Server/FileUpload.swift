import Messages

/// A body that the engine takes while it arrives.
protocol Upload: AnyObject {
    /// Passes bytes on; an error is told by `finish`.
    func write(_ bytes: UnsafeRawBufferPointer)
    /// Ends the body; returns the answer.
    func finish() throws(ErrorMessage) -> [UInt8]
    /// The body broke off.
    func abandon()
}

/// Writes the body of a request to a file of a sandbox, on the connection's own thread.
final class FileUpload: Upload {
    private var writer: (any FileWriting)?
    private var failure: ErrorMessage?

    /// A refusal is told once all of the body was read: a client that still sends does not listen.
    init(_ call: Call) {
        do throws(ErrorMessage) {
            writer = try call.engine.writeFile(
                call["name"], path: try call.required("path"), try call.writeOptions())
        } catch { failure = error }
    }

    func write(_ bytes: UnsafeRawBufferPointer) {
        do throws(ErrorMessage) { try writer?.write(bytes) } catch {
            failure = error
            writer = nil
        }
    }

    func finish() throws(ErrorMessage) -> [UInt8] {
        if let failure { throw failure }
        guard let writer else { throw ErrorMessage(.internal, "the upload has ended already") }
        defer { self.writer = nil }
        return JSONBody.encode(try writer.finish())
    }

    func abandon() { writer = nil }
}
