import Glibc
import LinuxSystem
import Testing

@testable import SnapshotTree

/// Layers made by the kernel itself, one over the other, and what is merged of them.
@Suite struct LayerMergeTests {
    /// Random changes through an overlay: everything that makes whiteouts, opaque directories and links.
    private static let change = """
        import os, random, shutil, stat, sys
        os.chdir(os.fsencode(sys.argv[1])); r = random.Random(int(sys.argv[2])); names = "abcde"
        def path(): return "/".join(r.choice(names) for _ in range(r.choice((1, 1, 2, 2, 3))))
        def clear(p):
            if os.path.isdir(p) and not os.path.islink(p): shutil.rmtree(p)
            elif os.path.lexists(p): os.unlink(p)
        def put(p, size, at, text):
            if stat.S_ISCHR(os.stat(p).st_mode) if os.path.exists(p) else False: return
            fd = os.open(p, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK)
            try: os.ftruncate(fd, size); os.pwrite(fd, text.encode(), at)
            finally: os.close(fd)
        def write(p): put(p, 0, 0, str(r.random()) * r.choice((1, 500)))
        def grow(p): put(p, 1 << 20, r.randrange(1 << 20), "x")
        actions = (
            write, write, write, clear, clear, grow, lambda p: os.mkdir(p), lambda p: os.mkdir(p),
            lambda p: (clear(p), os.mkdir(p)), lambda p: (clear(p), os.symlink(path(), p)), lambda p: os.mkfifo(p),
            lambda p: os.link(path(), p), lambda p: os.rename(path(), p), lambda p: os.chmod(p, r.randrange(0o1000)),
            lambda p: os.chown(p, r.randrange(99), 7), lambda p: os.mknod(p, 0o20600, os.makedev(1, 3)),
            lambda p: os.setxattr(p, "user.x", os.urandom(3), follow_symlinks=False),
            lambda p: os.utime(p, ns=(r.randrange(10**18), r.randrange(10**18)), follow_symlinks=False),
            lambda p: (clear(p), os.mkdir(p), os.mkdir(p + "/a"), write(p + "/a/b"), write(p + "/a/c")),
        )
        for _ in range(40):
            try: r.choice(actions)(path())
            except (OSError, shutil.Error): pass
        """

    @Test(arguments: [1, 2, 3])
    func mergedLayersShowWhatTheirPartsShow(seed: Int) throws {
        let chain = try OverlayChain()
        for number in 0..<24 { try chain.add { try python(Self.change, $0, "\(seed * 1000 + number)") } }
        let all = chain.layers
        let seen = try chain.shown(all)
        let signs = try python(OverlayFixture.fingerprint, chain.store.path)
        for sign in ["whiteout", "overlay.opaque"] { #expect(signs.contains(sign), "\(sign)") }

        let runs = try [0..<8, 8..<16, 16..<24].map { try chain.merge(Array(all[$0])) }
        expectSame(try chain.shown(runs), seen)
        expectSame(try chain.shown([try chain.merge(runs)]), seen)
        // In the middle of a chain, and at its end.
        let middle = Array(all[..<3]) + [try chain.merge(Array(all[3..<11]))] + Array(all[11...])
        expectSame(try chain.shown(middle), seen)
        expectSame(try chain.shown(Array(all[..<16]) + [runs[2]]), seen)
        // What lies in a merged layer is what lies in its parts, down to the inode.
        #expect(try chain.regularFiles(below: runs).isSubset(of: chain.regularFiles(below: all)))
    }

    @Test func whiteoutsGoWhereNothingLiesBelow() throws {
        let chain = try OverlayChain()
        try chain.add { path in
            mkdir("\(path)/new", 0o755)
            mkdir("\(path)/new/sub", 0o755)
            try writeFile("\(path)/new/sub/file", "1")
        }
        try chain.add { path in #expect(unlink("\(path)/new/sub/file") == 0) }
        let upper = try python(OverlayFixture.fingerprint, chain.layers[1])
        #expect(upper.contains("whiteout"))
        let merged = try chain.merge(chain.layers)
        #expect(try names(in: "\(merged)/new/sub") == [])
        // readdir(3) through the overlay would show it.
        expectSame(try chain.shown([merged]), try chain.shown(chain.layers))
    }

    @Test func whereProgramsCountLinksFilesStayAlone() throws {
        let chain = try OverlayChain()
        try chain.add { path in
            for name in ["etc", "usr", "var/log"] { try writeFile("\(path)/\(name)/file", name) }
            #expect(link("\(path)/etc/file", "\(path)/usr/twin") == 0)
        }
        let merged = try chain.merge(chain.layers)
        func status(_ path: String) -> stat {
            var status = stat()
            #expect(lstat("\(merged)/\(path)", &status) == 0)
            return status
        }
        #expect(status("var/log/file").st_nlink == 1)
        #expect(status("etc/file").st_nlink == 2)
        #expect(status("etc/file").st_ino == status("usr/twin").st_ino)
        #expect(status("usr/file").st_nlink == 2)
        expectSame(try chain.shown([merged]), try chain.shown(chain.layers))
    }

    @Test func redirectedDirectoryIsRefused() throws {
        let overlay = try OverlayFixture()
        #expect(rename("\(overlay.merged)/renamed", "\(overlay.merged)/elsewhere") == 0)
        let layer = overlay.newLayer()
        let error = #expect(throws: SystemError.self) { try LayerMerge.merge([overlay.upper], into: layer) }
        #expect(error?.code == ESTALE)
    }

    @Test func directoriesDeeperThanAPathAreMerged() throws {
        let chain = try OverlayChain()
        let nest = """
            import os, sys
            os.chdir(sys.argv[1])
            for n in range(40):
                if not os.path.isdir("d" * 250): os.mkdir("d" * 250)
                os.chdir("d" * 250); open("f" * 250 + sys.argv[2], "w").write(str(n))
                if n == 39: os.link("f" * 250 + sys.argv[2], "twin" + sys.argv[2])
            """
        for number in 0..<2 { try chain.add { try python(nest, $0, "\(number)") } }
        let merged = try chain.merge(chain.layers)
        let count = """
            import os, sys
            n = 0
            for d, ds, fs, _ in os.fwalk(sys.argv[1]): n += len(fs)
            print(n)
            """
        #expect(try python(count, merged) == "82\n")
    }
}

/// Layers that the kernel made one over the other: each an upper directory over all before it, captured.
final class OverlayChain {
    let store: TemporaryStore
    private(set) var layers: [String] = []
    private var made = 0

    init() throws {
        store = try TemporaryStore()
        mkdir("\(store.path)/base", 0o755)
        try python(OverlayFixture.makeBase, store.path + "/base")
    }

    /// Mounts base and layers with a fresh upper, has it changed, and captures that as the next layer.
    func add(_ change: (String) throws -> Void) throws {
        let upper = try onOverlay(of: layers) { try change($0) }.upper
        let layer = try directory("layer")
        _ = try LayerCapture(upper: upper, layer: layer).capture()
        layers.append(layer)
    }

    /// What a sandbox over these layers, lowest first, sees.
    func shown(_ layers: [String]) throws -> String {
        try onOverlay(of: layers) { try python(OverlayFixture.fingerprint, $0, "shown") }.result
    }

    func merge(_ parts: [String]) throws -> String {
        let layer = try directory("merged")
        _ = try LayerMerge.merge(parts, into: layer)
        return layer
    }

    /// The inodes of regular files.
    func regularFiles(below layers: [String]) throws -> Set<String> {
        let list = """
            import os, stat, sys
            for d, ds, fs in os.walk(sys.argv[1]):
                for f in fs:
                    s = os.lstat(d + "/" + f)
                    if stat.S_ISREG(s.st_mode): print(s.st_ino)
            """
        return Set(try layers.flatMap { try python(list, $0).split(separator: "\n").map(String.init) })
    }

    private func directory(_ name: String) throws -> String {
        made += 1
        let path = "\(store.path)/\(name)-\(made)"
        try retrying("mkdir", path) { mkdir(path, 0o755) }
        return path
    }

    private func onOverlay<Result>(
        of layers: [String], _ body: (String) throws -> Result
    ) throws -> (upper: String, result: Result) {
        let (upper, work, target) = (try directory("upper"), try directory("work"), try directory("view"))
        let overlay = try Mount.overlay(
            lowers: layers.reversed() + ["\(store.path)/base"], upper: (upper, work), inodes: true)
        try Mount.attach(overlay, at: target)
        defer { umount2(target, Int32(MNT_DETACH)) }
        return (upper, try body(target))
    }
}
