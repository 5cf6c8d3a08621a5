import Foundation
import Messages
import Testing

/// `ckpt doctor`: it looks at everything, tries it out, and leaves nothing behind.
@Suite struct DoctorTests {
    private static let looked: Set<String> = [
        "criu", "ckpt-init", "kernel", "criu check", "rights", "namespaces", "overlayfs", "seccomp",
        "landlock",
        "open files", "pipes", "processes", "mappings", "inotify", "network", "criu cache", "gdb", "cgroups",
        "store",
        "filesystem", "recovery",
    ]

    private func report(_ result: CommandResult) throws -> DoctorReport {
        let report = try JSONDecoder().decode(DoctorReport.self, from: result.stdoutData)
        for check in report.checks {
            #expect(!check.detail.isEmpty, "\(check.name) tells nothing")
            if check.status != .ok { #expect(check.hint?.isEmpty == false, "\(check.name): no remedy") }
        }
        #expect(Set(report.checks.map(\.name)).count == report.checks.count, "a check twice")
        return report
    }

    @Test func looksAtEverythingAndTriesItOut() throws {
        try withCkpt { ckpt in
            let result = try ckpt("doctor", "--json")
            let report = try report(result)
            #expect(Set(report.checks.map(\.name)) == Self.looked.union(["self-test", "nftables"]))
            #expect(result.status == 0 && report.healthy, "\(result)")
            let test = report.checks.first { $0.name == "self-test" }
            #expect(test?.status == .ok, "\(result)")
            for step in ["create", "save", "restore", "fork"] {
                #expect(test?.detail.contains("\(step) ") == true, "\(step): \(result)")
            }
            // Where copies share no blocks, a filesystem is named on which they do.
            let store = try #require(report.checks.first { $0.name == "filesystem" })
            #expect(store.detail.contains("(reflink)") || store.hint?.contains("btrfs") == true, "\(store)")
            ckpt.rememberServer()
            #expect(try ckpt.sandboxes().isEmpty && ckpt.tree().snapshots.isEmpty)
            let left = try FileManager.default.contentsOfDirectory(atPath: ckpt.root)
            #expect(!left.contains { $0.hasPrefix(".ckpt-doctor") }, "\(left)")
            #expect(eventually { Leftovers.cgroups(of: ckpt).isEmpty })
            // People see the same, and which of it is amiss.
            let page = try ckpt("doctor", "--quick")
            #expect(page.status == 0 && !page.stdout.contains("self-test"))
            for name in Self.looked { #expect(page.stdout.contains(" \(name): "), "\(name)\n\(page)") }
        }
    }

    @Test func selfTestFailsWhereNothingCanBeSaved() throws {
        try withCkpt(environment: ["CKPT_CRIU": "/bin/false"]) { ckpt in
            let result = try ckpt("doctor", "--json")
            ckpt.rememberServer()
            let report = try report(result)
            let failed = report.checks.filter { $0.status == .failed }.map(\.name)
            #expect(
                result.status == 1 && failed.contains("criu") && failed.contains("self-test"), "\(result)")
            #expect(
                try ckpt.sandboxes().isEmpty && ckpt.tree().snapshots.isEmpty, "what failed is cleared away")
        }
    }

    @Test func tellsWhatIsMissingWhereNoServerCanBeHad() throws {
        try withCkpt { ckpt in
            let result = try run(
                ["setpriv", "--bounding-set=-sys_admin", Ckpt.binary, "doctor", "--json"],
                environment: ckpt.environment)
            let report = try report(result)
            #expect(result.status == 1, "\(result)")
            let failed = report.checks.filter { $0.status == .failed }
            let rights = failed.first { $0.name == "rights" }
            #expect(rights?.detail.contains("CAP_SYS_ADMIN") == true, "\(result)")
            #expect(failed.contains { $0.name == "server" }, "\(result)")
            #expect(report.checks.contains { $0.name == "filesystem" }, "the rest is looked at")
        }
    }
}
