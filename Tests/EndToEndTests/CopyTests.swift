import Foundation
import Glibc
import Messages
import Testing

/// Files and directories in and out of a sandbox.
@Suite struct CopyTests {
    private func shell(_ text: String, _ arguments: String...) throws -> CommandResult {
        let result = try run(["bash", "-ec", text, "bash"] + arguments)
        guard result.status == 0 else { throw HarnessError("\(text): \(result)") }
        return result
    }

    /// Everything about the files below a directory that a copy keeps, a line each.
    private static let census = """
        cd "$1"; find . -mindepth 1 -printf '%p %y %m %s %n %l\\n' | sort; getfattr -Rd . 2>/dev/null | grep user || :
        """

    @Test func bothWays() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("copy")
            let host = "\(ckpt.root)/host"
            _ = try shell(
                #"""
                mkdir -p "$1/src/d/e"; cd "$1/src"; chmod 710 d; echo text > a; ln a d/hard; ln -s ../a d/soft
                touch $'bad\xffname' 'ünï' $'two\nlines'; truncate -s 60M sparse; echo x >> sparse; mkfifo fifo
                setfattr -n user.note -v kept a; ln -s /etc/shadow shadow; chown 33:34 a; chown -h 12:13 shadow
                cp /bin/true suid; chmod 6755 suid; mknod device c 1 3
                python3 -c "import os
                for i in range(30): os.mkdir('n'*200); os.chdir('n'*200)
                open('bottom', 'w').write('deep')"
                """#, host)
            // FileManager cannot remove a path that is so long.
            defer { _ = try? shell(#"rm -rf "$1""#, host) }
            let into = try ckpt.ok("cp", "\(host)/src", "copy:/srv/")
            #expect(into.stderr.contains("left out src/device: it is a device node"), "\(into)")
            try ckpt.ok("cp", "copy:/srv/src", "\(host)/back")
            _ = try shell(#"cd "$1/src"; rm device; chmod 755 suid"#, host)
            let want = try shell(Self.census, "\(host)/src").stdoutData
            #expect(try shell(Self.census, "\(host)/back").stdoutData == want)
            #expect(want.count > 1000)
            #expect(
                try box.sh("find /srv/src ! -user 0 -o ! -group 0 | wc -l") == "0",
                "copied in belongs to root")
            #expect(try shell(#"du -k "$1/back/sparse" | cut -f1"#, host).line.count < 4, "the hole is gone")

            try ckpt.ok("cp", "-a", "\(host)/src/.", "copy:/srv/kept")
            #expect(
                try box.sh("stat -c %u:%g /srv/kept/a /srv/kept/shadow /srv/kept/suid") == "33:34\n12:13\n0:0"
            )
            try ckpt.ok("cp", "-a", "copy:/srv/kept/.", "\(host)/owned")
            #expect(try shell(#"stat -c %u:%g "$1/owned/a" "$1/owned/shadow""#, host).line == "33:34\n12:13")
            try ckpt.ok("cp", "copy:/srv/kept", "\(host)/mine")
            #expect(
                try shell(#"stat -c %u:%g "$1/mine/a""#, host).line == "0:0",
                "copied out belongs to the caller")
        }
    }

    @Test func whatACopyNeverDoes() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("never")
            let host = "\(ckpt.root)/host"
            _ = try shell(#"mkdir "$1"; echo secret > "$1/secret"; echo evil > "$1/core_pattern""#, host)
            let pattern = try String(contentsOfFile: "/proc/sys/kernel/core_pattern", encoding: .utf8)
            try box.sh(
                """
                cd /root; ln -s \(host) absolute; ln -s ../../../../../../../..\(host) dots
                ln -s /proc/1/root\(host) magic; ln -s /proc/sys/kernel kernel
                mkdir d; mkfifo d/fifo; ln -s \(host)/secret d/link
                python3 -c "import socket; socket.socket(socket.AF_UNIX).bind('d/socket')"
                """)
            for name in ["absolute", "dots", "magic"] {
                #expect(try ckpt("cp", "never:/root/\(name)/secret", "-").status == 125, "\(name)")
                #expect(
                    try ckpt("cp", "\(host)/core_pattern", "never:/root/\(name)/").status == 125, "\(name)")
            }
            expectRefusal(
                try ckpt("cp", "\(host)/core_pattern", "never:/root/kernel/"),
                names: ["/root/kernel", "/proc"])
            expectRefusal(
                try ckpt("cp", "\(host)/core_pattern", "never:/proc/sys/kernel/"), names: ["/proc"])
            let tar = try shell(
                #"cd "$1"; mkdir -p proc/sys/kernel; cp core_pattern proc/sys/kernel; tar -c proc"#, host)
            let through = try ckpt("cp", "-", "never:/", stdin: tar.stdoutData)
            #expect(through.status == 125 && through.stderr.contains("view of the kernel"), "\(through)")
            #expect(try String(contentsOfFile: "/proc/sys/kernel/core_pattern", encoding: .utf8) == pattern)

            // A FIFO is copied and not opened, a link is a link, a file of /proc has its text.
            let out = try ckpt("cp", "never:/root/d", "\(host)/d", deadline: 20)
            #expect(out.status == 0, "\(out)")
            #expect(try shell(#"cd "$1/d"; ls; readlink link"#, host).line == "fifo\nlink\n\(host)/secret")
            try ckpt.ok("cp", "never:/proc/1/status", "\(host)/status")
            #expect(
                try String(contentsOfFile: "\(host)/status", encoding: .utf8).hasPrefix("Name:\tckpt-init"))
            #expect(try FileManager.default.contentsOfDirectory(atPath: host).contains("core_pattern"))
            #expect(try String(contentsOfFile: "\(host)/secret", encoding: .utf8) == "secret\n")

            // What another program packed: names in UTF-8, a device, a link to a device.
            let other = """
                import tarfile, io, sys
                t = tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.PAX_FORMAT)
                i = tarfile.TarInfo("ünï/x"); i.size = 2; i.mode = 0o4755; t.addfile(i, io.BytesIO(b"hi"))
                i = tarfile.TarInfo("ü"); i.type = tarfile.LNKTYPE; i.linkname = "ünï/x"; t.addfile(i)
                i = tarfile.TarInfo("disk"); i.type = tarfile.BLKTYPE; i.devmajor = 8; t.addfile(i); t.close()
                """
            let made = try run(["/usr/bin/python3", "-c", other]).stdoutData
            let unpacked = try ckpt.ok("cp", "-", "never:/srv", stdin: made)
            #expect(unpacked.stderr == "ckpt: left out disk: it is a device node\n")
            #expect(try box.sh("cd /srv; ls; stat -c '%a %h' ünï/x; cat ü") == "ü\nünï\n755 2\nhi")
        }
    }

    /// A tree that is deeper than descriptors reach, and one that grows while it is copied, end with an answer.
    @Test func treesThatAreMade() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("trees")
            try box.sh(
                """
                python3 -c "import os
                os.mkdir('/root/deep'); os.chdir('/root/deep')
                for i in range(1000): os.mkdir('d'); os.chdir('d')"
                """)
            let deep = try ckpt("cp", "trees:/root/deep", "\(ckpt.root)/deep")
            #expect(deep.status == 125 && deep.stderr.contains("more than 400 deep"), "\(deep)")
            #expect(try box.exec("true").status == 0)
            let log = "while :; do echo line; done > /root/growing"
            let job = try ckpt.ok("exec", "-d", "trees", "--", "bash", "-c", log).line
            try box.waitFor("test -s /root/growing")
            try ckpt.ok("cp", "trees:/root/growing", "\(ckpt.root)/growing")
            try ckpt.ok("job", "--stop", "trees", job)
            let copied = try String(contentsOfFile: "\(ckpt.root)/growing", encoding: .utf8)
            #expect(copied.hasPrefix("line\nline\n"))
        }
    }
}
