import Glibc
import LinuxSystem
import Testing

@testable import SnapshotTree

@Suite struct LayerCaptureTests {
    let overlay: OverlayFixture
    init() throws { overlay = try OverlayFixture() }

    private func capture(
        _ layer: String, previous: LayerCapture.Previous? = nil, hot: [String] = []
    ) throws -> LayerCapture.Captured? {
        let capture = LayerCapture(upper: overlay.upper, layer: layer)
        switch try capture.capture(previous: previous, hot: hot.map { Array($0.utf8) }) {
        case .captured(let captured): return captured
        case .unchanged: return nil
        }
    }

    /// Lets what was written so far become older than what a capture takes for proof.
    private func settle() { usleep(30_000) }

    @Test func layerIsExactlyTheUpperDirectory() throws {
        try python(OverlayFixture.makeChanges, overlay.merged)
        let seen = try python(OverlayFixture.fingerprint, overlay.merged, "view")
        let layer = overlay.newLayer()
        let captured = try #require(try capture(layer))
        let upper = try python(OverlayFixture.fingerprint, overlay.upper)
        let copy = try python(OverlayFixture.fingerprint, layer)
        expectSame(copy, upper)
        // What the comparison relies on is really there.
        for sign in [
            "whiteout", "overlay.opaque", "overlay.redirect", "overlay.metacopy", "capability", "posix_acl",
        ] {
            #expect(copy.contains(sign), "\(sign)")
        }
        #expect(captured.entries == upper.split(separator: "\n").count - 1)
        umount2(overlay.merged, Int32(MNT_DETACH))
        expectSame(try overlay.view(through: layer), seen)
    }

    @Test func attributesOfOneUpperDirectoryAreLeftOut() throws {
        try python(OverlayFixture.makeChanges, overlay.merged)
        let layer = overlay.newLayer()
        _ = try capture(layer)
        let names = """
            import os, sys
            for d, ds, fs in os.walk(sys.argv[1]):
                for f in [d] + [d + "/" + f for f in fs]: print(os.listxattr(f, follow_symlinks=False))
            """
        let upper = try python(names, overlay.upper)
        let copy = try python(names, layer)
        #expect(upper.contains("trusted.overlay.origin") && upper.contains("trusted.overlay.impure"))
        #expect(!copy.contains("trusted.overlay.origin") && !copy.contains("trusted.overlay.impure"))
    }

    /// Also where the kernel's clock for files has not ticked in between.
    @Test func aChangeRightAfterACaptureIsSeen() throws {
        let file = try Descriptor.open("\(overlay.merged)/counter", O_WRONLY | O_CREAT)
        var previous: LayerCapture.Previous?
        for number in 1000..<1300 {
            #expect(pwrite(file.raw, "\(number)", 4, 0) == 4)
            let layer = overlay.newLayer()
            let captured = try #require(try capture(layer, previous: previous), "\(number) was not seen")
            #expect(try Files.read("\(layer)/counter") == Array("\(number)".utf8))
            previous = .init(index: captured.index, layer: layer)
        }
    }

    @Test func unchangedUpperIsNotCapturedTwice() throws {
        try python(OverlayFixture.makeChanges, overlay.merged)
        settle()
        let first = overlay.newLayer()
        let previous = LayerCapture.Previous(index: try #require(try capture(first)).index, layer: first)
        let second = overlay.newLayer()
        #expect(try capture(second, previous: previous) == nil)
        #expect(try names(in: second) == [])
        // A file that is mapped may have changed without a trace.
        #expect(try capture(second, previous: previous, hot: ["big"]) != nil)
    }

    @Test(arguments: [
        "open('sub/new', 'w')", "os.unlink('empty')", "os.chmod('acl', 0o600)", "os.utime('one')",
        "os.setxattr('acl', 'user.more', b'1')", "os.rename('empty', 'filled')", "os.link('big', 'bigger')",
        "os.unlink('sub/two')", "open('kept/file', 'a').write('x')", "os.unlink('kept/file')",
        "os.rename('sticky', 'slippery')", "f = open('big', 'r+b'); f.write(b'Z')", "os.chmod('.', 0o711)",
    ])
    func anyChangeIsSeenAndCaptured(_ change: String) throws {
        try python(OverlayFixture.makeChanges, overlay.merged)
        settle()
        let first = overlay.newLayer()
        let previous = LayerCapture.Previous(index: try #require(try capture(first)).index, layer: first)
        let before = try python(OverlayFixture.fingerprint, first, "contents")
        try python("import os, sys\nos.chdir(sys.argv[1])\n\(change)", overlay.merged)
        let second = overlay.newLayer()
        let captured = try #require(try capture(second, previous: previous))
        #expect(captured.linked > 5)
        let upper = try python(OverlayFixture.fingerprint, overlay.upper, "contents")
        let copy = try python(OverlayFixture.fingerprint, second, "contents")
        expectSame(copy, upper)
        expectSame(try python(OverlayFixture.fingerprint, first, "contents"), before)
    }

    @Test func bytesAreCountedWhetherTheyAreCopiedOrShared() throws {
        try python(
            """
            import os, sys
            file = open(sys.argv[1] + "/large", "wb"); file.write(os.urandom(5 << 20)); file.truncate(1 << 30)
            os.fsync(file.fileno())
            """, overlay.merged)
        settle()
        var previous: LayerCapture.Previous?
        for _ in 1...2 {
            let (layer, copied) = (overlay.newLayer(), WorkCount())
            let outcome = try LayerCapture(upper: overlay.upper, layer: layer)
                .capture(previous: previous, always: true, counting: copied)
            guard case .captured(let captured) = outcome else { throw SystemError(call: "capture", code: 0) }
            #expect(
                copied.value >= 5 << 20 && copied.value < 6 << 20, "a hole takes nothing: \(copied.value)")
            previous = .init(index: captured.index, layer: layer)
        }
    }

    /// Other content under the times of the old one, as a clock that was set back can have it: an index that saw the
    /// new content beside the layer of the old.
    @Test func timesProveNothingOnceTheClockWasSet() throws {
        let write = "import sys\nopen(sys.argv[1] + '/file', 'w').write('%')"
        try python(write.replacing("%", with: "one"), overlay.merged)
        let first = overlay.newLayer()
        _ = try capture(first)
        try python(write.replacing("%", with: "two"), overlay.merged)
        settle()
        var index = try #require(try capture(overlay.newLayer())).index
        #expect(
            try capture(overlay.newLayer(), previous: .init(index: index, layer: first)) == nil,
            "the times alone prove what is not so")
        index.clockSteps -= 1
        let second = overlay.newLayer()
        let captured = try #require(try capture(second, previous: .init(index: index, layer: first)))
        #expect(captured.linked == 0 && captured.unchanged.isEmpty)
        #expect(try readFile(second + "/file") == "two")
    }

    /// A directory's files are unchanged when it is renamed, and lie elsewhere in the previous layer.
    @Test func swappedDirectoriesAreNotMixedUp() throws {
        let make = """
            import os, sys
            os.chdir(sys.argv[1])
            for d in ("a", "b"):
                os.makedirs(d + "/deep")
                open(d + "/file", "w").write(d); open(d + "/deep/file", "w").write(d + "deep")
            """
        try python(make, overlay.merged)
        settle()
        let first = overlay.newLayer()
        let previous = LayerCapture.Previous(index: try #require(try capture(first)).index, layer: first)
        try python(
            """
            import os, sys
            os.chdir(sys.argv[1])
            os.rename("a", "c"); os.rename("b", "a"); os.rename("c", "b")
            """, overlay.merged)
        let second = overlay.newLayer()
        _ = try capture(second, previous: previous)
        #expect(try readFile(second + "/a/file") == "b")
        #expect(try readFile(second + "/b/deep/file") == "adeep")
    }

    /// cron ignores a crontab and logrotate a log file that has more than one name.
    @Test func filesWhoseLinksProgramsCountAreNeverLinked() throws {
        for file in ["/etc/crontab", "/var/log/deep/a.log", "/home/plain"] {
            try writeFile(overlay.upper + file, file)
        }
        settle()
        let first = overlay.newLayer()
        let previous = LayerCapture.Previous(index: try #require(try capture(first)).index, layer: first)
        try writeFile(overlay.upper + "/new", "x")
        let second = overlay.newLayer()
        #expect(try capture(second, previous: previous)?.linked == 1)
        let links = { (path: String) in try Descriptor.open(second + path, O_RDONLY).status().st_nlink }
        #expect(try links("/etc/crontab") == 1)
        #expect(try links("/var/log/deep/a.log") == 1)
        #expect(try links("/home/plain") == 2)
    }

    /// A store to a page that is mapped and dirty changes neither mtime nor ctime.
    @Test func mappedFileIsCopiedThoughItsTimesStandStill() throws {
        let path = overlay.upper + "/mapped"
        try writeFile(path, String(repeating: "a", count: 4096))
        let file = try Descriptor.open(path, O_RDWR)
        let map = try #require(mmap(nil, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file.raw, 0))
        defer { munmap(map, 4096) }
        let bytes = map.assumingMemoryBound(to: UInt8.self)
        bytes[0] = UInt8(ascii: "b")
        settle()
        let first = overlay.newLayer()
        let captured = try #require(try capture(first, hot: ["mapped"]))
        #expect(try readFile(first + "/mapped").hasPrefix("ba"))
        bytes[0] = UInt8(ascii: "c")
        let second = overlay.newLayer()
        // No longer mapped, as far as the caller knows, but it was when the capture before was made.
        let previous = LayerCapture.Previous(index: captured.index, layer: first)
        #expect(try capture(second, previous: previous)?.linked == 0)
        #expect(try readFile(second + "/mapped").hasPrefix("ca"))
        #expect(try readFile(first + "/mapped").hasPrefix("ba"))
    }

    @Test func entryChangedJustBeforeACaptureProvesNothing() throws {
        try writeFile(overlay.upper + "/fresh", "x")
        let first = overlay.newLayer()
        let index = try #require(try capture(first)).index
        #expect(try capture(overlay.newLayer(), previous: .init(index: index, layer: first)) != nil)
    }

    @Test func pathsLongerThanThePathLimitAreCaptured() throws {
        let name = String(repeating: "d", count: 200)
        var directory = try Descriptor.directory(overlay.upper)
        for _ in 0..<60 {
            #expect(mkdirat(directory.raw, name, 0o755) == 0)
            directory = try Descriptor.open(name, below: directory, O_RDONLY | O_DIRECTORY)
        }
        try Descriptor.open("one", below: directory, O_WRONLY | O_CREAT).writeAll(Array("deep".utf8))
        #expect(linkat(directory.raw, "one", directory.raw, "two", 0) == 0)
        let layer = overlay.newLayer()
        #expect(try capture(layer)?.entries == 62)
        var copy = try Descriptor.directory(layer)
        for _ in 0..<60 { copy = try Descriptor.open(name, below: copy, O_RDONLY | O_DIRECTORY) }
        let two = try Descriptor.open("two", below: copy, O_RDONLY)
        #expect(try two.readAll() == Array("deep".utf8))
        #expect(try two.status().st_nlink == 2)
    }

    @Test func measureStopsAtItsLimits() throws {
        try python(OverlayFixture.makeChanges, overlay.merged)
        let all = try LayerCapture.measure(upper: overlay.upper)
        #expect(all.isComplete)
        #expect(all.entries > 30)
        #expect(all.bytes > 1 << 20)
        let few = try LayerCapture.measure(upper: overlay.upper, entryLimit: 5)
        #expect(!few.isComplete && few.entries == 5)
        #expect(try !LayerCapture.measure(upper: overlay.upper, byteLimit: 1 << 20).isComplete)
    }

    @Test func captureIntoAFullLayerIsRefused() throws {
        try writeFile(overlay.upper + "/file", "x")
        let layer = overlay.newLayer()
        try writeFile(layer + "/file", "already there")
        #expect(throws: SnapshotTreeError.self) { try capture(layer) }
        #expect(try readFile(layer + "/file") == "already there")
    }
}
