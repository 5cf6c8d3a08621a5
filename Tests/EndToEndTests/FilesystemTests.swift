import Foundation
import Testing

/// Every kind of file comes back as it was: over a restore, in a fork, and in the generation after.
@Suite struct FilesystemTests {
    /// Makes two generations of files, and compares manifests before and after everything.
    private func checkFidelity(_ box: Sandbox, delete: String, replace: String, watched: [String]) throws {
        let python = "/usr/bin/python3 /root/fidelity.py"
        try box.install("fidelity.py")
        func manifest(_ box: Sandbox) throws -> [String] {
            let arguments = ["manifest", "/fidelity", replace, "/root"] + watched
            let result = try box.ckpt.succeed(
                ["exec", box.name, "--", "/usr/bin/python3", "/root/fidelity.py"] + arguments, deadline: 120)
            // Directory order and what Python caches are nobody's promise.
            return result.lines.filter { !$0.contains("__pycache__") }
        }
        func compare(_ box: Sandbox, with expected: [String], _ when: String) throws {
            let actual = try manifest(box)
            let lost = expected.filter { !Set(actual).contains($0) },
                new = actual.filter { !Set(expected).contains($0) }
            let shown =
                (lost.prefix(8).map { "- \($0.prefix(300))" } + new.prefix(8).map { "+ \($0.prefix(300))" })
            #expect(lost.isEmpty && new.isEmpty, "\(when): \(shown.joined(separator: "\n"))")
        }
        try box.sh("\(python) make \(delete) \(replace)")
        let first = try manifest(box)
        #expect(first.count > 380, "the first generation is short: \(first.count)")
        #expect(try box.exec("test", "-e", delete).status == 1)
        let firstID = try box.save()
        try compare(box, with: first, "after the save")

        try box.sh("\(python) wreck; echo back > \(delete); echo more > \(replace)/more")
        try box.restore(firstID)
        try compare(box, with: first, "after the restore")
        #expect(try box.exec("test", "-e", delete).status == 1, "a deleted base file came back")

        try box.sh("\(python) again; rm -rf \(replace); mkdir \(replace); echo twice > \(replace)/twice")
        let second = try manifest(box)
        #expect(second != first)
        let secondID = try box.save()
        try box.sh("\(python) wreck; rm -rf \(replace)")
        try box.restore(secondID)
        try compare(box, with: second, "the second generation restored")
        try compare(try box.ckpt.fork(secondID)[0], with: second, "the second generation forked")
        try compare(try box.ckpt.fork(firstID)[0], with: first, "the first generation forked later")
        try box.restore(firstID)
        try compare(box, with: first, "back to the first generation")
        try box.restore(secondID)
        try compare(box, with: second, "and forth to the second")
        #expect(
            try box.sh("stat -c %b /fidelity/sparse/file").count < 5, "the holes of a sparse file were filled"
        )
    }

    @Test func hostBaseKeepsEveryKindOfFile() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("files")
            try checkFidelity(
                box, delete: "/etc/debian_version", replace: "/etc/skel", watched: ["/etc"])
            #expect(FileManager.default.fileExists(atPath: "/etc/debian_version"), "the host lost a file")
            #expect(FileManager.default.fileExists(atPath: "/etc/skel/.bashrc"), "the host lost a directory")
            try ckpt.ok("reset", "files")
            #expect(try box.exec("test", "-e", "/fidelity").status == 1)
            #expect(try box.exec("test", "-e", "/etc/skel/.bashrc").status == 0)
        }
    }

    @Test func directoryBaseKeepsEveryKindOfFile() throws {
        try withHost("true") { ckpt, host in
            let base = try DirectoryBase(at: "\(host)/base")
            let before = try run([
                "bash", "-c", "cd \"$1\"; find . | sort | xargs -d '\\n' stat -c '%n %s %Y'", "bash",
                base.path,
            ])
            let box = try ckpt.create("files", "--base", base.path)
            #expect(try box.sh("cat /kept /replaced/below/deeper/file") == "base\nbase")
            #expect(try box.exec("test", "-e", "/usr/bin/gcc").status == 1, "the host shines through")
            try checkFidelity(box, delete: "/deleted", replace: "/replaced", watched: ["/kept", "/etc"])
            let after = try run([
                "bash", "-c", "cd \"$1\"; find . | sort | xargs -d '\\n' stat -c '%n %s %Y'", "bash",
                base.path,
            ])
            #expect(before.stdout == after.stdout, "the base directory was written to")
        }
    }

    @Test func hostBaseHidesTheHostsData() throws {
        try withCkpt { ckpt in
            let marker = "ckpt-e2e-secret-\(getpid())"
            let planted = [
                "/tmp/\(marker)", "/var/tmp/\(marker)", "/root/\(marker)", "/home/\(marker)",
                "/srv/\(marker)",
            ]
            for path in planted { try marker.write(toFile: path, atomically: false, encoding: .utf8) }
            defer { for path in planted { unlink(path) } }
            let directory = "/var/tmp/\(marker)-directory"
            mkdir(directory, 0o755)
            defer { rmdir(directory) }
            let box = try ckpt.create("hidden")
            for path in planted {
                #expect(try box.exec("test", "-e", path).status == 1, "\(path) is to be seen inside")
            }
            for directory in ["/root", "/home", "/tmp", "/srv", "/mnt", "/media", "/boot", "/var/tmp"] {
                #expect(try box.sh("ls -A \(directory)") == "", "\(directory) is not empty inside")
            }
            #expect(try box.exec("test", "-e", ckpt.root).status == 1, "ckpt's own state is to be seen")
            // A host in a container may have none of these; what it has must not be shown.
            let shadow = (try? String(contentsOfFile: "/etc/shadow", encoding: .utf8)) ?? ""
            let hashes = shadow.split(separator: "\n").compactMap { line -> Substring? in
                let fields = line.split(separator: ":", omittingEmptySubsequences: false)
                return fields.count > 1 && fields[1].count > 3 ? fields[1] : nil
            }
            let inside = try box.sh("cat /etc/shadow /etc/shadow- /etc/gshadow 2>/dev/null; true")
            for hash in hashes { #expect(!inside.contains(hash), "a password hash is to be seen") }
            #expect(try box.sh("cat /etc/ssh/ssh_host_*_key 2>/dev/null; true") == "")
            let machineID = (try? String(contentsOfFile: "/etc/machine-id", encoding: .utf8)) ?? ""
            if machineID.count > 8 {
                #expect(try box.sh("cat /etc/machine-id; true") != machineID.dropLast())
            }
            #expect(try box.sh("ls -A /proc/1/root/root 2>/dev/null; true") == "")
        }
    }

    @Test func whatIsWrittenInsideStaysInside() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("inside")
            let name = "ckpt-e2e-inside-\(getpid())"
            try box.sh(
                """
                for d in /tmp /etc /usr/bin /var/tmp /opt /run /dev/shm /; do echo x > $d/\(name); done
                rm /usr/bin/env
                """
            )
            for directory in ["/tmp", "/etc", "/usr/bin", "/var/tmp", "/opt", "/run", "/dev/shm", "/"] {
                #expect(
                    !FileManager.default.fileExists(atPath: "\(directory)/\(name)"), "\(directory) leaked")
            }
            #expect(FileManager.default.fileExists(atPath: "/usr/bin/env"))
            let snapshot = try box.save()
            try box.sh("rm /tmp/\(name) /dev/shm/\(name) /run/\(name)")
            try box.restore(snapshot)
            for directory in ["/tmp", "/etc", "/usr/bin", "/var/tmp", "/opt", "/run", "/dev/shm", "/"] {
                #expect(try box.sh("cat \(directory)/\(name)") == "x", "\(directory) was not saved")
            }
            let second = try ckpt.create("beside")
            #expect(try second.exec("test", "-e", "/etc/\(name)").status == 1, "two sandboxes share files")
        }
    }
}
