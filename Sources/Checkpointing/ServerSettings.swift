import FoundationEssentials
import LinuxSystem
import Messages

/// What was chosen for a store's server, at `ROOT/settings.json`: a server that is started on first use has it too.
struct ServerSettings: Codable, Equatable {
    /// What survives a power cut; `Durability.standard` where nobody chose.
    var durability: Durability?

    private static let name = "settings.json"

    /// Reads them; what is not there or cannot be read is not chosen.
    init(root: String, report: (String) -> Void) {
        let path = "\(root)/\(Self.name)"
        guard let bytes = try? Files.read(path) else { return }
        do { self = try JSONDecoder().decode(Self.self, from: Data(bytes)) } catch {
            report("\(path) cannot be read and is not used: choose again with ckpt serve --durability")
        }
    }

    /// Chooses what is given and writes it down.
    mutating func choose(durability: Durability?, root: String) throws(ErrorMessage) {
        guard let durability, durability != self.durability else { return }
        self.durability = durability
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted]
        do {
            let bytes = [UInt8](try encoder.encode(self)) + [UInt8(ascii: "\n")]
            try Files.makeDirectory(root)
            try Files.replace("\(root)/\(Self.name)", bytes, durable: true)
        } catch {
            throw ErrorMessage(
                .internal, "the settings of \(root) cannot be written", cause: "\(error)")
        }
    }
}
