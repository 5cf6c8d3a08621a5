public import Digests
import FoundationEssentials
public import Messages

/// What a snapshot is, as `snapshots/ID/manifest.json` keeps it: enough to rebuild the catalog from.
public struct Manifest: Codable, Equatable, Sendable {
    /// The version of the manifest's own form.
    public static let currentFormat = 2

    /// The version of this manifest's form; set by `publish`.
    public var formatVersion: Int
    /// The snapshot's id, 12 lowercase hexadecimal digits; set by `publish`.
    public var id: String
    /// The snapshot its sandbox last came from; nil where it came from the base.
    public var parent: String?
    /// The name of the sandbox it was saved from.
    public var sandbox: String
    /// When it was saved, seconds since 1970.
    public var created: Double
    /// What the person who saved it said about it.
    public var message: String?
    /// What its sandbox is made of.
    public var spec: SandboxSpec
    /// The layers over the base, lowest first; `publish` appends the one that this snapshot made.
    public var layers: [String]
    /// The layer that this snapshot made, nil where it made none; set by `publish`.
    public var ownLayer: String?
    /// Bytes on disk that the own layer added; set by `publish`.
    public var layerBytes: Int64
    /// Bytes on disk of the process image, without files it shares with other snapshots; set by `publish`.
    public var processBytes: Int64
    /// The crash that made it, where one did.
    public var crash: CrashInfo?
    /// What its memory takes, and how much of that it inherits; nil for a snapshot of files alone.
    public var memory: MemoryInfo?
    /// The digest of the list of its process image's digests; set by `publish`.
    public var processDigest: Digest?
    /// The digests of its layers' digest lists, by layer; set by `publish`.
    public var layerDigests: [String: Digest]
    /// The digest of the manifest itself, encoded without this field; set by `publish`.
    public var digest: Digest?
    /// How many processes it holds, PID 1 included; 0 for a snapshot of files alone.
    public var processes: Int
    /// What the save took.
    public var timings: Timings?
    /// What the host's CLOCK_BOOTTIME showed when everything stood still, in seconds.
    public var hostBoottime: Double?
    /// The machine's architecture, as uname(2) calls it.
    public var architecture: String
    /// The kernel's release, as uname(2) calls it.
    public var kernel: String
    /// The version of the CRIU that wrote the process image.
    public var criu: String
    /// The processor's model, as /proc/cpuinfo calls it.
    public var cpu: String
    /// The extensions of the instruction set that programs could use, as /proc/cpuinfo calls them, sorted.
    public var cpuFeatures: [String]
    /// Bytes on disk of the process image's files that other snapshots have too; set by `publish`.
    public var processSharedBytes: Int64
    /// Bytes on disk of the own layer, files that it shares with other layers included; set by `publish`.
    public var layerTotalBytes: Int64
    /// What the engine keeps for itself, as JSON; the tree does not look into it.
    public var engine: String?

    /// A manifest to publish; `publish` fills in the id, the own layer and the sizes.
    public init(
        parent: String?, sandbox: String, created: Double, message: String? = nil, spec: SandboxSpec,
        layers: [String], processes: Int, timings: Timings? = nil, architecture: String, kernel: String,
        criu: String, engine: String? = nil, memory: MemoryInfo? = nil, cpu: String = "",
        cpuFeatures: [String] = []
    ) {
        formatVersion = Self.currentFormat
        id = ""
        self.parent = parent
        self.sandbox = sandbox
        self.created = created
        self.message = message
        self.spec = spec
        self.layers = layers
        ownLayer = nil
        layerBytes = 0
        processBytes = 0
        processDigest = nil
        processSharedBytes = 0
        layerTotalBytes = 0
        self.cpu = cpu
        self.cpuFeatures = cpuFeatures
        layerDigests = [:]
        digest = nil
        self.memory = memory
        self.processes = processes
        self.timings = timings
        self.architecture = architecture
        self.kernel = kernel
        self.criu = criu
        self.engine = engine
    }

    /// The manifest as it is written to disk: JSON with sorted keys, one to a line.
    func encoded() throws(SnapshotTreeError) -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
        do {
            return [UInt8](try encoder.encode(self)) + [UInt8(ascii: "\n")]
        } catch {
            throw .badManifest("the manifest cannot be written as JSON: \(error)")
        }
    }

    /// The same manifest with its digest.
    func sealed() throws(SnapshotTreeError) -> Manifest {
        var (bare, sealed) = (self, self)
        bare.digest = nil
        sealed.digest = Digest(of: try bare.encoded())
        return sealed
    }

    /// Throws `damaged` unless these bytes are what it was written as.
    func checkSealed(_ bytes: [UInt8], from path: String) throws(SnapshotTreeError) {
        guard digest != nil, try sealed() == self, try encoded() == bytes else {
            throw .damaged(what: path, reason: "its digest is another one")
        }
    }

    /// Reads what `encoded` wrote and checks what the tree relies on.
    static func decoded(_ bytes: [UInt8], from path: String) throws(SnapshotTreeError) -> Manifest {
        let manifest: Manifest
        do {
            let version = try JSONDecoder().decode(FormatOnly.self, from: Data(bytes)).formatVersion
            guard version == currentFormat else {
                throw SnapshotTreeError.versionMismatch(
                    what: path, found: "\(version)", expected: "\(currentFormat)")
            }
            manifest = try JSONDecoder().decode(Manifest.self, from: Data(bytes))
        } catch let error as SnapshotTreeError {
            throw error
        } catch {
            throw .damaged(what: path, reason: "it is no manifest")
        }
        let identifiers =
            [manifest.id] + manifest.layers + [manifest.parent, manifest.ownLayer].compactMap { $0 }
        guard identifiers.allSatisfy(Identifier.isValid) else {
            throw .damaged(what: path, reason: "an id in it is no id")
        }
        return manifest
    }

    private struct FormatOnly: Codable {
        let formatVersion: Int
    }
}
