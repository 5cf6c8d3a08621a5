import Glibc
import LinuxSystem
import Testing

@testable import SandboxRuntime

/// Where mounts go in a root that is not mounted yet, and how the kernel tells of it once it is.
@Suite struct RootMounts {
    private func withDirectory(_ script: String, _ body: (String) throws -> Void) throws {
        let here = String(try shell("mktemp -d /tmp/ckpt-root-test.XXXXXX").dropLast())
        defer { _ = try? shell("rm -rf \(here)") }
        try shell("cd \(here) && \(script)")
        try body(here)
    }

    @Test func placesAreLookedUpAsOverlayfsMergesThem() throws {
        let script = """
            mkdir -p top/a/deep top/dev low/a/low low/dev/x low/gone/x host/sub && touch top/file low/file2 low/a/f &&
            mknod top/gone c 0 0 && setfattr -n trusted.overlay.opaque -v y top/dev && ln -s /a/low top/absolute &&
            ln -s ../../host/./sub host/up && ln -s loop low/loop && ln -s ../../../a low/out
            """
        try withDirectory(script) { (here) throws in
            let points = MountPoints([
                .part("", lowers: ["\(here)/top", "\(here)/low"]),
                RootMount(path: "a/low/v", key: "v", kind: .bind(source: "\(here)/host", readOnly: false)),
                RootMount(path: "m", key: "m", kind: .tmpfs(size: nil, mode: 0o755, exec: false)),
                RootMount(path: "a", key: "w", kind: .writable),
            ])
            let kinds: [String: PlaceKind] = [
                "": .directory, "a": .directory, "a/deep": .directory, "a/low": .directory, "a/f": .file,
                "file": .file, "file2": .file, "file/x": .missing, "gone": .missing, "gone/x": .missing,
                "dev": .directory, "dev/x": .missing, "new": .missing, "absolute": .link("/a/low"),
                "a/low/v": .directory, "a/low/v/sub": .directory, "a/low/v/none": .missing, "m": .directory,
                "m/x": .missing,
            ]
            for (path, kind) in kinds { #expect(points.kind(of: path) == kind, "\(path)") }
            let resolved = [
                "absolute/v/sub": "a/low/v/sub", "absolute/new/x": "a/low/new/x", "out/deep": "a/deep",
                "../../a/./deep/..": "a", "a/low/v/up": "a/host/sub", "": "",
            ]
            for (path, expected) in resolved { #expect(try points.resolve(path) == expected, "\(path)") }
            #expect(throws: SystemError.self) { try points.resolve("loop/x") }
        }
    }

    @Test func keysTellPathsApart() {
        let keys = ["a/b", "a+b", "a%2Bb", "a%b", "a%25b"].map { RootMount.key("volume", $0) }
        #expect(Set(keys).count == keys.count, "\(keys)")
        #expect(keys[0] == "volume+a+b" && keys.allSatisfy { !$0.contains("/") })
    }

    /// CRIU reads no line of mountinfo beyond 4096 bytes: a sandbox of some seventy generations could not be saved.
    @Test func manyLayersAreToldInAShortLine() throws {
        try withDirectory("mkdir -p m upper work; for i in $(seq 250); do mkdir l-$i; echo $i > l-$i/f; done")
        {
            (here) throws in
            let overlay = try Mount.overlay(
                lowers: (1...250).reversed().map { "\(here)/l-\($0)" },
                upper: ("\(here)/upper", "\(here)/work"),
                links: "\(here)/links")
            #expect(!Files.exists("\(here)/links"))
            try Mount.attach(overlay, at: "\(here)/m")
            defer { try? Mount.detach("\(here)/m") }
            #expect(try Files.read("\(here)/m/f") == Array("250\n".utf8))
            let lines = String(decoding: try Files.read("/proc/self/mountinfo"), as: UTF8.self)
                .split(separator: "\n").filter { $0.contains("\(here)/m ") }
            #expect(lines.count == 1)
            #expect(lines.allSatisfy { $0.utf8.count < 4096 && $0.contains("upperdir=\(here)/upper,") })
        }
    }
}
