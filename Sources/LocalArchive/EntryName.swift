/// The name of an entry in a tar stream that is going to be unpacked here.
///
/// The stream comes out of a sandbox, whose inhabitants may have made it up: a name is only used when it
/// stays below the directory it is unpacked in.
struct EntryName: Equatable {
    /// The parts between the slashes, without `.`.
    let parts: [String]

    /// Takes a name apart; throws when it is absolute or climbs with `..`.
    init(_ name: String) throws(ArchiveError) {
        if name.hasPrefix("/") { throw ArchiveError("refused '\(name)' in the archive: it is absolute") }
        let parts = name.split(separator: "/").map(String.init).filter { $0 != "." }
        if parts.contains("..") { throw ArchiveError("refused '\(name)' in the archive: it climbs with ..") }
        self.parts = parts
    }

    /// The path that it gets when what it shares with `prefix` is replaced by `destination`.
    ///
    /// Throws when it does not lie below `prefix`.
    func path(replacing prefix: EntryName, by destination: String) throws(ArchiveError) -> String {
        guard parts.starts(with: prefix.parts) else {
            let name = parts.joined(separator: "/")
            throw ArchiveError("refused '\(name)' in the archive: it is not part of what was asked for")
        }
        return ([destination] + parts.dropFirst(prefix.parts.count)).joined(separator: "/")
    }
}
