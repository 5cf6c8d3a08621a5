import Foundation
import Glibc
import Messages
import Testing

/// Single files over the command line and the API: read and written inside the sandbox, and nowhere else.
@Suite struct FileAccessTests {
    @Test func readingAndWriting() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("files")
            let data = try run([
                "/usr/bin/python3", "-c",
                "import random,sys; sys.stdout.buffer.write(random.Random(7).randbytes(5_000_001))",
            ]).stdoutData
            try ckpt.ok("write", "files", "/root/data", stdin: data)
            #expect(try ckpt.ok("read", "files", "/root/data").stdoutData == data)
            let part = try ckpt.ok("read", "--offset", "300000", "--limit", "400000", "files", "/root/data")
            #expect(part.stdoutData == data[300_000..<700_000])
            #expect(try box.sh("stat -c '%s %u:%g %a' /root/data") == "5000001 0:0 644")
            try box.sh("chown 33:34 /root/data; chmod 600 /root/data; ln /root/data /root/twin")
            try ckpt.ok("write", "files", "/root/data", stdin: Data("new".utf8))
            try ckpt.ok("write", "--append", "files", "/root/data", stdin: Data("er".utf8))
            #expect(try box.sh("cat /root/twin; stat -c ' %u:%g %a' /root/twin") == "newer 33:34 600")
            try ckpt.ok("write", "--atomic", "files", "/root/data", stdin: Data("other".utf8))
            #expect(try box.sh("cat /root/twin /root/data; ls -A /root") == "newerotherdata\ntwin")
            let info = try ckpt.json(
                FileInfo.self,
                ["write", "-p", "--mode", "4750", "--user", "nobody", "files", "/srv/new/er/file"])
            #expect(info.mode == 0o4750 && info.uid == 65534 && info.kind == .file && info.size == 0)
            #expect(try box.sh("stat -c '%U %a' /srv/new/er/file /srv/new") == "nobody 4750\nroot 755")
            #expect(try ckpt.ok("read", "files", "/proc/1/comm").stdout == "ckpt-init\n")
            expectRefusal(
                try ckpt("read", "files", "/root/none"), names: ["/root/none", "No such"], hint: false)
            expectRefusal(try ckpt("write", "files", "/none/file"), names: ["/none/file"], hint: false)
            expectRefusal(try ckpt("read", "files", "/etc"), names: ["/etc", "directory"], hint: false)
            #expect(try ckpt("write", "--mode", "99", "files", "/root/x").status == 2)
            #expect(try ckpt("read", "files", "relative").status == 2)
        }
    }

    /// Nothing that lies in a sandbox makes ckpt reach a file of the host, hang, or open a device.
    @Test func nothingLeadsOut() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("walls")
            let secret = "\(ckpt.root)/secret"
            try Data("host's own".utf8).write(to: URL(fileURLWithPath: secret))
            let shadow = try String(contentsOfFile: "/etc/shadow", encoding: .utf8)
            let pattern = try String(contentsOfFile: "/proc/sys/kernel/core_pattern", encoding: .utf8)
            try box.sh(
                """
                cd /root; echo inside > /etc/shadow
                ln -s \(secret) absolute; ln -s ../../../../../../../..\(secret) dots; ln -s / up
                ln -s /proc/1/root\(secret) magic; ln -s /proc/self/root\(secret) self
                ln -s /proc/thread-self/root\(secret) thread; ln -s /proc/1/cwd\(secret) cwd
                ln -s /proc/sys/kernel/core_pattern kernel; ln -s /etc/shadow shadow
                ln -s loop loop; mkfifo fifo; ln -s /dev/zero device
                python3 -c "import socket; socket.socket(socket.AF_UNIX).bind('socket')"
                """)
            for name in ["absolute", "dots", "up\(secret)", "magic", "self", "thread", "cwd", "loop"] {
                let read = try ckpt("read", "walls", "/root/\(name)", deadline: 20)
                #expect(read.status == 125 && read.stdout == "", "\(name): \(read)")
                let written = try ckpt("write", "walls", "/root/\(name)", stdin: Data("X".utf8), deadline: 20)
                #expect(written.status == 125, "\(name): \(written)")
            }
            for name in [
                "/root/fifo", "/root/device", "/root/socket", "/dev/zero", "/dev/pts/ptmx", "/dev/null",
            ] {
                expectRefusal(try ckpt("read", "walls", name, deadline: 20), names: [name, "FIFO"])
                let written = try ckpt("write", "walls", name, stdin: Data("X".utf8), deadline: 20)
                #expect(written.status == 125, "\(name): \(written)")
            }
            expectRefusal(try ckpt("write", "walls", "/root/kernel"), names: ["/root/kernel", "/proc"])
            expectRefusal(try ckpt("write", "--atomic", "walls", "/proc/sys/kernel/x"), names: ["/proc"])
            #expect(try ckpt.ok("read", "walls", "/root/shadow").stdout == "inside\n")
            try ckpt.ok("write", "walls", "/root/shadow", stdin: Data("written".utf8))
            #expect(try box.sh("cat /etc/shadow") == "written")
            expectRefusal(
                try ckpt("read", "walls", "/" + String(repeating: "d/", count: 3000)),
                names: ["File name too long"],
                hint: false)
            #expect(try String(contentsOfFile: secret, encoding: .utf8) == "host's own")
            #expect(try String(contentsOfFile: "/etc/shadow", encoding: .utf8) == shadow)
            #expect(try String(contentsOfFile: "/proc/sys/kernel/core_pattern", encoding: .utf8) == pattern)
        }
    }

    /// A directory on the way that becomes a symbolic link and back, as fast as a sandbox can.
    @Test func swappedParents() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("race")
            let outside = "\(ckpt.root)/outside"
            try FileManager.default.createDirectory(atPath: outside, withIntermediateDirectories: true)
            try Data("host".utf8).write(to: URL(fileURLWithPath: "\(outside)/file"))
            try box.write(
                Data(
                    """
                    import ctypes, os, sys
                    libc = ctypes.CDLL(None)
                    os.makedirs("/root/way/real"); open("/root/way/real/file", "w").write("inside")
                    os.symlink(sys.argv[1], "/root/way/link")
                    os.rename("/root/way/real", "/root/way/a"); os.rename("/root/way/link", "/root/way/b")
                    open("/root/swapping", "w")
                    while True: libc.renameat2(-100, b"/root/way/a", -100, b"/root/way/b", 2)
                    """.utf8), to: "/root/swap.py")
            let job = try ckpt.ok("exec", "-d", "race", "--", "python3", "/root/swap.py", outside).line
            try box.waitFor("test -e /root/swapping")
            let loop = """
                import http.client, socket, sys
                class Local(http.client.HTTPConnection):
                    def connect(self): self.sock = socket.socket(socket.AF_UNIX); self.sock.connect(sys.argv[1])
                c = Local("x"); seen = {}
                for i in range(3000):
                    path = "/v1/sandboxes/race/file?path=/root/way/a/file"
                    if i % 2: c.request("PUT", path + ("&atomic=1" if i % 4 == 1 else ""), b"inside")
                    else: c.request("GET", path)
                    r = c.getresponse(); body = r.read()
                    assert i % 2 or r.status != 200 or body in (b"inside", b""), body
                    seen[r.status] = seen.get(r.status, 0) + 1
                print(sorted(seen))
                """
            let raced = try run(["/usr/bin/python3", "-c", loop, ckpt.socket], deadline: 120)
            #expect(raced.status == 0 && raced.stdout.contains("200"), "\(raced)")
            for _ in 0..<10 {
                let copied = try ckpt("cp", "race:/root/way/a/file", "-")
                #expect(!copied.stdout.contains("host"), "\(copied)")
                try Data("COPIED".utf8).write(to: URL(fileURLWithPath: "\(ckpt.root)/file"))
                _ = try ckpt("cp", "\(ckpt.root)/file", "race:/root/way/a/")
            }
            #expect(try FileManager.default.contentsOfDirectory(atPath: outside) == ["file"])
            #expect(try String(contentsOfFile: "\(outside)/file", encoding: .utf8) == "host")
            try ckpt.ok("job", "--stop", "race", job)
        }
    }

    @Test func listingAndNamesThatAreNoText() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("names")
            try box.sh(
                "mkdir /root/d; cd /root/d; touch plain $'not\\xfftext'; ln -s plain link; mkfifo fifo; mkdir sub"
            )
            let get = { (target: String) in
                try run(["curl", "-s", "--unix-socket", ckpt.socket, "http://x/v1/sandboxes/names/" + target])
                    .stdoutData
            }
            let listing = try JSONDecoder().decode(DirectoryListing.self, from: get("directory?path=/root/d"))
            #expect(listing.entries.map(\.kind) == [.fifo, .symlink, .file, .file, .directory])
            #expect(listing.entries.compactMap(\.name) == ["fifo", "link", "plain", "sub"])
            #expect(
                listing.entries[2].nameBase64
                    == Data([110, 111, 116, 255] + Array("text".utf8)).base64EncodedString())
            let link = try JSONDecoder().decode(FileInfo.self, from: get("stat?path=/root/d/link"))
            #expect(link.kind == .symlink && link.target == "plain")
            let target = try JSONDecoder().decode(FileInfo.self, from: get("stat?path=/root/d/link&follow=1"))
            #expect(target.kind == .file && target.name == "link")
        }
    }

    /// A body that breaks off leaves a file that is to be replaced in one step as it was, and nothing beside it.
    @Test func uploadThatBreaksOff() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("broken")
            try box.sh("mkdir /root/d; echo old > /root/d/file")
            let half = """
                import socket, sys
                s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])
                s.sendall(b"PUT /v1/sandboxes/broken/file?path=/root/d/file&atomic=1 HTTP/1.1\\r\\nHost: x\\r\\n"
                          b"Content-Length: 100000\\r\\n\\r\\n" + b"x" * 50000)
                """
            for text in [half, half.replacingOccurrences(of: "&atomic=1", with: "")] {
                #expect(try run(["/usr/bin/python3", "-c", text, ckpt.socket]).status == 0)
            }
            try ckpt.ok("write", "broken", "/root/d/file", stdin: Data("o".utf8))
            #expect(try box.sh("cat /root/d/file") == "o")
            try ckpt.ok("write", "broken", "/root/d/file", stdin: Data(repeating: 120, count: 200_000))
            #expect(try box.sh("wc -c < /root/d/file") == "200000")
            try ckpt.ok("write", "broken", "/root/d/file", stdin: Data(repeating: 121, count: 70_000))
            #expect(try box.sh("tr -d y < /root/d/file | wc -c; wc -c < /root/d/file") == "0\n70000")
            try ckpt.ok("write", "broken", "/root/d/file", stdin: Data("old".utf8))
            try box.waitFor("test \"$(ls -A /root/d)\" = file")
            #expect(try box.sh("cat /root/d/file") == "old")
        }
    }
}
