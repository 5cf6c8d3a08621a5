import Foundation
import Glibc
import Messages
import Testing

/// What somebody who means harm may try inside: each attempt's end is known, and the host, the sandbox beside it and the
/// server are as before.
@Suite(.serialized, .enabled(if: Machine.has("gcc"), "needs gcc")) struct AdversaryTests {
    /// The attempts of Programs/adversary.c: how they end for root, and for somebody else where that differs. An attempt
    /// on a file may end in either of two ways: not every kernel has every file.
    private static let attempts: [(names: String, root: String, other: String?)] = [
        ("host-file host-file-again", "ENOENT", nil),
        ("mount mount-proc mount-cgroup remount bind umount umount-root pivot_root", "EPERM", nil),
        ("fsopen open_tree move_mount mount_setattr mount-32", "EPERM", nil),
        ("mount-x32 clone3-user io_uring_setup landlock new-call", "ENOSYS", nil),
        ("unshare-user unshare-mount unshare-net clone-user setns setns-1", "EPERM", nil),
        ("proc-1-root proc-1-cwd proc-1-mem proc-1-fd proc-1-environ proc-1-maps proc-1-ns", "EACCES", nil),
        ("proc-1-oom", "EACCES", nil),
        ("ptrace-1 seize-1 vm-read-1 pidfd_getfd-1", "EPERM", nil),
        ("socket-1", "ENODATA", "EACCES"),
        ("core_pattern modprobe sysctl-hostname drop_caches ip_forward sysrq", "EROFS ENOENT", nil),
        ("uevent_helper power release_agent release_agent-v1 device-cgroup", "EROFS ENOENT", nil),
        ("kcore kmsg", "EPERM ENOENT ENODATA", "EACCES ENOENT ENODATA"),
        ("mknod-disk mknod-mem", "EPERM", nil),
        ("dev-mem dev-kmsg", "ENOENT", nil),
        ("add_key request_key keyctl perf_event_open bpf userfaultfd open_by_handle_at", "EPERM", nil),
        (
            "init_module kexec_load reboot sethostname settimeofday swapon syslog acct iopl quotactl",
            "EPERM", nil
        ),
        ("personality TIOCSTI TIOCSTI-high TIOCLINUX", "EPERM", nil),
        ("capset raise-limit real-time", "EPERM", nil),
        ("forget-no-new-privs seccomp-off", "EINVAL", nil),
        ("nice oom", "EACCES", nil),
        ("read-shadow", "ok", "EACCES"),
        ("setuid chroot chroot-back packet raw", "ok", "EPERM"),
        ("abstract host-port", "ECONNREFUSED", nil),
        ("outside", "ENETUNREACH", nil),
        ("interfaces", "ENODEV", nil),
        ("interface-down vsock alg", "EPERM", nil),
    ]

    /// What of the host an escape would change.
    private static func host() throws -> [String] {
        try ["core_pattern", "modprobe", "hostname", "domainname"].map {
            (try? String(contentsOfFile: "/proc/sys/kernel/\($0)", encoding: .utf8)) ?? ""
        } + [
            try String(contentsOfFile: "/proc/sys/net/ipv4/ip_forward", encoding: .utf8),
            run(["stat", "-c", "%F %a %U %G %t:%T", "/etc/passwd", "/etc/shadow", "/dev/null"]).stdout,
        ]
    }

    /// Runs `body` with a sandbox that holds the adversary, beside another one that must not notice; the host must be
    /// as before.
    private func attack(_ options: [String] = [], _ body: (Sandbox) throws -> Void) throws {
        let before = try Self.host()
        try withCkpt { ckpt in
            let neighbour = try Witness(try ckpt.create("neighbour"))
            try ckpt.succeed(["create", "arena"] + options)
            ckpt.rememberServer()
            let server = ckpt.serverPID
            let arena = Sandbox(ckpt: ckpt, name: "arena")
            try arena.write(try Self.program.get(), to: "/usr/bin/adversary")
            try arena.sh("chmod 755 /usr/bin/adversary")
            try body(arena)
            try neighbour.check("the attack")
            #expect(ckpt.serverPID == server, "the server is another one")
        }
        let after = try Self.host()
        #expect(after == before, "the host was changed")
    }

    /// The adversary, compiled once.
    private static let program: Result<Data, any Error> = Result {
        let path = "/tmp/ckpt-e2e-adversary-\(getpid())"
        defer { unlink(path) }
        try Program.text("adversary.c").write(to: URL(fileURLWithPath: path + ".c"))
        defer { unlink(path + ".c") }
        let made = try run(["gcc", "-O1", "-w", "-static", "-o", path, path + ".c"])
        guard made.status == 0 else { throw HarnessError("\(made)") }
        return try Data(contentsOf: URL(fileURLWithPath: path))
    }

    @Test func everyAttemptEndsAsItShould() throws {
        let host = try HostListener()
        try attack { arena in
            let marker = arena.ckpt.root + "/server.sock"
            func check(_ box: Sandbox, _ when: String) throws {
                for user in ["root", "nobody"] {
                    let said = try box.exec(
                        "adversary", "probe", marker, host.name, String(host.port), options: ["--user", user])
                    #expect(said.status == 0, "\(when), as \(user): \(said)")
                    var ends: [String: String] = [:]
                    for line in said.lines {
                        let words = line.split(separator: " ").map(String.init)
                        ends[words[0]] = words[1]
                    }
                    for (names, root, other) in Self.attempts {
                        let allowed = (user == "root" ? root : other ?? root).split(separator: " ").map(
                            String.init)
                        for name in names.split(separator: " ").map(String.init) {
                            let end = ends.removeValue(forKey: name) ?? "nothing"
                            #expect(allowed.contains(end), "\(name) as \(user), \(when): \(end)")
                        }
                    }
                    #expect(ends.isEmpty, "attempts that nobody expects: \(ends)")
                }
            }
            try check(arena, "at first")
            let snapshot = try arena.save()
            try arena.restore(snapshot)
            try check(arena, "after a restore")
            try check(try arena.ckpt.fork(snapshot)[0], "in a fork")
        }
        #expect(host.wasLeftAlone)
    }

    @Test func killingEverything() throws {
        try attack { arena in
            try arena.say("sleep 1000 & true")
            let result = try arena.exec("adversary", "kill-all")
            #expect(result.status == 0 || result.status == 128 + SIGKILL, "\(result)")
            #expect(try arena.sh("cat /proc/1/comm; pgrep -x sleep || echo none") == "ckpt-init\nnone")
            // A session starts anew, and the sandbox can be saved as before.
            #expect(try arena.say("echo again") == "again")
            try arena.restore(try arena.save())
            #expect(try arena.say("echo again") == "again")
            // Somebody else reaches nothing that is not their own.
            let other = try arena.exec("adversary", "kill-all", options: ["--user", "nobody"])
            #expect(other.status == 0 || other.status == 128 + SIGKILL, "\(other)")
            #expect(try arena.say("echo still") == "still")
        }
    }

    /// Both under limits, which are what keeps them from being the whole machine's.
    @Test func bombs() throws {
        try attack(["--pids-limit", "60", "--memory", "96m"]) { arena in
            for user in ["root", "nobody"] {
                let forks = try arena.exec(
                    "adversary", "forks", options: ["--user", user, "--timeout", "2"], deadline: 120)
                #expect(forks.status == 124 && forks.stdout == "forks EAGAIN\n", "as \(user): \(forks)")
                #expect(try arena.sh("echo served") == "served")
                let memory = try arena.exec("adversary", "memory", options: ["--user", user], deadline: 120)
                #expect(memory.status == 128 + SIGKILL && memory.stdout.isEmpty, "as \(user): \(memory)")
                #expect(try arena.sh("cat /proc/1/comm") == "ckpt-init")
            }
        }
    }

    @Test func everyDescriptor() throws {
        try attack { arena in
            for user in ["root", "nobody"] {
                let job = try arena.ckpt.ok(
                    "exec", "-d", "--user", user, "arena", "--", "sh", "-c", "adversary descriptors"
                ).line
                #expect(
                    try eventually {
                        try arena.ckpt.ok("job", "arena", job).stdout.contains("descriptors EMFILE")
                    })
                #expect(try arena.sh("echo served") == "served")
                try arena.ckpt.ok("job", "--stop", "arena", job)
            }
        }
    }

    @Test(.enabled(if: Machine.has("mkfs.ext4", "losetup"), "needs mkfs.ext4 and losetup"))
    func theWholeDisk() throws {
        let image = "/tmp/ckpt-e2e-fill-\(getpid())", root = image + ".d"
        let mounted = try run([
            "bash", "-ec",
            "truncate -s 96M \"$1\"; mkfs.ext4 -qF \"$1\"; mkdir \"$2\"; mount -o loop \"$1\" \"$2\"", "bash",
            image, root,
        ])
        try #require(mounted.status == 0, "\(mounted)")
        defer {
            #expect((try? run(["umount", root]))?.status == 0)
            rmdir(root)
            unlink(image)
        }
        try withCkpt(root: root) { ckpt in
            let neighbour = try Witness(try ckpt.create("neighbour"))
            let arena = try ckpt.create("arena", "--tmpfs", "/tmp/bounded:size=1m")
            let bounded = try arena.exec("dd", "if=/dev/zero", "of=/tmp/bounded/fill", "bs=64k")
            #expect(bounded.stderr.contains("No space left on device"), "\(bounded)")
            #expect(try Int(arena.sh("stat -c %s /tmp/bounded/fill"))! <= 1 << 20)
            let filled = try arena.exec("dd", "if=/dev/zero", "of=/root/fill", "bs=64k")
            #expect(filled.stderr.contains("No space left on device"), "\(filled)")
            // Full is no reason to end: what is there is answered, and room made again is room.
            #expect(try arena.sh("echo served") == "served")
            #expect(try ckpt("save", "arena").status == 125)
            #expect(try ckpt.sandboxes().count == 2)
            try arena.sh("rm /root/fill")
            try neighbour.check("the disk was full")
            _ = try arena.save()
        }
    }

    @Test func setuidPrograms() throws {
        try attack { arena in
            try arena.sh(
                """
                cp /bin/cat /usr/bin/secretly && chmod 4755 /usr/bin/secretly
                cp /bin/cat /usr/bin/capably && setcap cap_dac_override+ep /usr/bin/capably 2>/dev/null
                echo secret > /root/secret; chmod 755 /root; chmod 600 /root/secret
                """)
            for program in ["secretly", "capably", "cat"] {
                let result = try arena.exec(program, "/root/secret", options: ["--user", "nobody"])
                #expect(result.status != 0 && !result.stdout.contains("secret"), "\(program): \(result)")
            }
            // Nor do files of the host's that such a program would give away.
            for program in ["su", "newgrp", "passwd"] {
                let result = try arena.exec(
                    "sh", "-c", "\(program) </dev/null", options: ["--user", "nobody"])
                #expect(result.status != 0, "\(program): \(result)")
            }
        }
    }

    @Test func pathsThatLeadOut() throws {
        try attack { arena in
            let ckpt = arena.ckpt
            let secret = "\(ckpt.root)/secret"
            try "of the host\n".write(toFile: secret, atomically: true, encoding: .utf8)
            try arena.sh(
                """
                cd /root; ln -s \(secret) link; ln -s / slash; ln -s ../../../../../.. up
                ln -s /proc/1/root root; ln -s /proc/self/cwd here; mkdir d; ln -s \(ckpt.root) d/out
                """)
            let ways = [
                secret, "/root/link", "/root/slash\(secret)", "/root/up\(secret)", "/root/root\(secret)",
                "/root/here\(secret)", "/../../../..\(secret)", "/root/d/out/secret", "/proc/1/root\(secret)",
                "/proc/1/cwd\(secret)", "/proc/self/root\(secret)",
            ]
            for (number, path) in ways.enumerated() {
                let stolen = "\(ckpt.root)/stolen-\(number)"
                for arguments in [["read", "arena", path], ["cp", "arena:\(path)", stolen]] {
                    let result = try ckpt.call(arguments)
                    #expect(!result.stdout.contains("of the host"), "\(arguments): \(result)")
                }
                // A link is copied as one.
                let kind =
                    try? FileManager.default.attributesOfItem(atPath: stolen)[.type] as? FileAttributeType
                #expect(kind == nil || kind == .typeSymbolicLink, "\(path) gave \(String(describing: kind))")
                _ = try ckpt.call(["write", "arena", path], stdin: Data("evil".utf8))
                _ = try ckpt.call(
                    ["cp", "-", "arena:\((path as NSString).deletingLastPathComponent)"], stdin: Self.evil())
                #expect(
                    try String(contentsOfFile: secret, encoding: .utf8) == "of the host\n",
                    "written by \(path)")
            }
            let left = try FileManager.default.contentsOfDirectory(atPath: ckpt.root)
            #expect(!left.contains("evil") && !left.contains("disk"), "\(left)")
            #expect(try arena.sh("find / -xdev -type b 2>/dev/null | wc -l") == "0", "a disk's node came in")
        }
    }

    /// An archive with a device node, a path that climbs, and a link that is followed by a file through it.
    private static func evil() throws -> Data {
        let program = """
            import io, sys, tarfile
            t = tarfile.open(fileobj=sys.stdout.buffer, mode="w|")
            def add(name, kind, **fields):
                i = tarfile.TarInfo(name); i.type = kind
                for k, v in fields.items(): setattr(i, k, v)
                t.addfile(i, io.BytesIO(b"evil") if i.size else None)
            add("disk", tarfile.BLKTYPE, devmajor=8, devminor=0)
            add("memory", tarfile.CHRTYPE, devmajor=1, devminor=1)
            add("../../../../../../../../tmp/../evil", tarfile.REGTYPE, size=4)
            add("through", tarfile.SYMTYPE, linkname="/")
            add("through/evil", tarfile.REGTYPE, size=4)
            add("secret", tarfile.REGTYPE, size=4)
            t.close()
            """
        return try run(["/usr/bin/python3", "-c", program]).stdoutData
    }
}

/// A socket of the host's for each way in that a sandbox might find.
private final class HostListener {
    let name: String
    let port: UInt16
    private let abstract: Int32
    private let network: Int32

    init() throws {
        let kind = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
        let name = "ckpt-e2e-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
        self.name = name
        abstract = socket(AF_UNIX, kind, 0)
        network = socket(AF_INET, kind, 0)
        var path = sockaddr_un()
        path.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &path.sun_path) { $0[1...].copyBytes(from: name.utf8) }
        let length = socklen_t(MemoryLayout<sa_family_t>.size + 1 + name.utf8.count)
        var place = sockaddr_in()
        place.sin_family = sa_family_t(AF_INET)
        place.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let bound =
            Self.bind(abstract, path, length)
            && Self.bind(network, place, socklen_t(MemoryLayout<sockaddr_in>.size))
        guard bound, listen(abstract, 8) == 0, listen(network, 8) == 0 else {
            throw HarnessError("the host cannot listen: errno \(errno)")
        }
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let number = network
        _ = withUnsafeMutablePointer(to: &place) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                getsockname(number, __SOCKADDR_ARG(__sockaddr__: $0), &size)
            }
        }
        port = UInt16(bigEndian: place.sin_port)
    }

    deinit {
        close(abstract)
        close(network)
    }

    /// Whether nobody has connected.
    var wasLeftAlone: Bool { Self.isQuiet(abstract) && Self.isQuiet(network) }

    private static func isQuiet(_ listener: Int32) -> Bool {
        var waiting = pollfd(fd: listener, events: Int16(POLLIN), revents: 0)
        return poll(&waiting, 1, 0) == 0
    }

    private static func bind<Address>(_ socket: Int32, _ address: Address, _ length: socklen_t) -> Bool {
        withUnsafePointer(to: address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.bind(socket, __CONST_SOCKADDR_ARG(__sockaddr__: $0), length)
            }
        } == 0
    }
}
