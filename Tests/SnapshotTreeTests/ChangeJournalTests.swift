import Glibc
import LinuxSystem
import Testing

@testable import SnapshotTree

/// An upper directory that is heard of while it is changed through its overlay.
@Suite struct ChangeJournalTests {
    let overlay: OverlayFixture
    init() throws {
        overlay = try OverlayFixture()
        try python(
            """
            import os, sys
            os.chdir(sys.argv[1])
            os.makedirs("deep/er"); os.mkdir("other")
            for name in ("plain", "deep/file", "deep/er/file", "other/named", "mapped"):
                open(name, "w").write("first " + name)
            os.link("other/named", "deep/also"); os.mkfifo("fifo"); os.symlink("plain", "link")
            """, overlay.merged)
        settle()
    }

    /// Lets what was written so far become older than what times prove.
    private func settle() { usleep(30_000) }

    private func journal(_ index: CaptureIndex, merged: String? = nil) -> ChangeJournal? {
        ChangeJournal(index, upper: overlay.upperParent, fewest: 0) { key in
            key == "upper" ? try? Descriptor.directory(merged ?? overlay.merged) : nil
        }
    }

    private func capture(
        _ layer: String, _ previous: LayerCapture.Previous? = nil, hot: [String] = [], opened: [String] = []
    ) throws -> LayerCapture.Captured? {
        let capture = LayerCapture(upper: overlay.upperParent, layer: layer)
        let outcome = try capture.capture(
            previous: previous, hot: hot.map { Array("upper/\($0)".utf8) },
            opened: { opened.map { Array("upper/\($0)".utf8) } })
        guard case .captured(let captured) = outcome else { return nil }
        return captured
    }

    /// What was captured just now, with a journal since.
    private func heard(hot: [String] = []) throws -> LayerCapture.Previous {
        let layer = overlay.newLayer()
        let index = try #require(try capture(layer, hot: hot)).index
        return .init(index: index, layer: layer, journal: journal(index))
    }

    private func change(_ text: String) throws {
        try python("import os, sys, mmap\nos.chdir(sys.argv[1])\n\(text)", overlay.merged)
    }

    private func expectCapturedAnew(_ previous: LayerCapture.Previous) throws {
        let layer = overlay.newLayer()
        _ = try #require(try capture(layer, previous), "the change was not seen")
        let upper = try python(OverlayFixture.fingerprint, overlay.upper, "contents")
        expectSame(try python(OverlayFixture.fingerprint, "\(layer)/upper", "contents"), upper)
    }

    @Test func silenceProvesWhatTimesCannot() throws {
        let file = try Descriptor.open("\(overlay.merged)/deep/file", O_WRONLY)
        let inode = try FileStatus("\(overlay.upper)/deep/file").inode
        // Too young for its time to prove anything: of the tick that the capture began in.
        var previous: LayerCapture.Previous
        repeat {
            #expect(pwrite(file.raw, "SECOND", 6, 0) == 6)
            previous = try heard()
        } while previous.index.isSettled(ino_t(inode), at: previous.index.instant)
        try change("open('plain').read(); os.listdir('deep'); os.open('deep/file', os.O_RDWR)")
        #expect(try capture(overlay.newLayer(), .init(index: previous.index, layer: previous.layer)) != nil)
        // Whoever opened a file for writing may have written.
        #expect(try capture(overlay.newLayer(), previous) != nil)
        try change("open('plain').read(); os.listdir('deep')")
        let again = try heard()
        #expect(try capture(overlay.newLayer(), again) == nil)
        #expect(try capture(overlay.newLayer(), again) == nil)
    }

    @Test(arguments: [
        "open('deep/er/file', 'a').write('x')", "open('deep/file', 'r+').write('F')",
        "os.truncate('plain', 2)", "os.chmod('deep/file', 0o600)", "os.chown('plain', 5, 6)",
        "os.utime('deep/er/file', (1, 1))", "os.setxattr('plain', 'user.more', b'1')",
        "os.utime('link', (1, 1), follow_symlinks=False)", "os.chmod('deep/er', 0o700)",
        "os.setxattr('deep/er', 'user.more', b'1')", "open('deep/new', 'w')", "os.unlink('deep/er/file')",
        "os.rename('plain', 'deep/plain')", "os.mkdir('deep/er/most')", "os.rename('deep', 'deeper')",
        "open('kept/file', 'a').write('copied up')", "os.unlink('gone1')", "os.chmod('.', 0o711)",
        "open('deep/also', 'a').write('y')", "os.chmod('fifo', 0o611)",
        "f = os.open('other/named', os.O_RDWR); os.unlink('other/named'); os.write(f, b'z')",
        "f = open('plain', 'r+b'); m = mmap.mmap(f.fileno(), 5); f.close(); m[0] = 65",
        "f = os.open('plain', os.O_RDWR); os.ftruncate(f, 9000)",
    ])
    func everyChangeIsHeard(_ text: String) throws {
        let previous = try heard()
        try change(text)
        try expectCapturedAnew(previous)
    }

    @Test(arguments: ["kept/file", "renamed/file"])
    func directoryTooYoungForItsTimeIsComparedByName(_ copiedUp: String) throws {
        try change("open('deep/young', 'w'); os.utime('.')")
        let previous = try heard()
        #expect(try capture(overlay.newLayer(), previous) == nil)
        usleep(60_000)
        #expect(try capture(overlay.newLayer(), previous) == nil)
        try change("os.mkdir('\(copiedUp.prefix { $0 != "/" })/new')")
        try expectCapturedAnew(previous)
    }

    @Test func changeIsNotForgottenWhenItsCaptureIsGivenUp() throws {
        let previous = try heard()
        try change("open('plain', 'r+').write('G')")
        _ = try capture(overlay.newLayer(), previous)
        try expectCapturedAnew(previous)
    }

    @Test func comparisonThatFindsNothingMakesTheJournalGoodAgain() throws {
        let previous = try heard()
        try change("os.close(os.open('plain', os.O_RDWR))")
        #expect(try !isQuiet(since: previous))
        #expect(try capture(overlay.newLayer(), previous) == nil)
        #expect(try isQuiet(since: previous))
        try change("open('plain', 'r+').write('G')")
        #expect(try !isQuiet(since: previous))
        try expectCapturedAnew(previous)
        #expect(try !isQuiet(since: previous))
    }

    private func isQuiet(since previous: LayerCapture.Previous) throws -> Bool {
        try #require(previous.journal).provesUnchanged(
            try Descriptor.directory(overlay.upperParent), since: previous.index, hot: [], opened: [])
    }

    @Test func whatIsMappedOrOpenIsLookedAt() throws {
        let previous = try heard(hot: ["mapped"])
        #expect(try capture(overlay.newLayer(), previous) != nil)
        let other = try heard()
        #expect(try capture(overlay.newLayer(), other, hot: ["plain"]) != nil)
        settle()
        let settled = try heard()
        #expect(try capture(overlay.newLayer(), settled, opened: ["deep/file", "nowhere"]) == nil)
        // Behind the overlay's back, as aio(7) writes.
        try python("import sys; open(sys.argv[1], 'r+').write('H')", overlay.upper + "/deep/file")
        #expect(try capture(overlay.newLayer(), settled, opened: ["deep/file"]) != nil)
    }

    @Test func overlayOfAnotherUpperIsNotBelieved() throws {
        let other = try OverlayFixture()
        let index = try #require(try capture(overlay.newLayer())).index
        #expect(journal(index, merged: other.merged) == nil)
        #expect(journal(index, merged: overlay.upper) == nil)
        #expect(journal(index) != nil)
        // Mounted over, so that what is changed below cannot be heard.
        let covered = overlay.merged + "/deep"
        try retrying("mount", covered) { mount("none", covered, "tmpfs", 0, nil) }
        defer { umount2(covered, Int32(MNT_DETACH)) }
        #expect(journal(index) == nil)
    }
}
