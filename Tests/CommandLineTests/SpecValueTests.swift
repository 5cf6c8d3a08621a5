import Foundation
import Messages
import Testing

/// The values of a spec: what is read, how it is spelled again, and what a refusal says.
struct SpecValueTests {
    @Test(arguments: [
        ("512m", 512 << 20, "512m"), ("1.5g", 1536 << 20, "1536m"), ("10mb", 10 << 20, "10m"),
        ("64KiB", 64 << 10, "64k"), ("1000", 1000, "1000"), ("2t", 2 << 40, "2t"), ("1024b", 1024, "1k"),
    ])
    func sizes(_ text: String, _ bytes: Int64, _ spelling: String) throws {
        #expect(try ByteSize(text).bytes == bytes)
        #expect(try ByteSize(text).description == spelling)
    }

    @Test(arguments: ["", "m", "-1m", "0", "1x", "1.m", ".5m", "1ib", "9999999999t", "1 m", "٣m", "1e3"])
    func noSizes(_ text: String) { #expect(ByteSize.objection(to: text)?.contains("512m") == true) }

    @Test(arguments: [
        ("0.5", 50_000, 100_000, "0.5"), ("2", 200_000, 100_000, "2"), ("50%", 50_000, 100_000, "0.5"),
        ("25000 50000", 25_000, 50_000, "25000 50000"), ("150%", 150_000, 100_000, "1.5"),
    ])
    func cpus(_ text: String, _ quota: Int64, _ period: Int64, _ spelling: String) throws {
        let value = try CPUQuota(text)
        #expect((value.quota, value.period) == (quota, period))
        #expect(value.description == spelling)
    }

    @Test func everyFormReadsItsOwnSpelling() throws {
        func same<Value: SpelledValue>(_ type: Value.Type, _ texts: [String]) throws {
            for text in texts {
                let value = try Value(text)
                #expect(try Value(value.description) == value)
                let json = try JSONEncoder().encode([value])
                #expect(try JSONDecoder().decode([Value].self, from: json) == [value])
            }
        }
        try same(Volume.self, ["/a:/b", "/a:/b:ro", "/a/./b//c:/d/:cow", "/a:/b:ro,Z"])
        try same(Tmpfs.self, ["/t", "/t:size=64m", "/t:size=1g,mode=700,exec"])
        try same(Device.self, ["/dev/fuse", "/dev/sda:/dev/disk", "/dev/sda:/dev/disk:r", "/dev/null:rw"])
        try same(NumberSet.self, ["0", "0-3,5", "1,2,3"])
        try same(SwapLimit.self, ["-1", "1g"])
        try same(IOLimit.self, ["/dev/sda 10mb", "8:0 rbps=1m wiops=100", "8:0 wbps=max rbps=2m"])
        try same(Network.self, ["none", "host", "nat", "bridge"])
        try same(PortForward.self, ["80", "8080:80", "127.0.0.1:8080:80/udp", "127.0.0.1::80", "[::1]:1:2"])
        try same(HostAddress.self, ["db:10.0.0.7", "db:fd00::7", "db=[fd00::7]"])
        try same(Ulimit.self, ["nofile=1024", "core=0:-1", "stack=unlimited"])
        try same(Capability.self, ["net_admin", "CAP_SYS_PTRACE", "ALL"])
    }

    @Test(arguments: [
        (SpecForm.volume, "/a", "HOST:BOX"), (.volume, "a:/b", "'a' is no absolute path"),
        (.volume, "/a:/", "below /"), (.volume, "/a:/b:xx", "none of ro, rw and cow"),
        (.volume, "/a:/b/../c", "/b/../c"), (.tmpfs, "t", "no absolute path"),
        (.tmpfs, "/t:size=x", "512m"), (.tmpfs, "/t:what=1", "unknown option"),
        (.device, "fuse", "/dev/fuse"),
        (.device, "/dev/fuse:x", "r, w and m"), (.cpus, "0", "0.5"), (.cpus, "x", "50%"),
        (.cpus, "50000 2000000", "1000 to 1000000"), (.numbers, "3-1", "0-3,7"), (.numbers, "0,,1", "0-3,7"),
        (.swap, "-2", "-1 for no limit"), (.ioLimit, "/dev/sda", "rbps"), (.ioLimit, "sda 1m", "MAJOR:MINOR"),
        (.ioLimit, "/dev/sda x=1", "none of rbps="), (.network, "lan", "none, host or nat"),
        (.port, "0", "8080:80"), (.port, "70000:80", "no port"), (.port, "x:1:80", "no address"),
        (.port, "80/sctp", "neither tcp nor udp"), (.host, "db", "db:10.0.0.7"),
        (.host, "db:x", "no address"),
        (.nameServer, "dns.example", "1.1.1.1"), (.ulimit, "files=3", "nofile"),
        (.ulimit, "nofile=9:3", "above"),
        (.capability, "ROOT", "NET_ADMIN"),
    ])
    func refusalsSayWhatIsAccepted(_ form: SpecForm, _ text: String, _ part: String) throws {
        #expect(try #require(form.objection(to: text)).contains(part))
    }

    @Test func specsKeepEveryFieldAndLeaveDefaultsOut() throws {
        let text = """
            {"base":"host","env":{},"limits":{"cpus":1.5,"memory":"512m","memorySwap":-1},\
            "security":{"capDrop":["ALL"]},"net":"bridge","ports":["80"],"volumes":["/a:/b:cow"]}
            """
        let spec = try JSONDecoder().decode(SandboxSpec.self, from: Data(text.utf8))
        #expect(spec.limits.cpus == (try CPUQuota("1.5")))
        #expect(spec.limits.memory?.bytes == 512 << 20)
        #expect(spec.security.capabilities == 0)
        #expect(spec.net == .nat)
        let again = try JSONDecoder().decode(SandboxSpec.self, from: JSONEncoder().encode(spec))
        #expect(again == spec)
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        #expect(
            String(decoding: try encoder.encode(SandboxSpec()), as: UTF8.self) == #"{"base":"host","env":{}}"#
        )
    }

    @Test func valuesMustFitEachOther() throws {
        func refusal(_ change: (inout SandboxSpec) -> Void) -> String {
            var spec = SandboxSpec()
            change(&spec)
            do throws(ErrorMessage) { try spec.check() } catch { return error.description }
            return ""
        }
        #expect(refusal { _ in } == "")
        #expect(refusal { $0.ports = [PortForward(hostPort: 1, boxPort: 2)] }.contains("--net nat"))
        #expect(refusal { $0.limits.memorySwap = try! SwapLimit("1g") }.contains("needs one of memory"))
        #expect(
            refusal {
                $0.limits.memory = try! ByteSize("2g")
                $0.limits.memorySwap = try! SwapLimit("1g")
            }.contains("less than memory"))
        #expect(refusal { $0.volumes = [Volume(host: "/a", path: "/proc/x")] }.contains("/proc/x"))
        #expect(
            refusal { $0.tmpfs = [Tmpfs(path: "/a"), Tmpfs(path: "/a")] }.contains("two things"))
        #expect(refusal { $0.security.writable = ["a"] }.contains("absolute"))
    }

    @Test func dockersSetIsWhatDockerGives() {
        // moby, oci/caps/defaults.go: 0xa80425fb.
        #expect(SecurityOptions().capabilities == 0xa804_25fb)
    }

    @Test func aRefusalDoesNotRepeatAWholeFile() throws {
        let file = String(repeating: "secret", count: 1000)
        do throws(ErrorMessage) {
            _ = try SeccompChoice(file)
            Issue.record("it was taken")
        } catch {
            #expect(error.description.count < 300, "\(error)")
        }
    }
}
