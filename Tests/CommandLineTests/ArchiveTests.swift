import Foundation
import LocalArchive
import Testing

@Suite("Copying through tar streams")
struct ArchiveTests {
    let scratch: ScratchDirectory

    init() throws {
        scratch = try ScratchDirectory()
        for name in ["from", "to", "outside"] { mkdir("\(scratch.path)/\(name)", 0o755) }
    }

    var target: String { scratch.path + "/to" }

    func packed(_ path: String, as name: String) throws -> [UInt8] {
        var bytes: [UInt8] = []
        try packArchive(of: "\(scratch.path)/\(path)", named: name) { bytes += $0 }
        return bytes
    }

    @Test("A tree comes out as it went in: modes, times, links, holes")
    func roundTrip() throws {
        mkdir("\(scratch.path)/from/sub", 0o750)
        try scratch.write("text", to: "from/sub/file")
        chmod("\(scratch.path)/from/sub/file", 0o640)
        symlink("sub/file", "\(scratch.path)/from/soft")
        symlink("/nowhere", "\(scratch.path)/from/dangling")
        link("\(scratch.path)/from/sub/file", "\(scratch.path)/from/hard")
        mkfifo("\(scratch.path)/from/fifo", 0o600)
        try scratch.write("", to: "from/sparse")
        truncate("\(scratch.path)/from/sparse", 50_000_000)
        let old = [timeval(tv_sec: 1_000_000_000, tv_usec: 0), timeval(tv_sec: 1_000_000_000, tv_usec: 0)]
        utimes("\(scratch.path)/from/sub/file", old)
        utimes("\(scratch.path)/from/sub", old)

        let bytes = try packed("from", as: "copy")
        #expect(bytes.count < 1_000_000)
        let leftOut = try unpackArchive(from: pieces(of: bytes)) { top in
            #expect(top.isDirectory && top.name.hasPrefix("copy"))
            return ArchivePlace(in: target, as: "named")
        }
        #expect(leftOut.isEmpty)
        let file = try scratch.status(of: "to/named/sub/file")
        #expect(file.st_mode & 0o7777 == 0o640)
        #expect(file.st_mtim.tv_sec == 1_000_000_000)
        #expect(try scratch.status(of: "to/named/sub").st_mtim.tv_sec == 1_000_000_000)
        #expect(try scratch.status(of: "to/named/sub").st_mode & 0o7777 == 0o750)
        #expect(try scratch.text(of: "to/named/soft") == "text")
        #expect(try scratch.status(of: "to/named/hard").st_ino == file.st_ino)
        #expect(try scratch.status(of: "to/named/fifo").st_mode & S_IFMT == S_IFIFO)
        #expect(try scratch.status(of: "to/named/dangling").st_mode & S_IFMT == S_IFLNK)
        let sparse = try scratch.status(of: "to/named/sparse")
        #expect(sparse.st_size == 50_000_000)
        #expect(sparse.st_blocks < 1000)
    }

    @Test("One file may be renamed, and takes the place of another")
    func oneFile() throws {
        try scratch.write("new", to: "from/a")
        try scratch.write("old, and longer", to: "to/b")
        let bytes = try packed("from/a", as: "a")
        _ = try unpackArchive(from: pieces(of: bytes)) { top in
            let peeked = try archiveTop(from: pieces(of: bytes))
            #expect(top == peeked && !top.isDirectory)
            return ArchivePlace(in: target, as: "b")
        }
        #expect(try scratch.text(of: "to/b") == "new")
    }

    @Test("The contents of a directory leave the directory that takes them as it was")
    func contents() throws {
        try scratch.write("x", to: "from/x")
        chmod("\(scratch.path)/from", 0o700)
        chmod(target, 0o711)
        let bytes = try packed("from", as: "from")
        _ = try unpackArchive(from: pieces(of: bytes)) { _ in ArchivePlace(contentsIn: target) }
        #expect(try scratch.text(of: "to/x") == "x")
        #expect(try scratch.status(of: "to").st_mode & 0o7777 == 0o711)
    }

    @Test("A stream of contents alone has no entry for the directory itself")
    func contentsOnly() throws {
        try scratch.write("x", to: "from/x")
        let top = try archiveTop(from: pieces(of: packed("from", as: "")))
        #expect(top?.name == "x")
    }

    @Test(
        "Names that lead outside are refused",
        arguments: ["../evil", "top/../../evil", "/evil", "..", "other/x"])
    func climbing(name: String) throws {
        var tar = TarStream()
        tar.add("top/", type: "5", mode: 0o755)
        tar.add(name, content: "evil")
        #expect(throws: ArchiveError.self) { try tar.unpack { _ in ArchivePlace(contentsIn: target) } }
        #expect(!scratch.exists("evil") && !scratch.exists("to/evil"))
        #expect(access("/evil", F_OK) != 0)
    }

    @Test("Nothing is written through a symbolic link of the stream")
    func throughOwnLink() throws {
        var tar = TarStream()
        tar.add("top/", type: "5", mode: 0o755)
        tar.add("top/door", type: "2", link: "\(scratch.path)/outside")
        tar.add("top/door/evil", content: "evil")
        #expect(throws: ArchiveError.self) { try tar.unpack { _ in ArchivePlace(contentsIn: target) } }
        #expect(!scratch.exists("outside/evil"))
    }

    @Test("Nothing is written through a symbolic link that lies in the way")
    func throughOldLink() throws {
        symlink("\(scratch.path)/outside", "\(target)/door")
        var tar = TarStream()
        tar.add("top/", type: "5", mode: 0o755)
        tar.add("top/door/evil", content: "evil")
        #expect(throws: ArchiveError.self) { try tar.unpack { _ in ArchivePlace(contentsIn: target) } }
        #expect(!scratch.exists("outside/evil"))
    }

    @Test("A file replaces a symbolic link instead of being written to what it points at")
    func overLink() throws {
        try scratch.write("safe", to: "outside/file")
        symlink("\(scratch.path)/outside/file", "\(target)/file")
        var tar = TarStream()
        tar.add("file", content: "new")
        _ = try tar.unpack { _ in ArchivePlace(in: target, as: "file") }
        #expect(try scratch.text(of: "outside/file") == "safe")
        #expect(try scratch.text(of: "to/file") == "new")
    }

    @Test("A hard link cannot reach outside", arguments: ["../outside/file", "/etc/passwd", "outside/file"])
    func hardLink(target name: String) throws {
        try scratch.write("safe", to: "outside/file")
        var tar = TarStream()
        tar.add("top/", type: "5", mode: 0o755)
        tar.add("top/link", type: "1", link: name)
        #expect(throws: ArchiveError.self) { try tar.unpack { _ in ArchivePlace(contentsIn: target) } }
        #expect(!scratch.exists("to/link"))
    }

    @Test("A hard link through a symbolic link cannot reach outside")
    func hardLinkThroughLink() throws {
        try scratch.write("safe", to: "outside/file")
        var tar = TarStream()
        tar.add("top/", type: "5", mode: 0o755)
        tar.add("top/door", type: "2", link: "\(scratch.path)/outside")
        tar.add("top/link", type: "1", link: "top/door/file")
        #expect(throws: ArchiveError.self) { try tar.unpack { _ in ArchivePlace(contentsIn: target) } }
        #expect(!scratch.exists("to/link"))
        #expect(try scratch.status(of: "outside/file").st_nlink == 1)
    }

    @Test("Set-uid bits and device nodes stay behind")
    func dangerous() throws {
        var tar = TarStream()
        tar.add("top/", type: "5", mode: 0o2755)
        tar.add("top/su", mode: 0o6755, content: "#!")
        tar.add("top/disk", type: "4", mode: 0o666)
        tar.add("top/null", type: "3", mode: 0o666)
        #expect(try tar.unpack { _ in ArchivePlace(in: target, as: "top") } == ["top/disk", "top/null"])
        #expect(try scratch.status(of: "to/top/su").st_mode & 0o7777 == 0o755)
        #expect(try scratch.status(of: "to/top").st_mode & 0o7777 == 0o755)
        #expect(!scratch.exists("to/top/disk") && !scratch.exists("to/top/null"))
    }

    @Test("Without a place of its own every entry is unpacked under its own name")
    func ownNames() throws {
        chmod(target, 0o711)
        var tar = TarStream()
        tar.add("./", type: "5", mode: 0o700)
        tar.add("a", content: "a")
        tar.add("./b/", type: "5", mode: 0o750)
        tar.add("b/c", content: "c")
        #expect(try tar.unpack(into: target) == [])
        #expect(try scratch.text(of: "to/a") == "a" && scratch.text(of: "to/b/c") == "c")
        #expect(try scratch.status(of: "to").st_mode & 0o7777 == 0o711)
        #expect(try TarStream().unpack(into: target) == [])
        tar.add("../d", content: "evil")
        #expect(throws: ArchiveError.self) { try tar.unpack(into: target) }
        #expect(!scratch.exists("d"))
    }

    @Test("A stream without its end marker is an error even between two entries", arguments: [0, 512])
    func noEndMarker(zeros: Int) throws {
        var tar = TarStream()
        tar.add("a", content: "a")
        let bytes = tar.bytes + [UInt8](repeating: 0, count: zeros)
        #expect(throws: ArchiveError("the archive breaks off before its end")) {
            try unpackArchive(from: pieces(of: bytes), into: target)
        }
    }

    @Test("A stream that breaks off is an error")
    func brokenOff() throws {
        try scratch.write(String(repeating: "x", count: 100_000), to: "from/big")
        let bytes = try packed("from/big", as: "big")
        #expect(throws: ArchiveError.self) {
            try unpackArchive(from: pieces(of: Array(bytes.prefix(50_000)))) { _ in
                ArchivePlace(in: target, as: "big")
            }
        }
    }

    @Test("What reading or writing throws comes through")
    func foreignErrors() throws {
        struct Gone: Error {}
        try scratch.write("x", to: "from/x")
        #expect(throws: Gone.self) {
            try packArchive(of: "\(scratch.path)/from", named: "f") { _ in throw Gone() }
        }
        #expect(throws: Gone.self) {
            try unpackArchive(from: { throw Gone() }) { _ in ArchivePlace(contentsIn: target) }
        }
        #expect(throws: ArchiveError.self) { try packed("nothing", as: "x") }
    }
}
