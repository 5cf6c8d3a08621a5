import Foundation
import Glibc
import Messages
import Testing

/// What a spec mounts, hides and locks: as it was asked for, after a save, after a restore, in a fork, and in the
/// generation after that.
@Suite struct FileOptionTests {
    private func text(_ path: String) -> String? { try? String(contentsOfFile: path, encoding: .utf8) }

    @Test func volumes() throws {
        let script = """
            mkdir -p rw ro cow/sub inner; echo rw > rw/f; echo ro > ro/f; echo cow | tee cow/f > cow/sub/g
            echo file > file; echo in > inner/f; mknod ro/zero c 1 5; ln -s nowhere cow/link
            """
        try withHost(script) { ckpt, host in
            let box = try ckpt.create(
                "volumes", "-v", "\(host)/rw:/data", "-v", "\(host)/ro:/opt/new/ro:ro", "-v",
                "\(host)/cow:/cow:cow",
                "-v", "\(host)/file:/etc/extra", "-v", "\(host)/inner:/cow/made/inner", "-v",
                "\(host)/ro:/var/run/r:ro")
            try box.sh("echo changed > /cow/f; rm -r /cow/sub; echo n > /cow/new; echo x > /etc/extra")
            let fork = try everywhere(box) { (box, when) throws in
                #expect(
                    try box.sh(
                        "cat /data/f /opt/new/ro/f /cow/f /cow/new /etc/extra /cow/made/inner/f /run/r/f")
                        == "rw\nro\nchanged\nn\nx\nin\nro", "\(when)")
                #expect(try box.sh("ls /cow") == "f\nlink\nmade\nnew", "\(when)")
                #expect(
                    try box.sh("touch /opt/new/ro/x 2>&1 || true").contains("Read-only"), "\(when)")
                #expect(
                    try box.sh("head -c1 /opt/new/ro/zero 2>&1 || true").contains("Permission denied"),
                    "\(when): a device node of a volume works")
            }
            // Written through, by whoever; never rolled back.
            try box.sh("echo more >> /data/f; echo again > /cow/f; echo y > /cow/made/inner/f")
            try box.restore()
            #expect(try box.sh("cat /data/f /cow/f /cow/made/inner/f") == "rw\nmore\nchanged\ny")
            #expect(try fork.sh("cat /data/f") == "rw\nmore")
            #expect(text("\(host)/rw/f") == "rw\nmore\n" && text("\(host)/file") == "x\n")
            #expect(text("\(host)/cow/f") == "cow\n" && text("\(host)/cow/sub/g") == "cow\n")
            try ckpt.ok("reset", "volumes")
            #expect(try box.sh("cat /cow/f /cow/sub/g /data/f") == "cow\ncow\nrw\nmore")
            #expect(try ckpt.ok("show", "volumes").stdout.contains("\(host)/cow:/cow:cow"))
        }
    }

    /// A restore that cannot succeed is refused before the running sandbox is touched.
    @Test func missingVolumes() throws {
        try withHost("mkdir v; echo v > v/f; echo f > file") { ckpt, host in
            let box = try ckpt.create("gone", "-v", "\(host)/v:/v", "-v", "\(host)/file:/f")
            let snapshot = try box.save()
            let witness = try Witness(box)
            try #require(rename("\(host)/v", "\(host)/w") == 0)
            expectRefusal(try ckpt("restore", "gone", snapshot), names: ["\(host)/v", "No such file"])
            expectRefusal(try ckpt("fork", snapshot), names: ["\(host)/v", "No such file"])
            try witness.check("a refused restore")
            try ServerTests.crash(ckpt)
            #expect(try box.sh("cat /v/f") == "v", "a server that starts gives up a sandbox that runs")
            try #require(rename("\(host)/w", "\(host)/v") == 0)
            try box.restore(snapshot)
            #expect(try box.sh("cat /v/f /f") == "v\nf")
        }
    }

    @Test func memoryBackedDirectories() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create(
                "memory", "--tmpfs", "/scratch/deep:size=1m,mode=750", "--tmpfs", "/run/x:exec,size=1m",
                "--shm-size", "2m")
            try box.startPython()
            try box.say(
                """
                put 'import mmap, os' 'f = open("/dev/shm/m", "w+b")' 'n = f.write(b"x" * 4096); f.flush()' \
                  'm = mmap.mmap(f.fileno(), 4096)' 'g = open("/scratch/deep/gone", "w+b")' \
                  'n = g.write(b"gone"); g.flush()' 'os.unlink("/scratch/deep/gone")' 'm[:3] = b"abc"'
                ask 'print(m[:3])'
                """)
            try box.sh(
                """
                cd /scratch/deep; mkdir -p d/e; echo kept > d/e/f; ln d/e/f d/hard; ln -s f d/e/link; mkfifo d/p
                chown 1234:5 d/e/f; truncate -s 900k d/sparse; echo 'echo ran' > /run/x/run; chmod 755 /run/x/run
                """)
            try everywhere(box) { (box, when) throws in
                let full = "dd if=/dev/zero of=/scratch/deep/big bs=64k count=40 2>&1; rm /scratch/deep/big"
                #expect(try box.sh(full).contains("No space left on device"), "\(when)")
                #expect(
                    try box.sh("df -B1 --output=size /scratch/deep /dev/shm | tail -n 2 | tr -d ' '")
                        == "1048576\n2097152", "\(when)")
                #expect(try box.sh("stat -c '%a %F' /scratch/deep") == "750 directory", "\(when)")
                #expect(
                    try box.sh("cd /scratch/deep/d; cat e/link; stat -c '%u:%g %h' e/f; stat -c %F p")
                        == "kept\n1234:5 2\nfifo", "\(when)")
                #expect(try box.sh("/run/x/run") == "ran", "\(when)")
                #expect(
                    try box.sh("cp /run/x/run /scratch/deep/r; /scratch/deep/r 2>&1; rm /scratch/deep/r")
                        .contains("Permission denied"), "\(when)")
                // The mapping and the file are one, and the deleted file is still open.
                let answer = try box.say("put 'n = g.seek(0); m[3:4] = b\"d\"'; ask 'print(m[:4], g.read())'")
                #expect(answer == "b'abcd' b'gone'", "\(when)")
                #expect(try box.sh("head -c 4 /dev/shm/m") == "abcd", "\(when)")
            }
            try box.sh("rm -r /scratch/deep/d; echo new > /scratch/deep/new")
            try box.restore()
            #expect(try box.sh("ls /scratch/deep") == "d", "the content is not rolled back")
            try box.sh("rm -r /scratch/deep/d")
            try box.restore(try box.save())
            #expect(try box.sh("ls /scratch/deep") == "", "what was removed came back")
        }
    }

    /// Tries to write in many places; prints those where it could.
    private static let tryWriting = """
        for d in / /root /etc /usr /tmp /var/tmp /opt /dev /dev/shm /desk /var/lib/deep /data; do
            f=$d/written-$RANDOM; if (echo y > $f) 2>/dev/null; then echo $d; rm $f; fi
        done
        """

    @Test func readOnlyRoots() throws {
        try withHost("mkdir data") { ckpt, host in
            let box = try ckpt.create(
                "locked", "--read-only", "--tmpfs", "/desk", "-v", "\(host)/data:/data")
            try box.say("x=kept; exec 7> /dev/shm/open; cd /desk")
            let job = try ckpt.ok("exec", "-d", "locked", "--", "sleep", "1000").line
            try everywhere(box) { (box, when) throws in
                #expect(try box.sh(Self.tryWriting) == "/dev/shm\n/desk\n/data", "\(when)")
                #expect(try box.say("echo $x; pwd; echo seven >&7") == "kept\n/desk", "\(when)")
                #expect(try box.sh("echo > /dev/null; pgrep -x sleep | wc -l") == "1", "\(when)")
            }
            #expect(try ckpt.ok("jobs", "locked").stdout.contains(job))
            #expect(try ckpt.ok("show", "locked").stdout.contains("read-only"))
            try ckpt.ok("reset", "locked")
            #expect(try box.sh(Self.tryWriting) == "/dev/shm\n/desk\n/data")
        }
    }

    @Test func writablePlaces() throws {
        try withHost("mkdir data") { ckpt, host in
            let box = try ckpt.create(
                "some", "--writable", "/desk", "--writable", "/var/lib/deep", "--writable", "/etc/hosts",
                "-v", "\(host)/data:/data")
            try box.sh("echo kept > /desk/kept; echo more >> /etc/hosts")
            try box.say("exec 7> /desk/open; exec 8> /desk/gone; rm /desk/gone; cd /desk")
            try everywhere(box) { (box, when) throws in
                #expect(try box.sh(Self.tryWriting) == "/desk\n/var/lib/deep\n/data", "\(when)")
                #expect(try box.sh("cat /desk/kept; tail -n 1 /etc/hosts") == "kept\nmore", "\(when)")
                try box.say("echo 7 >&7; echo 8 >&8; pwd")
                #expect(
                    try box.sh("rm -f /etc/passwd 2>&1 || true").contains("Read-only"), "\(when)")
            }
            try box.sh("echo changed > /desk/kept")
            try box.restore()
            #expect(try box.sh("cat /desk/kept") == "kept")
            let all = try ckpt.create("all", "--writable", "/").sh(Self.tryWriting)
            #expect(try ckpt.create("none").sh(Self.tryWriting) == all)
        }
    }
}
