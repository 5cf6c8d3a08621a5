import CriuImages
import Messages
import SandboxRuntime

/// A descriptor of a saved process.
struct DescriptorHolder: Codable, Equatable, CustomStringConvertible {
    /// Its pid in the sandbox.
    let process: Int32
    let command: String
    let descriptor: Int32

    var description: String { "process \(process) (\(command)) (fd \(descriptor))" }
}

/// A socket's options that CRIU 4.2 neither saves nor restores, as far as they are not as in a fresh socket.
struct SocketAttributes: Codable, Equatable {
    let holder: DescriptorHolder
    let options: [SocketOption]
}

/// An eventfd(2) whose count needs more than the 32 bits that CRIU 4.2 restores (criu/eventfd.c).
struct CounterAttributes: Codable, Equatable {
    let holder: DescriptorHolder
    /// What has to be added: a multiple of 2³².
    let missing: UInt64
}

extension SaveAttempt {
    /// Finds out of open files what the images do not tell: which timers were just due, and what CRIU loses.
    ///
    /// Every process must stand still.
    func lookAtOpenFiles() throws(ErrorMessage) {
        let files = try readingBack { images throws(CriuImageError) in
            try images.filesWithMore(of: dumped.processes)
        }
        var options = SocketOptionReader()
        for file in files {
            guard let id = standing[file.process]?.hostID else { continue }
            // Most need none: nothing of theirs is lost.
            var holder: DescriptorHolder {
                DescriptorHolder(process: file.process, command: command(of: id), descriptor: file.descriptor)
            }
            switch file.kind {
            case .timerWithoutTime: firedTimers[file.file] = file.expirations(in: id)
            case .eventCounter(let count):
                if file.isSemaphore(in: id) {
                    warnings.append(
                        "\(holder) has an eventfd with EFD_SEMAPHORE: after a restore a read takes all of its count"
                    )
                }
                let high = count & ~UInt64(UInt32.max)
                if high > 0 { lost.add(CounterAttributes(holder: holder, missing: high)) }
            case .socket:
                let unusual = options.unusual(of: file.descriptor, in: id)
                if !unusual.isEmpty { lost.add(SocketAttributes(holder: holder, options: unusual)) }
            }
        }
    }
}
