import Testing

/// What has not changed since the last save is not looked at file by file, and what has is never missed.
@Suite struct UnchangedFilesTests {
    /// More files than are compared one by one, in two of the overlays that a root is made of.
    private static let fill = """
        mkdir -p /root/many/{0..9} /usr/local/many
        for ((i = 0; i < 600; i++)); do echo $i > /root/many/$((i % 10))/$i; done
        echo first > /usr/local/many/file
        sleep 0.1; echo young > /usr/local/many/file
        """

    @Test func changesOfManyFilesAreHeardOf() throws {
        try withCkpt { ckpt in
            let box = try ckpt.create("many")
            try box.say(Self.fill)
            let first = try ckpt.show(try box.save())
            #expect(try box.exec("/bin/sh", "-c", "cat /root/many/*/* | wc -l").line == "600")
            // The file is too young for its time to prove that it is the same.
            let second = try ckpt.show(try box.save())
            #expect(second.layers == first.layers && second.layerBytes == 0)

            var saved: [(id: String, expected: String)] = []
            for (number, change) in [
                "echo a > /usr/local/many/file", "chmod 600 /root/many/3/3", "exec 5<> /root/many/4/4",
                "echo through >&5", "mv /root/many/5/5 /root/many/5/five; echo again > /root/many/6/6",
                "rm -r /root/many/7; echo copied up >> /etc/hostname",
            ].enumerated() {
                try box.say(change)
                saved.append((try box.save(), try box.say(Self.look)))
                if number > 0 { #expect(saved[number].expected != saved[number - 1].expected || number == 2) }
            }
            for (id, expected) in saved {
                let fork = try ckpt.fork(id)[0]
                #expect(try fork.say(Self.look) == expected)
                try ckpt.ok("rm", "-f", fork.name)
            }
        }
    }

    /// Names, modes and contents.
    private static let look = """
        (cd /; find root/many usr/local/many etc/hostname -type f -printf '%p %m ' -exec cat {} +) | sort | md5sum
        """
}
