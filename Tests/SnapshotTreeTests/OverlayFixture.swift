import Glibc
import LinuxSystem
import Testing

@testable import SnapshotTree

/// An overlay mount of its own below a temporary directory: base/, upper/, work/ and merged/.
final class OverlayFixture {
    let store: TemporaryStore
    /// A directory that holds the upper one alone.
    var upperParent: String { store.path + "/uppers" }
    var upper: String { upperParent + "/upper" }
    var merged: String { store.path + "/merged" }
    private var layers = 0

    init() throws {
        store = try TemporaryStore()
        for name in ["base", "uppers", "uppers/upper", "work", "merged"] {
            mkdir("\(store.path)/\(name)", 0o755)
        }
        try python(Self.makeBase, store.path + "/base")
        try mountOverlay(lower: store.path + "/base", upper: "uppers/upper", work: "work", on: "merged")
    }

    deinit { umount2(merged, Int32(MNT_DETACH)) }

    /// An empty directory for a layer.
    func newLayer() -> String {
        layers += 1
        let path = "\(store.path)/layer\(layers)"
        mkdir(path, 0o755)
        return path
    }

    /// Mounts base and the layer, with a fresh upper, and returns what a sandbox sees there.
    func view(through layer: String) throws -> String {
        for name in ["upper2", "work2", "view"] { mkdir("\(store.path)/\(name)", 0o755) }
        try mountOverlay(
            lower: "\(layer):\(store.path)/base", upper: "upper2", work: "work2", on: "view")
        defer { umount2(store.path + "/view", Int32(MNT_DETACH)) }
        return try python(Self.fingerprint, store.path + "/view", "view")
    }

    private func mountOverlay(lower: String, upper: String, work: String, on target: String) throws {
        let options =
            "lowerdir=\(lower),upperdir=\(store.path)/\(upper),workdir=\(store.path)/\(work),"
            + "redirect_dir=on,metacopy=on,volatile"
        try options.withCString { data in
            _ = try retrying("mount", options) {
                mount("overlay", "\(store.path)/\(target)", "overlay", 0, data)
            }
        }
    }

    static let makeBase = """
        import os, sys
        os.chdir(os.fsencode(sys.argv[1]))
        for d in ("kept", "gonedir", "replaced", "renamed"):
            os.mkdir(d)
            open(d + "/file", "w").write("base " + d)
        for f in ("changed", "gone1", "gone2", "owned"):
            open(f, "w").write("base " + f)
        """

    /// One of every kind of entry, and every kind of change to the base.
    static let makeChanges = """
        import os, socket, struct, sys
        os.chdir(os.fsencode(sys.argv[1]))
        open("changed", "a").write(" and more")
        os.unlink("gone1"); os.unlink("gone2")
        os.unlink("gonedir/file"); os.rmdir("gonedir")
        os.unlink("replaced/file"); os.rmdir("replaced"); os.mkdir("replaced")
        open("replaced/new", "w").write("new")
        os.rename("renamed", "elsewhere")
        os.chown("owned", 1234, 5678)
        os.mknod("char", 0o20640, os.makedev(5, 1)); os.mknod("block", 0o60600, os.makedev(7, 0))
        os.mkfifo("fifo", 0o622); os.chmod("fifo", 0o622)
        s = socket.socket(socket.AF_UNIX); s.bind("socket"); s.close()
        os.symlink("nowhere/at/all", "dangling"); os.symlink("x" * 4000, "long")
        os.lchown("dangling", 11, 22)
        os.setxattr("dangling", "trusted.link", b"on a symlink", follow_symlinks=False)
        os.setxattr("fifo", "trusted.fifo", b"on a fifo")
        open("one", "w").write("linked"); os.mkdir("sub")
        os.link("one", "sub/two"); os.link("one", "three"); os.link("dangling", "sub/dangling")
        with open("sparse", "w") as f:
            f.truncate(3 << 20); f.seek(1 << 20); f.write("middle")
        open("big", "wb").write(bytes(range(256)) * 8192 + b"tail")
        open("suid", "w").write("suid"); os.chown("suid", 100, 200); os.chmod("suid", 0o6755)
        cap = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
        open("cap", "w").write("cap"); os.chown("cap", 5, 6); os.setxattr("cap", "security.capability", cap)
        acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in (
            (1, 6, 0xffffffff), (2, 4, 1000), (4, 4, 0xffffffff), (16, 6, 0xffffffff), (32, 0, 0xffffffff)))
        open("acl", "w").write("acl"); os.setxattr("acl", "system.posix_acl_access", acl)
        os.mkdir("inherit"); os.setxattr("inherit", "system.posix_acl_default", acl)
        os.mkdir("setgid"); os.chown("setgid", 0, 777); os.chmod("setgid", 0o2775)
        open("setgid/inside", "w").write("x"); os.chown("setgid/inside", 0, 0)
        os.setxattr("acl", "user.empty", b""); os.setxattr("acl", "user.large", b"v" * 2000)
        os.mkdir(b"odd\\nname"); open(b"odd\\nname/\\xff\\xfe", "w").write("bytes")
        os.mkdir("closed"); open("closed/file", "w").write("x"); os.chmod("closed", 0)
        os.mkdir("sticky"); os.chmod("sticky", 0o1777)
        open("empty", "w")
        open("mode0", "w").write("secret"); os.chmod("mode0", 0)
        for p in ("one", "sticky", "closed", "replaced"):
            os.utime(p, ns=(1_111_111_111_123_456_789, 1_000_000_000_987_654_321))
        os.utime("dangling", ns=(5, 7), follow_symlinks=False)
        """

    /// All that can be told about a tree, one line an entry. A "view" leaves out what overlayfs does not
    /// tell, "contents" what linking to another layer changes, "shown" both, but tells which names are of one file.
    static let fingerprint = """
        import hashlib, os, stat, sys
        root = os.fsencode(sys.argv[1]); mode = sys.argv[2] if len(sys.argv) > 2 else "all"
        hidden = {"trusted.overlay." + n for n in ("origin", "nlink", "impure", "upper", "uuid")}
        first = {}; lines = []
        def holes(path, size):
            fd = os.open(path, os.O_RDONLY); at = 0; found = []
            try:
                while at < size:
                    at = os.lseek(fd, at, os.SEEK_DATA); end = os.lseek(fd, at, os.SEEK_HOLE)
                    found.append((at, end)); at = end
            except OSError: pass
            os.close(fd); return found
        def visit(path):
            s = os.lstat(path); rel = path[len(root):]
            line = [rel, oct(s.st_mode), s.st_uid, s.st_gid, s.st_rdev]
            whiteout = stat.S_ISCHR(s.st_mode) and s.st_rdev == 0
            if whiteout: line = [rel, "whiteout"]
            else:
                line += [s.st_mtime_ns, {n: os.getxattr(path, n, follow_symlinks=False)
                         for n in sorted(os.listxattr(path, follow_symlinks=False)) if n not in hidden}]
                if not stat.S_ISDIR(s.st_mode):
                    line += [s.st_size]
                    if mode not in ("contents", "shown"): line.append(s.st_nlink)
                    if s.st_nlink > 1 and mode == "all" or mode == "shown":
                        line.append(first.setdefault((s.st_dev, s.st_ino), rel))
            if stat.S_ISREG(s.st_mode):
                line.append(hashlib.sha256(open(path, "rb").read()).hexdigest())
                if mode != "view": line.append(holes(path, s.st_size))
            if stat.S_ISLNK(s.st_mode): line.append(os.readlink(path))
            if rel or mode not in ("view", "shown"): lines.append(repr(line))  # A view's root is the mount's own.
            if stat.S_ISDIR(s.st_mode):
                for n in sorted(os.listdir(path)): visit(path + b"/" + n)
        visit(root)
        print("\\n".join(lines))
        """
}

/// Runs a Python program and returns what it printed.
@discardableResult
func python(_ program: String, _ arguments: String...) throws -> String {
    let output = Descriptor(owning: try retrying("memfd_create") { memfd_create("output", 0) })
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, output.raw, 1)
    var argv: [UnsafeMutablePointer<CChar>?] =
        (["python3", "-c", program] + arguments).map { strdup($0) } + [nil]
    defer { for argument in argv { free(argument) } }
    var pid = pid_t()
    let status = posix_spawnp(&pid, "python3", &actions, nil, &argv, environ)
    guard status == 0 else { throw SystemError(call: "posix_spawnp", code: status, subject: "python3") }
    var wait: Int32 = 0
    waitpid(pid, &wait, 0)
    #expect(wait == 0, "python3 failed")
    lseek(output.raw, 0, SEEK_SET)
    return String(decoding: try output.readAll(), as: UTF8.self)
}

/// Expects two fingerprints to be equal and shows the lines that are not, cut to what one can read.
func expectSame(_ one: String, _ other: String, sourceLocation: SourceLocation = #_sourceLocation) {
    let lines = one.split(separator: "\n").difference(from: other.split(separator: "\n")).map { change in
        switch change {
        case .insert(_, let line, _): "+ \(line.prefix(200))"
        case .remove(_, let line, _): "- \(line.prefix(200))"
        }
    }
    #expect(lines.isEmpty, "\(lines.joined(separator: "\n"))", sourceLocation: sourceLocation)
}
