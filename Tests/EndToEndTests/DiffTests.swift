import Foundation
import Messages
import Testing

/// What `ckpt diff` finds, held against what a test did.
@Suite struct DiffTests {
    @Test func filesOfEveryKindOfChange() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("box")
            try box.sh(
                """
                cd /root; mkdir -p kept emptied swapped; echo one > kept/a; echo two > kept/b; echo x > emptied/old
                echo t > turned; echo m > mode; echo o > owner; ln -s a link; printf 'l1\\nl2\\nl3\\nl4\\nl5\\n' > lines
                head -c 3000 /dev/zero > binary; echo inner > swapped/inner; echo same > touched; mkfifo fifo
                """)
            let before = try box.save("-t", "before")
            try box.sh(
                """
                cd /root; rm kept/a; rm -r emptied; mkdir emptied; echo new > emptied/new; rm turned; mkdir turned
                chmod 600 mode; chown 7:8 owner; ln -sfn b link; sed -i 's/l3/L3/' lines; printf X >> binary
                rm -r swapped; echo file > swapped; touch touched; rm fifo; echo > 'two words'; printf 'no end' > open
                printf 'x' > "$(printf 'b\\377d')"; echo '# more' >> /etc/hosts; rm /usr/bin/yes
                """)
            let after = try box.save("-t", "after")
            let diff = try ckpt.json(SnapshotDiff.self, ["diff", "before", "after", "--patch"])
            #expect(diff.from == before && diff.to == after)
            let files = Dictionary(uniqueKeysWithValues: diff.files.map { ($0.path, $0) })
            let changes = diff.files.map { "\($0.change) \($0.path)" }
            #expect(
                Set(changes) == [
                    "deleted /root/kept/a", "deleted /root/emptied/old", "added /root/emptied/new",
                    "modified /root/turned", "metadata /root/mode", "metadata /root/owner",
                    "modified /root/link",
                    "modified /root/lines", "modified /root/binary", "modified /root/swapped",
                    "deleted /root/swapped/inner", "deleted /root/fifo", "added /root/two words",
                    "added /root/open",
                    "added /root/b\u{FFFD}d", "modified /etc/hosts", "deleted /usr/bin/yes",
                ])
            #expect(
                files["/root/turned"]?.before?.type == "file"
                    && files["/root/turned"]?.after?.type == "directory")
            #expect(files["/root/mode"]?.before?.mode == 0o644 && files["/root/mode"]?.after?.mode == 0o600)
            #expect(files["/root/owner"]?.after?.uid == 7 && files["/root/owner"]?.after?.gid == 8)
            #expect(files["/root/link"]?.before?.target == "a" && files["/root/link"]?.after?.target == "b")
            #expect(files["/root/binary"]?.patch == nil && files["/root/fifo"]?.before?.type == "fifo")
            let back = try ckpt.json(SnapshotDiff.self, ["diff", "after", "before"])
            #expect(back.files.count == diff.files.count && back.files.allSatisfy { $0.patch == nil })
            #expect(try ckpt.json(SnapshotDiff.self, ["diff", "before", "before"]).files == [])
            let page = try ckpt.ok("diff", "before", "after", "--patch").stdout
            #expect(
                page.contains("- /usr/bin/yes") && page.contains("mode 0644 → 0600") && page.contains("+L3"))
            try checkPatches(ckpt, files)
        }
    }

    /// What patch(1) makes of the old files with the patches is the new ones.
    private func checkPatches(_ ckpt: Ckpt, _ files: [String: FileChange]) throws {
        let old = try ckpt.fork("before")[0]
        let patches = ["/root/lines", "/root/open", "/root/two words", "/etc/hosts", "/root/kept/a"]
            .compactMap { files[$0]?.patch }.joined()
        try old.write(Data(patches.utf8), to: "/tmp/patch")
        try old.sh("cd / && patch -p1 --quiet < /tmp/patch")
        let new = try ckpt.fork("after")[0]
        let read = "cd /root; md5sum lines open 'two words' /etc/hosts; ls kept"
        let (patched, wanted) = (try old.sh(read), try new.sh(read))
        #expect(patched == wanted, "\(patches)")
    }

    @Test func processesDescriptorsAndMemory() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("box")
            try box.startPython()
            try box.say(
                "put 'import mmap, os, threading, time' 'm = mmap.mmap(-1, 100 * 4096, mmap.MAP_PRIVATE, 7)'")
            try box.say("put 'm[:] = b\"1\" * len(m)' 'f = open(\"/root/log\", \"w\")' 'r, w = os.pipe()'")
            #expect(try box.say("ask 'print(os.getpid())'") != "")
            let pid = Int(try box.say("ask 'print(os.getpid())'"))!
            try box.say("sleep 1000 & echo $! > /root/sleeper")
            let sleeper = Int(try box.sh("cat /root/sleeper"))!
            _ = try box.save("-t", "one")
            try box.say("put 'for i in range(7): m[i * 3 * 4096] = 50' '' 'os.close(r)' 'os.chdir(\"/tmp\")'")
            try box.say(
                "put 'n = mmap.mmap(-1, 3 * 1048576, mmap.MAP_PRIVATE)' 'n[0] = 1' '_ = f.write(\"text\")' 'f.flush()'"
            )
            try box.say("put 'threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()'")
            #expect(try box.say("ask 'print(os.open(\"/etc/hosts\", os.O_RDONLY) > 0)'") == "True")
            try box.say("kill %2; wait %2; sleep 2000 & echo $! > /root/sleeper2")
            let second = Int(try box.sh("cat /root/sleeper2"))!
            _ = try box.save("-t", "two")
            let diff = try ckpt.json(SnapshotDiff.self, ["diff", "one", "two"])
            let processes = diff.processes.map { "\($0.change) \($0.pid)" }
            #expect(processes.contains("gone \(sleeper)") && processes.contains("born \(second)"))
            let python = try #require(diff.processes.first { $0.pid == pid })
            #expect(python.change == "changed" && python.details.contains("1 new thread"))
            #expect(python.details.contains("working directory: /root → /tmp"))
            let descriptors = diff.descriptors.filter { $0.pid == pid }
            #expect(descriptors.contains { $0.before?.pipe?.end == "read" && $0.after?.pipe == nil })
            #expect(descriptors.contains { $0.after?.path == "/etc/hosts" })
            #expect(
                descriptors.contains {
                    $0.change == "changed" && $0.before?.offset == 0 && $0.after?.offset == 4
                })
            let memory = diff.memory.filter { $0.pid == pid }
            #expect(
                memory.contains {
                    $0.change == "changed" && $0.changedPages == 7 && $0.pages == 100
                        && $0.permissions == "rwxp"
                })
            #expect(memory.contains { $0.change == "mapped" && $0.pages >= 768 })
            #expect(try ckpt.json(SnapshotDiff.self, ["diff", "two", "two"]).memory == [])
        }
    }

    /// Branches share the layers and pages below the fork: only what each did is different.
    @Test func branchesDifferInWhatTheyDid() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("box")
            try box.say("echo common > /root/common; x=1")
            _ = try box.save("-t", "root")
            for name in ["left", "right"] {
                let branch = try ckpt.fork("root", name: name)[0]
                try branch.say("echo \(name) > /root/only-\(name); echo \(name) > /root/both")
                _ = try branch.save("-t", name)
            }
            let diff = try ckpt.json(SnapshotDiff.self, ["diff", "left", "right"])
            #expect(
                Set(diff.files.map { "\($0.change) \($0.path)" }) == [
                    "deleted /root/only-left", "added /root/only-right", "modified /root/both",
                ])
            #expect(diff.processes.allSatisfy { $0.change == "changed" })
        }
    }

    /// What lies in a tmpfs is the snapshot's, what lies in a volume is the host's.
    @Test func tmpfsIsComparedAndVolumesAreNot() throws {
        try withCkpt { ckpt in
            let host = ckpt.root + "/shared"
            try FileManager.default.createDirectory(atPath: host, withIntermediateDirectories: true)
            let box = try ckpt.create("box", "--tmpfs", "/scratch", "--volume", "\(host):/shared")
            try box.sh("echo one > /scratch/a; echo b > /scratch/b; echo host > /shared/file")
            _ = try box.save("-t", "one")
            try box.sh(
                "echo two > /scratch/a; rm /scratch/b; echo more > /scratch/c; echo changed > /shared/file")
            _ = try box.save("-t", "two")
            let diff = try ckpt.json(SnapshotDiff.self, ["diff", "one", "two"])
            #expect(
                diff.files.map { "\($0.change) \($0.path)" } == [
                    "modified /scratch/a", "deleted /scratch/b", "added /scratch/c",
                ])
        }
    }
}
