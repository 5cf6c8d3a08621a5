/// The name of an entry in a tar stream that is going to be unpacked here. Names are bytes: Linux takes any.
///
/// The stream comes out of a sandbox, whose inhabitants may have made it up: a name is only used when it
/// stays below the directory it is unpacked in.
struct EntryName: Equatable {
    /// The parts between the slashes, without `.`.
    let parts: [[UInt8]]

    /// Takes a name apart; throws when it is absolute or climbs with `..`.
    init(_ name: [UInt8]) throws(ArchiveError) {
        let shown = String(decoding: name, as: UTF8.self)
        if name.first == UInt8(ascii: "/") {
            throw ArchiveError("refused '\(shown)' in the archive: it is absolute")
        }
        let parts = name.split(separator: UInt8(ascii: "/")).map { Array($0) }.filter { $0 != [46] }
        if parts.contains([46, 46]) {
            throw ArchiveError("refused '\(shown)' in the archive: it climbs with ..")
        }
        self.parts = parts
    }

    /// The parts that it gets when what it shares with `prefix` is replaced by `destination`.
    ///
    /// Throws when it does not lie below `prefix`.
    func parts(replacing prefix: EntryName, by destination: [[UInt8]]) throws(ArchiveError) -> [[UInt8]] {
        guard parts.starts(with: prefix.parts) else {
            let name = shown(Array(parts.joined(separator: [UInt8(ascii: "/")])))
            throw ArchiveError("refused '\(name)' in the archive: it is not part of what was asked for")
        }
        return destination + parts.dropFirst(prefix.parts.count)
    }
}
