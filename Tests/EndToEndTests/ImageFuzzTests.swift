import Foundation
import Testing

/// The images of a real dump, changed in tens of thousands of ways, read under AddressSanitizer.
@Suite struct ImageFuzzTests {
    private static let runs = 2
    private static let mutations = 10_000

    @Test func noMutationOfARealDumpCrashesTheReader() throws {
        let package = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().path
        let built = try run(
            ["\(package)/scripts/build-image-fuzzer"], environment: [:], stdin: Data(), deadline: 900)
        try #require(built.status == 0, "\(built)")
        try withCkpt { ckpt in
            let box = try ckpt.create("box")
            try box.install("holder.py")
            try box.sh("setsid python3 /root/holder.py < /dev/null > /root/out 2>&1 &")
            try box.waitFor("test -e /tmp/holder")
            let id = try box.save()
            let running = try (0..<Self.runs).map { number in
                let scratch = "/dev/shm/\((ckpt.root as NSString).lastPathComponent)-\(number)"
                try FileManager.default.createDirectory(atPath: scratch, withIntermediateDirectories: false)
                let command = try RunningCommand(
                    [
                        built.line, "\(ckpt.root)/snapshots/\(id)/process", scratch, "\(number + 1)",
                        "\(Self.mutations)",
                    ],
                    environment: ["ASAN_OPTIONS": "detect_leaks=1:abort_on_error=1"])
                return (command, scratch)
            }
            for (command, scratch) in running {
                let result = command.wait(deadline: 600)
                let progress =
                    (try? String(contentsOfFile: "\(scratch)/progress", encoding: .utf8)) ?? "nowhere"
                #expect(result.status == 0, "at \(progress): \(result)\n\(result.stderr.suffix(3000))")
                #expect(result.stdout.hasPrefix("\(Self.mutations) mutations: "), "\(result)")
                try FileManager.default.removeItem(atPath: scratch)
            }
        }
    }
}
