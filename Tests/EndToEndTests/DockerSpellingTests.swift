import Foundation
import Messages
import Testing

/// Command lines as people have them for `docker run`.
@Suite struct DockerSpellingTests {
    @Test func aLongDockerLineMakesTheSandboxItSays() throws {
        try withCkpt { ckpt in
            let result = try ckpt(
                "run", "--name", "job", "--init", "-l", "owner=me", "--network", "none", "--pull=never",
                "--restart", "no", "-e", "GREETING=hello", "-w", "/tmp", "-u", "0:0", "--cap-add",
                "NET_ADMIN",
                "--security-opt", "no-new-privileges", "--mount", "type=tmpfs,target=/scratch,tmpfs-size=16m",
                "--mount", "type=bind,source=/usr,target=/mnt/usr,readonly", "--rm=false", "-i",
                "sh", "-c", "echo $GREETING $PWD; ls -d /scratch /mnt/usr/bin; cat", stdin: Data("in".utf8))
            #expect(result.status == 0, "\(result)")
            #expect(result.stdout == "hello /tmp\n/mnt/usr/bin\n/scratch\nin", "\(result)")
            let spec = try #require(try ckpt.sandboxes().first).spec
            #expect(spec.tmpfs.map(\.description) == ["/scratch:size=16m"] && spec.volumes.count == 1)
        }
    }

    /// A disk of this machine.
    private static let disk =
        (try? run([
            "bash", "-c", "for d in /sys/block/*; do d=/dev/${d##*/}; [ -b $d ] && echo $d && break; done",
        ]))?.line ?? ""

    @Test(.enabled(if: !disk.isEmpty, "needs a block device"))
    func translatedLimitsAreInTheSpec() throws {
        try withCkpt { ckpt in
            let made = try ckpt(
                "create", "limited", "--best-effort", "--cpu-quota", "50000", "--cpu-period", "200000",
                "--memory-reservation", "64m", "--device-write-bps", "\(Self.disk):1mb", "--json")
            #expect(made.status == 0, "\(made)")
            let limits = try #require(try ckpt.sandboxes().first).spec.limits
            #expect(limits.cpus?.description == "50000 200000")
            #expect(limits.memoryHigh?.bytes == 64 << 20)
            #expect(limits.io.first?.writeBytes?.bytes == 1 << 20 && limits.io.first?.readBytes == nil)
        }
    }

    @Test func badValuesOfTranslatedOptionsAreWrongUsage() throws {
        try withCkpt { ckpt in
            for (words, named) in [
                (["--mount", "type=volume,target=/x"], "type volume"),
                (["--mount", "type=bind,target=/x"], "source"),
                (["--device-read-bps", "nothing"], "DEVICE:RATE"),
                (["--cpus", "1", "--cpu-quota", "5000"], "--cpu-quota"),
            ] {
                let result = try ckpt.call(["run"] + words + ["true"])
                #expect(result.status == 2 && result.stderr.contains(named), "\(words): \(result)")
            }
        }
    }
}
