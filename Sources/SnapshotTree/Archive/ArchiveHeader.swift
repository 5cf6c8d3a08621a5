import Digests
import FoundationEssentials
import Glibc
import LinuxSystem
import LocalArchive
import Messages

/// The first entry of an archive of snapshots: what is in it, and what its receiver must have already.
struct ArchiveHeader: Codable, Equatable {
    /// The version of the archive's own form.
    static let currentFormat = 1
    static let name = "ckpt-archive.json"
    /// The most bytes it is believed to have.
    static let limit: Int64 = 16 << 20

    struct Snapshot: Codable, Equatable {
        var id: String
        /// The manifest's own digest.
        var digest: Digest
        var tags: [String]
    }

    /// A layer, a process image or a program; `isIncluded` says that it follows.
    struct Part: Codable, Equatable {
        var kind: StoredObject.Kind
        var id: String
        var digest: String
        var isIncluded: Bool
    }

    var format = ArchiveHeader.currentFormat
    /// The version of the ckpt that wrote it.
    var ckpt = Product.version
    /// What /etc/os-release calls the machine's system, for those who meet files that are not the same.
    var system = hostSystem()
    /// Parents before their children; the last one is what was asked for.
    var snapshots: [Snapshot]
    var parts: [Part]
    /// Files of all kinds in the parts that follow, and the bytes of the regular ones, holes included.
    var entries = 0
    var bytes: Int64 = 0

    /// The header as it is written.
    func encoded() throws(SnapshotTreeError) -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
        do { return [UInt8](try encoder.encode(self)) + [UInt8(ascii: "\n")] } catch {
            throw .badArchive("its header cannot be written: \(error)")
        }
    }

    /// Reads what `encoded` wrote and checks what the import relies on.
    static func decoded(_ bytes: [UInt8]) throws(SnapshotTreeError) -> ArchiveHeader {
        let header: ArchiveHeader
        do {
            let format = try JSONDecoder().decode(FormatOnly.self, from: Data(bytes)).format
            guard format == currentFormat else {
                throw SnapshotTreeError.versionMismatch(
                    what: "the archive", found: "\(format)", expected: "\(currentFormat)")
            }
            header = try JSONDecoder().decode(ArchiveHeader.self, from: Data(bytes))
        } catch let error as SnapshotTreeError {
            throw error
        } catch {
            throw .badArchive("its header cannot be understood")
        }
        try header.check()
        return header
    }

    private struct FormatOnly: Codable {
        let format: Int
    }

    private func check() throws(SnapshotTreeError) {
        guard !snapshots.isEmpty else { throw .badArchive("there is no snapshot in it") }
        let ids = snapshots.map(\.id) + parts.filter { $0.kind != .program }.map(\.id)
        let programs = parts.filter { $0.kind == .program }.map(\.id)
        guard ids.allSatisfy(Identifier.isValid), programs.allSatisfy(Self.isProgram) else {
            throw .badArchive("an id in its header is no id")
        }
        guard Set(snapshots.map(\.id)).count == snapshots.count,
            Set(parts.map { "\($0.kind) \($0.id)" }).count == parts.count
        else { throw .badArchive("its header names something twice") }
        guard entries >= 0, bytes >= 0 else { throw .badArchive("its header has a size below 0") }
    }

    /// A version of ckpt-init is called by 16 hexadecimal digits.
    private static func isProgram(_ id: String) -> Bool {
        id.utf8.count == 16 && UInt64(id, radix: 16) != nil && id == id.lowercased() && !id.hasPrefix("+")
    }

    /// What /etc/os-release calls this machine's system.
    static func hostSystem() -> String {
        guard let bytes = try? Files.read("/etc/os-release") else { return "" }
        for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n")
        where line.hasPrefix("PRETTY_NAME=") {
            return String(line.dropFirst("PRETTY_NAME=".count).filter { $0 != "\"" })
        }
        return ""
    }
}

extension SnapshotTree {
    /// What /etc/os-release calls this machine's system, as archives record it; empty where it says nothing.
    public static func systemName() -> String { ArchiveHeader.hostSystem() }
}

/// Where the entries of an archive belong. Their names are the paths of the store.
enum ArchivePlace: Equatable {
    case header
    case manifest(snapshot: String)
    /// The digest list of a process image.
    case processList(snapshot: String)
    case layerList(String)
    case program(String)
    /// A file of a tree: of a layer, of a process image; its path below, none for the tree's own root.
    case tree(ArchiveTree, [[UInt8]])

    /// Takes an entry's name apart; throws where nothing of that name belongs into an archive.
    init(_ name: [UInt8]) throws(SnapshotTreeError) {
        let parts: [[UInt8]]
        do { parts = try ArchivedFile.parts(of: name) } catch { throw .badArchive(error.description) }
        let words = parts.prefix(3).map { String(decoding: $0, as: UTF8.self) }
        let below = Array(parts.dropFirst(words.first == "layers" ? 2 : 3))
        switch (words.first, words.count > 1 ? words[1] : "", words.count > 2 ? words[2] : "") {
        case (ArchiveHeader.name, "", ""): self = .header
        case ("layers", let id, _) where Identifier.isValid(id): self = .tree(.layer(id), below)
        case ("snapshots", let id, "process") where Identifier.isValid(id):
            self = .tree(.process(snapshot: id), below)
        case ("snapshots", let id, "manifest.json") where parts.count == 3: self = .manifest(snapshot: id)
        case ("snapshots", let id, Layout.digestsName) where parts.count == 3:
            self = .processList(snapshot: id)
        case ("digests", let id, "") where parts.count == 2: self = .layerList(id)
        case ("init", let id, "") where parts.count == 2: self = .program(id)
        default:
            throw .badArchive("'\(String(decoding: name, as: UTF8.self))' does not belong into one")
        }
    }
}

/// A directory tree of a store that an archive may hold.
enum ArchiveTree: Hashable {
    case layer(String)
    case process(snapshot: String)

    /// Its path below a store, and its name in an archive.
    var path: String {
        switch self {
        case .layer(let id): "layers/\(id)"
        case .process(let id): "snapshots/\(id)/process"
        }
    }

    /// The path of its digest list.
    var listPath: String {
        switch self {
        case .layer(let id): "digests/\(id)"
        case .process(let id): "snapshots/\(id)/\(Layout.digestsName)"
        }
    }

    /// Whether times are part of what it holds.
    var keepsTimes: Bool {
        if case .layer = self { true } else { false }
    }

    init?(_ part: ArchiveHeader.Part) {
        switch part.kind {
        case .layer: self = .layer(part.id)
        case .process: self = .process(snapshot: part.id)
        case .program: return nil
        }
    }
}
