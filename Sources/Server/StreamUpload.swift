import Glibc
import LinuxSystem
import Messages

/// Hands the body of a request to the engine through a pipe, at the speed the engine reads.
final class StreamUpload: Upload {
    private var pipe: Int32?
    private let outcome: Outcome
    private typealias Outcome = Monitor<Result<[UInt8], ErrorMessage>?>

    private init(pipe: Int32, outcome: Outcome) {
        self.pipe = pipe
        self.outcome = outcome
    }

    /// Starts the engine's half.
    static func start(
        _ call: Call, _ reader: @Sendable (Call) throws(ErrorMessage) -> Route.Reader
    ) throws(Refusal) -> StreamUpload {
        do throws(ErrorMessage) {
            let read = try reader(call)
            let ends = try Pipe()
            let reading = ends.reading.release()
            let outcome = Outcome(nil)
            startThread {
                let pipe = Descriptor(owning: reading)
                let result: Result<[UInt8], ErrorMessage>
                do throws(ErrorMessage) {
                    result = .success(try read(pipe.raw))
                } catch {
                    result = .failure(error)
                }
                outcome.with(wake: true) { $0 = result }
            }
            return StreamUpload(pipe: ends.writing.release(), outcome: outcome)
        } catch {
            throw Refusal(error)
        }
    }

    /// Passes bytes on; what comes after the engine has stopped reading is dropped, its error is told later.
    func write(_ bytes: UnsafeRawBufferPointer) {
        var sent = 0
        while let pipe, sent < bytes.count {
            let count = Glibc.write(pipe, bytes.baseAddress! + sent, bytes.count - sent)
            if count > 0 {
                sent += count
            } else if errno != EINTR {
                abandon()
            }
        }
    }

    /// Ends the stream and waits for the engine's word.
    func finish() throws(ErrorMessage) -> [UInt8] {
        abandon()
        return try outcome.wait { $0 }!.get()
    }

    /// Ends the stream early; the engine sees an archive that breaks off.
    func abandon() {
        if let pipe { _ = close(pipe) }
        pipe = nil
    }

    deinit { abandon() }
}
