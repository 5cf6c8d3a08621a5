import Glibc
import LinuxSystem
import Messages

/// Hands the body of a request to the engine through a pipe, at the speed the engine reads.
final class ArchiveUpload: Upload {
    private var pipe: Int32?
    private let outcome: Monitor<ErrorMessage??>

    private init(pipe: Int32, outcome: Monitor<ErrorMessage??>) {
        self.pipe = pipe
        self.outcome = outcome
    }

    /// Starts the engine's half.
    static func start(_ call: Call) throws(Refusal) -> ArchiveUpload {
        do throws(ErrorMessage) {
            let sandbox = call["name"]
            let path = try call.required("path")
            let ends = try Pipe()
            let reading = ends.reading.release()
            let outcome = Monitor<ErrorMessage??>(nil)
            let engine = call.engine
            startThread {
                let pipe = Descriptor(owning: reading)
                var result: ErrorMessage?
                do throws(ErrorMessage) {
                    try engine.writeArchive(sandbox: sandbox, path: path, from: pipe.raw)
                } catch {
                    result = error
                }
                let told = result
                outcome.with(wake: true) { $0 = .some(told) }
            }
            return ArchiveUpload(pipe: ends.writing.release(), outcome: outcome)
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
        if let error = outcome.wait({ $0 }) ?? nil { throw error }
        return JSONBody.encode(Done())
    }

    /// Ends the stream early; the engine sees an archive that breaks off.
    func abandon() {
        if let pipe { _ = close(pipe) }
        pipe = nil
    }

    deinit { abandon() }
}
