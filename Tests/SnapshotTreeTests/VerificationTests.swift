import CLinux
import Digests
import Glibc
import LinuxSystem
import Messages
import Testing

@testable import SnapshotTree

@Suite struct VerificationTests {
    let store: TemporaryStore
    init() throws { store = try TemporaryStore() }

    private func verify(_ tree: SnapshotTree, _ ids: [String]? = nil) throws -> VerifyReport {
        let verification = Verification(tree)
        for record in try tree.snapshots() where ids?.contains(record.id) ?? true {
            try verification.check(record)
        }
        return try verification.report()
    }

    /// A snapshot with something of every kind in its layer, and a child that shares files with it.
    private func makePair(_ tree: SnapshotTree) throws -> (SnapshotInfo, SnapshotInfo) {
        let staging = try tree.stage()
        try writeFile("\(staging.processPath)/core-1.img", "image")
        try writeFile("\(staging.processPath)/pages-70000.img", String(repeating: "p", count: 8192))
        try staging.makeLayer()
        let layer = staging.layerPath
        try writeFile("\(layer)/dir/file", "content")
        try writeFile("\(layer)/dir/a b%\u{e9}", "odd name")
        try writeFile("\(layer)/empty", "")
        try #require(symlink("file", "\(layer)/dir/link") == 0)
        try #require(mkfifo("\(layer)/fifo", 0o600) == 0)
        try #require(mknod("\(layer)/whiteout", S_IFCHR, 0) == 0)
        try #require(setxattr("\(layer)/dir", "trusted.overlay.opaque", "y", 1, 0) == 0)
        let parent = try tree.publish(staging, manifest: draft(), tag: "first")
        let next = try tree.stage()
        try writeFile("\(next.processPath)/core-1.img", "image of the child")
        try #require(mkdir("\(next.processPath)/parent", 0o700) == 0)
        let pages = "pages-70000.img"
        try #require(
            link(
                tree.processPath(parent.id) + "/" + pages, "\(next.processPath)/parent/\(pages)") == 0)
        let known = KnownDigests(processLinks: ["parent/\(pages)": pages])
        let child = try tree.publish(next, manifest: draft(parent: parent), known: known)
        return (parent, child)
    }

    /// The digest of a file with holes is that of its bytes.
    @Test(arguments: [
        [], [(5_000_000, "end")], [(0, "start"), (3_000_000, "")],
        [(0, "a"), (1_000_000, "b"), (4_000_000, "c")], [(262_144, "x"), (524_288, "y")], [(7, "no hole")],
    ])
    func holesCountAsZeros(parts: [(Int, String)]) throws {
        let path = try store.write("sparse", "")
        var bytes: [UInt8] = []
        let file = try Descriptor.open(path, O_WRONLY)
        for (at, text) in parts {
            #expect(ftruncate(file.raw, at) == 0 && lseek(file.raw, 0, SEEK_END) == at)
            try file.writeAll(Array(text.utf8))
            bytes += [UInt8](repeating: 0, count: at - bytes.count) + Array(text.utf8)
        }
        let directory = try Descriptor.directory(store.path)
        #expect(try DigestWalk.content(of: "sparse", in: directory.raw) == Digest(of: bytes))
        #expect(ftruncate(file.raw, bytes.count + 1_000_001) == 0)
        bytes += [UInt8](repeating: 0, count: 1_000_001)
        #expect(try DigestWalk.content(of: "sparse", in: directory.raw) == Digest(of: bytes))
    }

    @Test func whatIsSavedIsWhole() throws {
        let tree = try store.open()
        let (parent, child) = try makePair(tree)
        let report = try verify(tree)
        #expect(report.damage == [] && report.snapshots == [parent.id, child.id])
        #expect(report.files > 8 && report.bytes > 8192)
        for record in try tree.snapshots() {
            try tree.checkBeforeUse(record)
            let read = WorkCount()
            try tree.checkBeforeUse(record, thoroughly: true, counting: read)
            #expect(read.value > 8192, "the pages are read")
        }
    }

    /// Every file of the store that belongs to a snapshot, by path below it.
    private func storedFiles() throws -> [String] {
        var paths: [String] = []
        func collect(_ path: String) throws {
            for name in try Files.names(in: "\(store.root)/\(path)") {
                let status = try FileStatus("\(store.root)/\(path)/\(name)", follow: false)
                if status.isDirectory { try collect("\(path)/\(name)") }
                if status.isRegular, status.size > 0 { paths.append("\(path)/\(name)") }
            }
        }
        for top in ["snapshots", "layers", "digests"] { try collect(top) }
        return paths.sorted()
    }

    @Test func everyFlippedBitIsFound() throws {
        let tree = try store.open()
        let (parent, child) = try makePair(tree)
        let files = try storedFiles()
        #expect(files.count >= 9)
        for file in files {
            let path = "\(store.root)/\(file)"
            let bytes = try Files.read(path)
            var damaged = bytes
            damaged[bytes.count / 2] ^= 0x10
            var times = stat()
            try #require(lstat(path, &times) == 0)
            // In place: a link elsewhere has the same damage.
            try overwrite(path, damaged, times)
            let report = try verify(tree)
            let isNamed = report.damage.contains { damage in
                damage.path == file || damage.path.hasSuffix("pages-70000.img") || file.contains("%")
                    || file.contains(" ")
            }
            #expect(isNamed, "\(file): \(report.damage)")
            #expect(report.damage.count == 1, "\(file): \(report.damage)")
            let hurt = report.damage.first?.snapshots ?? []
            if file.hasPrefix("layers") || file.hasPrefix("digests") || file.hasSuffix("pages-70000.img") {
                #expect(hurt == [parent.id, child.id], "\(file)")
            } else {
                #expect(hurt == [file.contains(parent.id) ? parent.id : child.id], "\(file)")
            }
            try overwrite(path, bytes, times)
        }
        #expect(try verify(tree).damage == [])
    }

    private func overwrite(_ path: String, _ bytes: [UInt8], _ status: stat) throws {
        try Descriptor.open(path, O_WRONLY | O_TRUNC).writeAll(bytes)
        try #require(utimensat(AT_FDCWD, path, [status.st_atim, status.st_mtim], 0) == 0)
    }

    @Test func missingExtraSwappedAndChangedEntriesAreFound() throws {
        let tree = try store.open()
        let (parent, child) = try makePair(tree)
        let layer = tree.layerPath(parent.layers[0])
        let process = tree.processPath(child.id)
        func damage(_ command: String, undo: String) throws -> [String] {
            try #require(system(command) == 0)
            defer { _ = system(undo) }
            return try verify(tree).damage.map { "\($0.path.split(separator: "/").last!) \($0.problem)" }
        }
        #expect(
            try damage(
                "mv \(process)/core-1.img \(store.path)/x", undo: "mv \(store.path)/x \(process)/core-1.img")
                == ["core-1.img is missing"])
        #expect(
            try damage("touch \(process)/new", undo: "rm \(process)/new") == ["new does not belong there"])
        #expect(
            try damage("chmod 4755 \(layer)/empty", undo: "chmod 644 \(layer)/empty")
                == ["empty has mode 4755 and had 644"])
        #expect(
            try damage("chown 7:9 \(layer)/fifo", undo: "chown 0:0 \(layer)/fifo")
                == ["fifo belongs to 7:9 and did to 0:0"])
        #expect(
            try damage(
                "setfattr -x trusted.overlay.opaque \(layer)/dir",
                undo: "setfattr -n trusted.overlay.opaque -v y \(layer)/dir")
                == ["dir has other extended attributes than were saved"])
        #expect(
            try damage(
                "truncate -s 3 \(process)/core-1.img",
                undo: "printf 'image of the child' > \(process)/core-1.img")
                == ["core-1.img has 3 bytes and had 18"])
        let manifests = [parent, child].map { "\(store.root)/snapshots/\($0.id)/manifest.json" }
        let (one, other, aside) = (manifests[0], manifests[1], "\(store.path)/x")
        let swap = "mv \(one) \(aside); mv \(other) \(one); mv \(aside) \(other)"
        #expect(
            try damage(swap, undo: swap).sorted()
                == [parent, child].map { "manifest.json is that of snapshot \($0.id)" }.sorted())
        #expect(try verify(tree).damage == [])
    }

    @Test func restoreIsRefusedForWhatItWouldUse() throws {
        let tree = try store.open()
        let (parent, child) = try makePair(tree)
        let record = try #require(try tree.record(child.id))
        func refusal() -> SnapshotTreeError? {
            do throws(SnapshotTreeError) { try tree.checkBeforeUse(record) } catch { return error }
            return nil
        }
        let image = tree.processPath(child.id) + "/core-1.img"
        try writeFile(image, "image of the chilD")
        #expect(
            refusal()
                == .damagedSnapshot(
                    child.id, path: "snapshots/\(child.id)/process/core-1.img",
                    problem: "has other content than was saved"))
        try writeFile(image, "image of the child")
        #expect(refusal() == nil)
        let layer = "layers/\(parent.layers[0])"
        try #require(truncate("\(store.root)/\(layer)/dir/file", 2) == 0)
        #expect(
            refusal()
                == .damagedSnapshot(child.id, path: "\(layer)/dir/file", problem: "has 2 bytes and had 7"))
        #expect(refusal()?.message.code == .cannotRestore)
    }

    @Test func processImageIsReadAgainOnceAFileChanged() throws {
        let tree = try store.open()
        let (parent, child) = try makePair(tree)
        let record = try #require(try tree.record(child.id))
        try tree.checkProcess(record)
        try tree.checkProcess(record)
        // Its own is whole; what it inherits is a link to the parent's.
        let pages = tree.processPath(parent.id) + "/pages-70000.img"
        try writeFile(pages, String(repeating: "q", count: 8192))
        #expect(
            throws: SnapshotTreeError.damagedSnapshot(
                child.id, path: "snapshots/\(child.id)/process/parent/pages-70000.img",
                problem: "has other content than was saved")
        ) { try tree.checkProcess(record) }
        try writeFile(pages, String(repeating: "p", count: 8192))
        try tree.checkProcess(record)
        try #require(unlink(tree.processPath(child.id) + "/core-1.img") == 0)
        #expect(throws: SnapshotTreeError.self) { try tree.checkProcess(record) }
    }

    @Test func middleGoesAndItsChildrenStay() throws {
        let first: SnapshotInfo
        let children: [SnapshotInfo]
        do {
            let tree = try store.open()
            first = try tree.publish(layer: "first")
            let middle = try tree.publish(parent: first, layer: "middle")
            children = try (0..<2).map { _ in try tree.publish(parent: middle, layer: "child") }
            let result = try tree.delete(middle.id, keepingChildren: true)
            #expect(result.deleted == [middle.id])
            #expect(try tree.snapshots().map(\.parent) == [nil, first.id, first.id])
            #expect(try tree.resolve(reference: "\(children[0].id)~1").id == first.id)
            #expect(try verify(tree).damage == [])
            // Its layer stays with the children.
            #expect(exists(tree.layerPath(middle.layers[1])))
        }
        // The manifests say the same to a catalog that is made anew.
        for suffix in ["", "-wal", "-shm"] { unlink("\(store.root)/catalog.sqlite\(suffix)") }
        let tree = try store.open()
        #expect(tree.recovery.orphaned == [] && tree.recovery.damaged == [:])
        #expect(Set(try tree.snapshots().map(\.parent)) == [nil, first.id])
        #expect(try verify(tree).damage == [])
    }

    @Test func listIsReadAsItWasWritten() throws {
        let tree = try store.open()
        _ = try makePair(tree)
        for name in try names(in: "\(store.root)/digests") {
            let bytes = try Files.read("\(store.root)/digests/\(name)")
            let list = try #require(DigestList(bytes))
            #expect(list.encoded == bytes && list.entries.count == 8)
            #expect(list.entries["dir/a%20b%25%c3%a9"]?.size == 8)
            for length in 0..<bytes.count where DigestList(Array(bytes[..<length])) == list {
                // Only the last newline says nothing.
                #expect(length == bytes.count - 1)
            }
        }
        #expect(DigestList(Array("ckpt digests 2\n".utf8)) == nil)
    }
}
