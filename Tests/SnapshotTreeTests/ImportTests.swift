import CLinux
import Digests
import Glibc
import LinuxSystem
import LocalArchive
import Messages
import Testing

@testable import SnapshotTree

private let programs = ArchivePrograms(
    needed: { (_) throws(SnapshotTreeError) in [] }, problem: { _, _ in "is not wanted" })

/// Archives of snapshots, from one store to another.
@Suite struct ImportTests {
    /// Two stores below one directory.
    private final class Stores {
        let from = TemporaryStoreBox()
        let to = TemporaryStoreBox()
    }

    /// A store and its tree.
    private final class TemporaryStoreBox {
        let store = try! TemporaryStore()
        lazy var tree = try! store.open()
    }

    private func export(
        _ tree: SnapshotTree, _ ids: [String], have: Set<StoredObject> = [], level: Int = 0
    ) throws -> [UInt8] {
        var bytes: [UInt8] = []
        let records = try ids.map { try #require(try tree.record($0)) }
        try tree.export(records, have: have, programs: programs, level: level) { bytes += $0 }
        return bytes
    }

    @discardableResult
    private func take(
        _ bytes: [UInt8], into tree: SnapshotTree, tag: String? = nil, mostBytes: Int64 = 1 << 40,
        step: @escaping ImportHook = { (_) throws(SnapshotTreeError) in }
    ) throws -> SnapshotTree.Imported {
        var rest = bytes[...]
        return try tree.importArchive(
            tag: tag, mostBytes: mostBytes, programs: programs,
            from: {
                defer { rest = rest.dropFirst(7000) }
                return Array(rest.prefix(7000))
            }, step: step)
    }

    /// The archive with entries changed: `edit` gets each with its data, and says whether it stays.
    private func edit(
        _ bytes: [UInt8], _ edit: (inout ArchivedFile, inout [UInt8]) throws -> Bool
    ) throws -> [UInt8] {
        var rest: [UInt8]? = bytes
        let reader = try ArchiveReader {
            defer { rest = nil }
            return rest ?? []
        }
        var edited: [UInt8] = []
        let writer = try ArchiveWriter(level: 0) { edited += $0 }
        while var file = try reader.next() {
            var data: [UInt8] = []
            if file.type == UInt32(S_IFREG), file.hardLink == nil {
                data = [UInt8](repeating: 0, count: Int(file.size))
                try reader.readData({ (offset, piece) throws(ArchiveError) in
                    data.replaceSubrange(Int(offset)..<Int(offset) + piece.count, with: piece)
                }) { $0 }
            }
            let before = data.count
            guard try edit(&file, &data) else { continue }
            if data.count != before { file.size = Int64(data.count) }
            try writer.add(file)
            if file.size > 0 { try data.withUnsafeBytes { try writer.write($0) } }
        }
        try writer.finish()
        return edited
    }

    /// What lies in a store, without what changes by itself.
    private func content(_ store: TemporaryStore) throws -> [String] {
        try ["layers", "digests", "snapshots", "staging", "init"].flatMap { directory -> [String] in
            let path = "\(store.root)/\(directory)"
            return exists(path) ? try names(in: path).map { "\(directory)/\($0)" } : []
        }
    }

    /// A layer with everything that one can hold.
    private func oddSnapshot(_ tree: SnapshotTree, parent: SnapshotInfo? = nil) throws -> SnapshotInfo {
        let staging = try tree.stage()
        try writeFile("\(staging.processPath)/core-1.img", "image")
        try writeFile("\(staging.processPath)/pages-70000.img", String(repeating: "p", count: 9000))
        try staging.makeLayer()
        let layer = staging.layerPath
        for name in ["d", "d/opaque"] { mkdir("\(layer)/\(name)", 0o751) }
        try writeFile("\(layer)/d/file", "text")
        try writeFile("\(layer)/empty", "")
        link("\(layer)/d/file", "\(layer)/d/opaque/twin")
        symlink("/etc/passwd", "\(layer)/d/link")
        symlink(String(repeating: "x", count: 3000), "\(layer)/long")
        mkfifo("\(layer)/fifo", 0o600)
        mknod("\(layer)/gone", S_IFCHR, 0)
        mknod("\(layer)/null", S_IFCHR | 0o666, 0x103)
        mknod("\(layer)/socket", S_IFSOCK | 0o750, 0)
        try writeFile("\(layer)/we\u{e9}ird \n=%name", "odd")
        let bytes: [CChar] = Array("\(layer)/".utf8CString.dropLast()) + [-1, -2, 0]
        close(open(bytes, O_CREAT | O_WRONLY, 0o600))
        setxattr("\(layer)/d/opaque", "trusted.overlay.opaque", "y", 1, 0)
        setxattr("\(layer)/d/file", "user.a=b", "\u{1}\n", 2, 0)
        let capability: [UInt8] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        setxattr("\(layer)/empty", "security.capability", capability, capability.count, 0)
        lchown("\(layer)/d/link", 1234, 5678)
        chown("\(layer)/d/file", 70_000, 3_000_000_000)
        chmod("\(layer)/d/file", 0o4755)
        let sparse = open("\(layer)/sparse", O_CREAT | O_WRONLY, 0o600)
        pwrite(sparse, "in", 2, 5 << 20)
        ftruncate(sparse, 9 << 20)
        close(sparse)
        // Deeper than a path may be long.
        var deep = try Descriptor.directory(layer)
        let name = String(repeating: "n", count: 100)
        for _ in 0..<60 {
            mkdirat(deep.raw, name, 0o700)
            deep = try Descriptor.open(name, below: deep, O_RDONLY | O_DIRECTORY)
        }
        try Descriptor.open("bottom", below: deep, O_WRONLY | O_CREAT).writeAll(Array("down".utf8))
        // Times of a second are set last, directories included.
        for name in ["d/file", "sparse", "d/opaque", "d", "fifo", "null", "d/link"] {
            let times = [
                timespec(tv_sec: 1_600_000_000, tv_nsec: 123), timespec(tv_sec: 13_569_465_600, tv_nsec: 7),
            ]
            utimensat(AT_FDCWD, "\(layer)/\(name)", times, AT_SYMLINK_NOFOLLOW)
        }
        return try tree.publish(staging, manifest: draft(parent: parent), tag: "odd")
    }

    @Test(arguments: [0, 1]) func everythingALayerHoldsArrives(_ level: Int) throws {
        let stores = Stores()
        let saved = try oddSnapshot(stores.from.tree)
        let archive = try export(stores.from.tree, [saved.id], level: level)
        let result = try take(archive, into: stores.to.tree)
        #expect(result.imported == [saved.id])
        let record = try #require(try stores.to.tree.record(saved.id))
        #expect(record.manifest == (try stores.from.tree.record(saved.id)?.manifest))
        #expect(record.tags == ["odd"])
        let verification = Verification(stores.to.tree)
        try verification.check(record)
        #expect(try verification.report().damage == [])
        // What the digest lists do not know.
        let layer = stores.to.tree.layerPath(saved.layers[0])
        var (file, twin, sparse) = (stat(), stat(), stat())
        lstat("\(layer)/d/file", &file)
        lstat("\(layer)/d/opaque/twin", &twin)
        lstat("\(layer)/sparse", &sparse)
        #expect(file.st_ino == twin.st_ino && file.st_nlink == 2)
        #expect(file.st_atim.tv_sec == 1_600_000_000 && file.st_atim.tv_nsec == 123)
        #expect(file.st_mtim.tv_sec == 13_569_465_600 && file.st_mtim.tv_nsec == 7)
        #expect(sparse.st_size == 9 << 20 && sparse.st_blocks * 512 < 1 << 20)
        // Once more is no error and changes nothing.
        let before = try content(stores.to.store)
        let again = try take(archive, into: stores.to.tree, tag: "second")
        #expect(again.imported == [] && again.known == [saved.id])
        #expect(try stores.to.tree.record(saved.id)?.tags == ["odd", "second"])
        #expect(try content(stores.to.store) == before)
    }

    @Test func parentsAreLinkedWheneverTheyCome() throws {
        let stores = Stores()
        let root = try stores.from.tree.publish(layer: "one")
        let middle = try stores.from.tree.publish(parent: root, layer: "two")
        let tip = try stores.from.tree.publish(parent: middle)
        try take(export(stores.from.tree, [tip.id]), into: stores.to.tree)
        #expect(try stores.to.tree.record(tip.id)?.parent == nil)
        try take(export(stores.from.tree, [root.id]), into: stores.to.tree)
        try take(export(stores.from.tree, [middle.id]), into: stores.to.tree)
        #expect(try stores.to.tree.rollout(to: tip.id).map(\.id) == [root.id, middle.id, tip.id])
        // All at once, into a third store.
        let third = TemporaryStoreBox()
        let result = try take(
            export(stores.from.tree, [root.id, middle.id, tip.id]), into: third.tree, tag: "tip")
        #expect(result.imported == [root.id, middle.id, tip.id] && result.snapshot == tip.id)
        #expect(try third.tree.rollout(to: tip.id).map(\.id) == [root.id, middle.id, tip.id])
        #expect(try third.tree.record(tip.id)?.tags == ["tip"])
    }

    @Test(arguments: [Durability.none, .snapshot]) func anImportIsAsDurableAsItsStore(_ level: Durability)
        throws
    {
        let (from, to) = (try TemporaryStore(), try TemporaryStore())
        let source = try from.open()
        let archive = try export(source, [try oddSnapshot(source).id])
        let tree = try to.open(level)
        let id = try take(archive, into: tree).snapshot
        func marks() throws -> [String] {
            try names(in: "\(to.root)/snapshots/\(id)").filter { ["boot", "durable"].contains($0) }
        }
        #expect(try marks() == [level == .none ? "boot" : "durable"])
        tree.close()
        #expect(try marks() == ["durable"])
    }

    @Test func whatTheReceiverHasNeedNotTravel() throws {
        let stores = Stores()
        let big = String((0..<20_000).map { _ in "abcdefghij".randomElement()! })
        let root = try stores.from.tree.publish(layer: big)
        let staging = try stores.from.tree.stage()
        // An inherited pages file is a link, as the engine makes it.
        mkdir("\(staging.processPath)/parent", 0o700)
        link(
            "\(stores.from.tree.processPath(root.id))/core-1.img", "\(staging.processPath)/parent/core-1.img")
        try writeFile("\(staging.processPath)/own.img", "own")
        let tip = try stores.from.tree.publish(staging, manifest: draft(parent: root))
        let whole = try export(stores.from.tree, [tip.id])
        #expect(whole.count > 20_000)
        try take(export(stores.from.tree, [root.id]), into: stores.to.tree)
        let have = try stores.to.tree.objects(of: stores.to.tree.snapshots(), programs: programs)
        let small = try export(stores.from.tree, [tip.id], have: Set(have))
        #expect(small.count < 16_000)
        // Elsewhere it is refused, and nothing of it stays.
        let third = TemporaryStoreBox()
        _ = third.tree
        let before = try content(third.store)
        #expect(throws: SnapshotTreeError.self) { try take(small, into: third.tree) }
        #expect(try content(third.store) == before)
        let result = try take(small, into: stores.to.tree)
        #expect(result.imported == [tip.id] && result.newObjects == 1)
        var (here, there) = (stat(), stat())
        lstat("\(stores.to.tree.processPath(root.id))/core-1.img", &here)
        lstat("\(stores.to.tree.processPath(tip.id))/parent/core-1.img", &there)
        #expect(here.st_ino == there.st_ino)
        let verification = Verification(stores.to.tree)
        for record in try stores.to.tree.snapshots() { try verification.check(record) }
        #expect(try verification.report().damage == [])
    }

    @Test func damagedArchiveIsRefusedWhole() throws {
        let stores = Stores()
        let saved = try oddSnapshot(stores.from.tree)
        _ = stores.to.tree
        let before = try content(stores.to.store)
        let plain = try export(stores.from.tree, [saved.id])
        let packed = try export(stores.from.tree, [saved.id], level: 3)
        func refused(_ bytes: [UInt8], _ what: String) throws {
            #expect(throws: SnapshotTreeError.self, "\(what)") { try take(bytes, into: stores.to.tree) }
            #expect(try content(stores.to.store) == before, "\(what)")
        }
        for part in 0..<20 {
            try refused(Array(packed.prefix(packed.count * part / 20)), "\(part) twentieths")
            try refused(Array(plain.prefix((plain.count - 2048) * part / 20)), "\(part) twentieths, plain")
        }
        try refused([], "nothing")
        try refused(Array("garbage".utf8) + [UInt8](repeating: 7, count: 5000), "garbage")
        try refused([UInt8](repeating: 0, count: 10_240), "zeros")
        // Every bit that matters is held to a digest: some are chosen, and what is taken in all the same is whole.
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<60 {
            var bytes = plain
            bytes[Int.random(in: 0..<bytes.count, using: &generator)] ^= 1 << UInt8.random(in: 0...7)
            if (try? take(bytes, into: stores.to.tree)) != nil {
                let verification = Verification(stores.to.tree)
                try verification.check(try #require(try stores.to.tree.record(saved.id)))
                #expect(try verification.report().damage == [])
                _ = try stores.to.tree.delete(saved.id)
                stores.to.tree.waitUntilRemoved()
            }
            #expect(try content(stores.to.store) == before)
        }
    }

    @Test func hostileEntriesAreRefused() throws {
        let stores = Stores()
        let saved = try oddSnapshot(stores.from.tree)
        _ = stores.to.tree
        let before = try content(stores.to.store)
        let good = try export(stores.from.tree, [saved.id])
        let layer = "layers/\(saved.layers[0])"
        func name(_ file: ArchivedFile) -> String { String(decoding: file.name, as: UTF8.self) }
        func refused(
            _ what: String, says: String? = nil, _ change: (inout ArchivedFile, inout [UInt8]) throws -> Bool
        ) throws {
            let bytes = try edit(good, change)
            do {
                try take(bytes, into: stores.to.tree)
                Issue.record("\(what) was taken in")
            } catch let error as SnapshotTreeError {
                if let says { #expect(error.description.contains(says), "\(what): \(error)") }
            }
            #expect(try content(stores.to.store) == before, "\(what)")
            #expect(!exists("\(stores.to.store.path)/out"), "\(what)")
        }
        func renamed(_ to: String, says: String) throws {
            try refused(to, says: says) { file, _ in
                if name(file) == "\(layer)/d/file" { file.name = Array(to.utf8) }
                return true
            }
        }
        try renamed("/tmp/out", says: "absolute")
        try renamed("\(layer)/../../../../out", says: "climbs")
        try renamed("\(layer)/d/link/out", says: "not in its list")
        try renamed("\(layer)/other", says: "not in its list")
        try renamed("layers/0123456789ab/file", says: "does not name")
        try renamed("sandboxes/x/file", says: "does not belong")
        try refused("a link out", says: "link out of it") { file, _ in
            if file.hardLink != nil { file.hardLink = Array("snapshots/\(saved.id)/manifest.json".utf8) }
            return true
        }
        try refused("a link up", says: "climbs") { file, _ in
            if file.hardLink != nil { file.hardLink = Array("\(layer)/../../../format".utf8) }
            return true
        }
        try refused("a directory that is a link now", says: "another type") { file, _ in
            if name(file) == "\(layer)/d/" {
                file.mode = UInt32(S_IFLNK) | 0o777
                file.target = Array("/tmp".utf8)
            }
            return true
        }
        try refused("a device instead of a file", says: "another type") { file, data in
            if name(file) == "\(layer)/empty" {
                (file.mode, file.device, file.attributes) = (UInt32(S_IFBLK) | 0o666, 0x800, [])
            }
            return true
        }
        try refused("another device", says: "another device") { file, _ in
            if name(file) == "\(layer)/null" { file.device = 0x101 }
            return true
        }
        try refused("more data", says: "bytes and its list says") { file, data in
            if name(file) == "\(layer)/d/file" || file.name.suffix(4) == Array("twin".utf8)[...] {
                if file.hardLink == nil { data += [1] }
            }
            return true
        }
        try refused("other data", says: "other content") { file, data in
            if name(file).hasSuffix("/bottom") { data[0] ^= 1 }
            return true
        }
        try refused("a missing file", says: "is missing") { file, _ in !name(file).hasSuffix("/bottom") }
        try refused("another owner", says: "belongs to") { file, _ in
            if name(file) == "\(layer)/fifo" { file.owner = 12 }
            return true
        }
        try refused("a set-uid bit", says: "has mode") { file, _ in
            if name(file) == "\(layer)/empty" { file.mode |= 0o4000 }
            return true
        }
        try refused("another attribute", says: "extended attributes") { file, _ in
            if name(file) == "\(layer)/d/opaque/" { file.attributes = [] }
            return true
        }
        try refused("another manifest", says: "other content") { file, data in
            if name(file).hasSuffix("manifest.json") { data[data.count / 2] ^= 1 }
            return true
        }
        try refused("another list", says: "other content") { file, data in
            if name(file).hasPrefix("digests/") { data[data.count / 2] ^= 1 }
            return true
        }
        try refused("no manifest", says: "is missing") { file, _ in !name(file).hasSuffix("manifest.json") }
        try refused("a header of another version", says: "format 9") { file, data in
            if name(file) == ArchiveHeader.name {
                data = Array(
                    String(decoding: data, as: UTF8.self).replacing("\"format\" : 1", with: "\"format\" : 9")
                        .utf8)
            }
            return true
        }
        try refused("a header that lies about the size", says: "its lists") { file, data in
            if name(file) == ArchiveHeader.name {
                var header = try ArchiveHeader.decoded(data)
                header.bytes = 1
                data = try header.encoded()
            }
            return true
        }
        #expect {
            try take(good, into: stores.to.tree, mostBytes: 1 << 20)
        } throws: { "\($0)".contains("more than the 1048576 that are allowed") }
        #expect(try content(stores.to.store) == before)
        // The same bytes in the same clothes are fine.
        try take(edit(good) { _, _ in true }, into: stores.to.tree)
        #expect(try stores.to.tree.record(saved.id) != nil)
    }

    /// A list may be forged with its manifest: what it allows is still bounded.
    @Test func forgedListsAllowNoDevicesAndNoBombs() throws {
        let stores = Stores()
        for (mode, size) in [(UInt32(S_IFBLK) | 0o666, Int64(0x800)), (UInt32(S_IFREG) | 0o600, -5)] {
            let saved = try stores.from.tree.publish(layer: "text \(size)")
            var manifest = try #require(try stores.from.tree.record(saved.id)).manifest
            let layer = saved.layers[0]
            var list = try stores.from.tree.list(of: .layer(layer), manifest.layerDigests[layer])
            list.entries["file"]!.mode = mode
            list.entries["file"]!.size = size
            manifest.layerDigests[layer] = Digest(of: list.encoded)
            manifest = try manifest.sealed()
            let forged = try edit(try export(stores.from.tree, [saved.id])) { file, data in
                let name = String(decoding: file.name, as: UTF8.self)
                if name == "digests/\(layer)" { data = list.encoded }
                if name.hasSuffix("manifest.json") { data = try manifest.encoded() }
                if name == ArchiveHeader.name {
                    var header = try ArchiveHeader.decoded(data)
                    header.snapshots[0].digest = manifest.digest!
                    for index in header.parts.indices where header.parts[index].id == layer {
                        header.parts[index].digest = Digest(of: list.encoded).description
                    }
                    data = try header.encoded()
                }
                return true
            }
            #expect {
                try take(forged, into: stores.to.tree)
            } throws: {
                "\($0)".contains("does not belong there") || "\($0)".contains("describes no directory")
            }
            #expect(try content(stores.to.store) == [])
        }
    }

    @Test func otherContentUnderTheSameIdIsRefused() throws {
        let stores = Stores()
        let saved = try stores.from.tree.publish(layer: "text", tag: "mine")
        let archive = try export(stores.from.tree, [saved.id])
        try take(archive, into: stores.to.tree)
        var other = try #require(try stores.from.tree.record(saved.id)).manifest
        other.message = "another one"
        other = try other.sealed()
        let forged = try edit(archive) { file, data in
            let name = String(decoding: file.name, as: UTF8.self)
            if name.hasSuffix("manifest.json") { data = try other.encoded() }
            if name == ArchiveHeader.name {
                var header = try ArchiveHeader.decoded(data)
                header.snapshots[0].digest = other.digest!
                data = try header.encoded()
            }
            return true
        }
        #expect(throws: SnapshotTreeError.otherContent("snapshot \(saved.id)")) {
            try take(forged, into: stores.to.tree)
        }
        // A tag that is somebody else's here is left out; one that was asked for is refused.
        let third = TemporaryStoreBox()
        let holder = try third.tree.publish(layer: "else", tag: "mine")
        #expect(throws: SnapshotTreeError.tagTaken("mine", by: holder.id)) {
            try take(archive, into: third.tree, tag: "mine")
        }
        #expect(try take(archive, into: third.tree).takenTags == ["mine"])
        #expect(try third.tree.record(saved.id)?.tags == [])
    }

    @Test func aCircleOfParentsIsNotClosed() throws {
        let stores = Stores()
        let one = try stores.from.tree.publish()
        let two = try stores.from.tree.publish(parent: one)
        var manifest = try #require(try stores.from.tree.record(one.id)).manifest
        manifest.parent = two.id
        manifest = try manifest.sealed()
        let forged = try edit(try export(stores.from.tree, [one.id])) { file, data in
            let name = String(decoding: file.name, as: UTF8.self)
            if name.hasSuffix("manifest.json") { data = try manifest.encoded() }
            if name == ArchiveHeader.name {
                var header = try ArchiveHeader.decoded(data)
                header.snapshots[0].digest = manifest.digest!
                data = try header.encoded()
            }
            return true
        }
        try take(forged, into: stores.to.tree)
        try take(export(stores.from.tree, [two.id]), into: stores.to.tree)
        #expect(try stores.to.tree.rollout(to: two.id).map(\.id) == [one.id, two.id])
        #expect(try stores.to.tree.rollout(to: one.id).map(\.id) == [one.id])
    }

    @Test(arguments: ImportStep.allCases) func aFailureAtAnyStepLeavesNothing(_ failing: ImportStep) throws {
        let stores = Stores()
        let root = try stores.from.tree.publish(layer: "one")
        let tip = try stores.from.tree.publish(parent: root, layer: "two", tag: "tip")
        let mine = try stores.to.tree.publish(layer: "mine")
        let before = try content(stores.to.store)
        let archive = try export(stores.from.tree, [root.id, tip.id])
        let failure = SnapshotTreeError.noSpace(SystemError(call: "write", code: ENOSPC))
        #expect(throws: failure) {
            try take(archive, into: stores.to.tree) { (step) throws(SnapshotTreeError) in
                if step == failing { throw failure }
            }
        }
        #expect(try content(stores.to.store) == before)
        #expect(try stores.to.tree.snapshots().map(\.id) == [mine.id])
        #expect(try stores.to.tree.gc().removed == [])
        try take(archive, into: stores.to.tree)
        #expect(try stores.to.tree.record(tip.id)?.tags == ["tip"])
    }

    @Test func twoImportsAtOnceDoNotMeet() throws {
        let stores = Stores()
        let root = try stores.from.tree.publish(layer: "shared")
        let others = try (0..<4).map { try stores.from.tree.publish(parent: root, layer: "own \($0)") }
        let archives = try others.map { try export(stores.from.tree, [$0.id]) }
        let tree = stores.to.tree
        let done = Monitor(0)
        let failures = Monitor<[String]>([])
        for index in 0..<8 {
            let archive = archives[index / 2]
            startThread {
                do { try ImportTests().take(archive, into: tree) } catch {
                    if case SnapshotTreeError.importUnderWay = error {
                    } else {
                        failures.with { $0.append("\(error)") }
                    }
                }
                done.with(wake: true) { $0 += 1 }
            }
        }
        done.wait { $0 == 8 ? () : nil }
        #expect(failures.with { $0 } == [])
        #expect(Set(try tree.snapshots().map(\.id)) == Set(others.map(\.id)))
        let verification = Verification(tree)
        for record in try tree.snapshots() { try verification.check(record) }
        #expect(try verification.report().damage == [])
        #expect(try names(in: "\(stores.to.store.root)/staging") == [])
    }
}
