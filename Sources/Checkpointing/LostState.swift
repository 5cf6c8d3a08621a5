import Criu
import FoundationEssentials
import LinuxSystem
import Messages
import SandboxRuntime
import SnapshotTree

/// What CRIU 4.2 loses of a sandbox and ckpt puts back, from the instant of the save.
///
/// It lies beside CRIU's images as `attributes.json`; where everything is as in a fresh sandbox there is no such file.
struct LostState: Codable, Equatable {
    /// The file's name in the process directory of a snapshot.
    static let fileName = "attributes.json"

    var processes: [ProcessAttributes] = []
    /// The settings of the network namespace that are not as in a fresh sandbox, by their paths below /proc/sys/net.
    var network: [String: String] = [:]

    /// nil in snapshots from before they were noted, and where there is none.
    var sockets: [SocketAttributes]?
    var counters: [CounterAttributes]?

    var isEmpty: Bool { processes.isEmpty && network.isEmpty && sockets == nil && counters == nil }

    mutating func add(_ socket: SocketAttributes) { sockets = (sockets ?? []) + [socket] }
    mutating func add(_ counter: CounterAttributes) { counters = (counters ?? []) + [counter] }

    /// Reads it from a snapshot's process directory; empty where there is none.
    init(readingFrom directory: String) throws(ErrorMessage) {
        let path = "\(directory)/\(Self.fileName)"
        guard Files.exists(path) else { return }
        do {
            self = try JSONDecoder().decode(Self.self, from: FoundationEssentials.Data(Files.read(path)))
        } catch {
            throw ErrorMessage(
                .cannotRestore, "\(path) is damaged", hint: "ckpt verify tells what else is",
                cause: "\(error)")
        }
    }

    init() {}

    /// Writes it into a process directory that is being staged.
    func write(to directory: String) throws(ErrorMessage) {
        if isEmpty { return }
        do {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
            try Files.write("\(directory)/\(Self.fileName)", Array(encoder.encode(self)))
        } catch {
            let cause = error as? SystemError
            throw ErrorMessage(
                RuntimeError.kind(cause?.code ?? 0), "what CRIU loses cannot be written down",
                cause: "\(error)")
        }
    }
}

extension SaveAttempt {
    /// Notes what CRIU loses, and what of it cannot be put back. Every process must stand still.
    func noteWhatIsLost() {
        let root = running.process.pid
        let reader = TaskAttributeReader(root: root)
        for process in tree.processes {
            if let attributes = reader.attributes(of: process) { lost.processes.append(attributes) }
        }
        warnings += TaskAttributeReader.lostPolicies(in: tree)
    }
}
