import Foundation
import Glibc
import Messages
import Testing

/// What a sandbox is kept from seeing and changing by its mounts, and the files and nodes it is given.
@Suite struct FileWallTests {
    /// What Docker hides: nothing can be read there. What it locks: nothing can be written there.
    @Test func maskedPaths() throws {
        try withCkpt { ckpt in
            let before = try String(contentsOfFile: "/proc/sys/kernel/core_pattern", encoding: .utf8)
            let look = """
                for f in kcore keys latency_stats timer_list timer_stats sched_debug interrupts; do
                    if [ -e /proc/$f ]; then head -c 100 /proc/$f; fi; done
                ls -A /proc/acpi /proc/scsi /proc/asound /sys/firmware /sys/devices/virtual/powercap 2>/dev/null |
                    grep -v : | tr -d '\\n'
                for f in sys/kernel/core_pattern sys/net/ipv4/ip_forward sys/vm/drop_caches irq/0/smp_affinity \
                    irq/default_smp_affinity sysrq-trigger fs/new bus/new; do
                    if (echo 1 > /proc/$f) 2>/dev/null; then echo wrote $f; fi; done
                for f in /sys/kernel/mm/ksm/run /sys/new; do
                    if (echo 0 > $f) 2>/dev/null; then echo wrote $f; fi; done
                echo; cat /proc/sys/kernel/ostype
                """
            let box = try ckpt.create("masked")
            // A file open below a mask is a file like others.
            try box.say("exec 7< /proc/sys/kernel/ostype; cd /proc/sys/net")
            try everywhere(box) { (box, when) throws in
                #expect(try box.sh(look) == "\nLinux", "\(when)")
                #expect(try box.say("pwd") == "/proc/sys/net", "\(when)")
            }
            #expect(try String(contentsOfFile: "/proc/sys/kernel/core_pattern", encoding: .utf8) == before)
            // In its own network namespace, on its own behalf: what the mask kept it from.
            let open = try ckpt.create("open", "--security-opt", "systempaths=unconfined")
            try everywhere(open) { (box, when) throws in
                #expect(try box.sh("head -c 100 /proc/interrupts | wc -c") == "100", "\(when)")
            }
            #expect(try ckpt.ok("show", "open").stdout.contains("nothing masked"))
        }
    }

    @Test func readablePlaces() throws {
        let script = """
            mkdir -p base/{home/me/project,home/you,secret,var/lib/x}; cd base; echo s | tee home/me/s home/you/y \
                secret/y var/lib/x/y > top; echo p > home/me/project/p; chmod 750 home/you; ln -s home/me/project short
            """
        try withHost(script) { ckpt, host in
            _ = try DirectoryBase(at: "\(host)/base")
            let box = try ckpt.create(
                "reads", "--base", "\(host)/base", "--readable", "/short", "--writable", "/desk")
            try box.sh("echo kept > /desk/f")
            try everywhere(box) { (box, when) throws in
                #expect(try box.sh("cat /home/me/project/p /short/p /desk/f") == "p\np\nkept", "\(when)")
                #expect(
                    try box.sh("echo $(ls -A /home) $(ls -A /home/me /home/you /secret /var /root /replaced)")
                        == "me you /home/me: project /home/you: /replaced: /root: /secret: /var:", "\(when)")
                #expect(try box.sh("stat -c %a /home/you") == "750", "\(when)")
                for file in ["/top", "/kept", "/home/me/s", "/secret/y", "/var/lib/x/y"] {
                    #expect(try box.exec("cat", file).status == 1, "\(when): \(file) can be read")
                }
                #expect(try box.sh("(echo x > /home/me/project/p) 2>&1 || true").contains("Read-only"))
            }
            let all = try ckpt.create("all", "--base", "\(host)/base", "--readable", "/")
            #expect(try all.sh("cat /top /home/me/s") == "s\ns")
        }
    }

    @Test func devices() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create(
                "nodes", "--device", "/dev/zero:/dev/some/zero:r", "--device", "/dev/full:/dev/full2",
                "--device", "/dev/fuse")
            // Opened before the save, read after it.
            try box.say("exec 7< /dev/some/zero")
            try everywhere(box) { (box, when) throws in
                #expect(
                    try box.sh("stat -c '%a %t:%T %F' /dev/some/zero /dev/full2 /dev/fuse")
                        == """
                        444 1:5 character special file
                        666 1:7 character special file
                        666 a:e5 character special file
                        """, "\(when)")
                #expect(
                    try box.sh("head -c 3 /dev/some/zero | od -An -c").contains("\\0  \\0  \\0"), "\(when)")
                #expect(try box.say("head -c 5 <&7 | wc -c") == "5", "\(when)")
                #expect(try box.sh("(echo x > /dev/full2) 2>&1 || true").contains("No space"), "\(when)")
                #expect(try box.sh("mknod /dev/mem c 1 1 2>&1 || true").contains("not permitted"), "\(when)")
            }
        }
    }

    @Test func nameFiles() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create(
                "names", "--dns", "192.0.2.1", "--dns", "2001:db8::1", "--add-host", "db:192.0.2.7",
                "--add-host",
                "db6:2001:db8::7", "--hostname", "box.example")
            try everywhere(box) { (box, when) throws in
                #expect(
                    try box.sh("cat /etc/resolv.conf") == "nameserver 192.0.2.1\nnameserver 2001:db8::1",
                    "\(when)")
                #expect(try box.sh("getent hosts db").hasPrefix("192.0.2.7 "), "\(when)")
                #expect(try box.sh("getent hosts db6").hasPrefix("2001:db8::7 "), "\(when)")
                #expect(try box.sh("getent hosts $(hostname) localhost | wc -l") == "2", "\(when)")
            }
            // They are files like others: what is written there stays, and goes with a reset.
            try box.sh("echo '192.0.2.9 mine' >> /etc/hosts")
            try box.restore(try box.save())
            #expect(try box.sh("getent hosts mine").hasPrefix("192.0.2.9"))
            try ckpt.ok("reset", "names")
            #expect(try box.exec("getent", "hosts", "mine").status == 2)
            #expect(try box.sh("getent hosts db").hasPrefix("192.0.2.7"))
        }
    }

    @Test func badValues() throws {
        try withHost("mkdir d; touch f; mkdir -p b/{usr,etc}; ln -s /proc b/link") { ckpt, host in
            func refused(_ status: Int32, _ words: [String], _ options: String...) throws {
                expectRefusal(try ckpt.call(["create", "no"] + options), status: status, names: words)
            }
            let volume = "HOST:BOX[:ro|rw|cow]"
            try refused(2, ["relative:/x", volume], "-v", "relative:/x")
            try refused(2, ["/a:/b:rx", "ro, rw and cow", volume], "-v", "/a:/b:rx")
            try refused(2, ["/a:/", volume], "-v", "/a:/")
            try refused(2, ["/x:size=0", "size"], "--tmpfs", "/x:size=0")
            try refused(2, ["/x:huge", "size=SIZE"], "--tmpfs", "/x:huge")
            try refused(2, ["lots", "512m"], "--shm-size", "lots")
            try refused(2, ["fuse", "/dev/fuse"], "--device", "fuse")
            try refused(2, ["one.one", "1.1.1.1"], "--dns", "one.one")
            try refused(2, ["db", "NAME:ADDRESS"], "--add-host", "db")
            try refused(2, ["work", "starts with /"], "--writable", "work")
            try refused(2, ["../x", "starts with /"], "--readable", "../x")
            try refused(125, ["\(host)/none", "No such file", volume], "-v", "\(host)/none:/x")
            try refused(125, ["\(host)/f", "a directory"], "-v", "\(host)/f:/x:cow")
            try refused(125, ["\(ckpt.root)", "the store"], "-v", "/tmp:/x:cow")
            try refused(125, ["/dev/none", "No such file"], "--device", "/dev/none")
            try refused(125, ["\(host)/f", "no device"], "--device", "\(host)/f")
            try refused(125, ["/proc/x", "/proc"], "-v", "\(host)/d:/proc/x")
            try refused(
                125, ["/proc", "choose another path"], "--base", "\(host)/b", "-v", "\(host)/d:/link/x")
            try refused(125, ["/x"], "-v", "\(host)/d:/x", "--tmpfs", "/x")
            #expect(try ckpt.sandboxes().isEmpty)
        }
    }
}
