import Glibc
import LinuxSystem
import Testing

@testable import SandboxRuntime

/// The steps PID 1 takes before it listens. Each plan here ends in a step that fails, so ckpt-init tells of it and
/// ends; what it did before is looked at in the mount namespace it did it in.
@Suite struct Plans {
    /// Runs a plan in a mount namespace of its own, then `afterwards` in a directory that the plan knows as `here`.
    private func apply(_ steps: [[String]], afterwards: String = "true") throws -> (
        report: String, seen: String
    ) {
        let here = String(try shell("mktemp -d /tmp/ckpt-plan-test.XXXXXX").dropLast())
        defer { _ = try? shell("rm -rf \(here)") }
        let fields = steps.joined().map { $0.replacing("here", with: here) }
        try Files.write("\(here)/plan", fields.flatMap { Array($0.utf8) + [0] })
        let program = try builtInit.get()
        try Files.write("\(here)/afterwards", Array(afterwards.replacing("here", with: here).utf8))
        let seen = try shell(
            """
            cd \(here) && unshare -mu --propagation private sh -c '
            \(program) 3<plan 4>report && echo "it went on"; . ./afterwards' 2>&1
            """)
        let report = String(decoding: try Files.read("\(here)/report"), as: UTF8.self)
        return (report.replacing(here, with: "here"), seen.replacing(here, with: "here"))
    }

    @Test func failuresAreNamed() throws {
        #expect(try apply([]).report == "\(EINVAL) plan has no end\n")
        #expect(try apply([["hostname"]]).report == "\(EINVAL) hostname \n")
        #expect(try apply([["unheard-of"], ["done"]]).report == "\(ENOSYS) unheard-of \n")
        #expect(
            try apply([["mount", "nothing", "here/missing", "tmpfs", "0", ""], ["done"]]).report
                == "\(ENOENT) mount here/missing\n")
        #expect(
            try apply([["bind", "here/missing", "here", "0"], ["done"]]).report == "\(ENOENT) bind here\n")
        #expect(
            try apply([["sysctl", "no/such/thing", "1"], ["done"]]).report
                == "\(ENOENT) sysctl no/such/thing\n")
        let long = [["file", "here/x", "600", String(repeating: "x", count: 300_000)], ["done"]]
        #expect(try apply(long).report == "\(E2BIG) plan read\n")
    }

    @Test func stepsDoWhatTheySay() throws {
        let steps = [
            ["mkdir", "here/d", "750"], ["mkdir", "here/d", "700"], ["file", "here/d/f", "640", "text"],
            ["symlink", "d/f", "here/l"], ["symlink", "other", "here/l"], ["mkdir", "here/m", "755"],
            ["mount", "tmpfs", "here/m", "tmpfs", String(MS_NOSUID | MS_NODEV), "size=1m"],
            ["mkdir", "here/m/x", "755"], ["mkdir", "here/b", "755"],
            ["bind", "here/d", "here/b", String(MS_RDONLY | MS_NOEXEC)], ["mkdir", "here/r", "755"],
            ["readonly", "here/r"], ["readonly", "here/missing"], ["file", "here/secret", "600", "secret"],
            ["mask", "here/secret"], ["mask", "here/missing"], ["hostname", "planned"], ["stop here"],
        ]
        let (report, seen) = try apply(
            steps,
            afterwards: """
                stat -c "%a %n" d d/f; cat l; echo; cat secret; uname -n
                touch b/no 2>/dev/null || echo b; touch r/no 2>/dev/null || echo r; touch m/x/yes && echo m
                for m in m b r; do findmnt -n -o VFS-OPTIONS here/$m; done
                """)
        #expect(report == "\(ENOSYS) stop here \n")
        #expect(
            seen == """
                750 d
                640 d/f
                text
                planned
                b
                r
                m
                rw,nosuid,nodev,relatime
                ro,noexec,relatime
                ro,relatime

                """)
    }
}
