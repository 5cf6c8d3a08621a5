import Foundation
import Testing

/// The small programs the tests run inside sandboxes; they live in `Programs/` as files.
enum Program {
    /// The text of `Programs/NAME`.
    static func text(_ name: String) throws -> Data {
        guard let base = Bundle.module.resourceURL else {
            throw HarnessError("the test bundle has no resources")
        }
        return try Data(contentsOf: base.appendingPathComponent("Programs/\(name)"))
    }
}

/// What this machine has of the programs the tests drive.
enum Machine {
    /// Whether all of these are in PATH; says on stderr what is missing, so that a skip is seen.
    static func has(_ programs: String...) -> Bool {
        let directories =
            (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":")
            // The sandbox does not see /root, so a program that is only there does not count.
            .filter { !$0.hasPrefix("/root") } + ["/usr/sbin", "/sbin", "/usr/bin", "/bin"]
        let missing = programs.filter { program in
            !directories.contains { FileManager.default.isExecutableFile(atPath: "\($0)/\(program)") }
        }
        if !missing.isEmpty {
            FileHandle.standardError.write(
                Data("SKIPPED: this machine lacks \(missing.joined(separator: ", "))\n".utf8))
        }
        return missing.isEmpty
    }

    /// Where PostgreSQL's server programs are (Debian keeps them out of PATH).
    static let postgres: String? = {
        let root = "/usr/lib/postgresql"
        let versions = (try? FileManager.default.contentsOfDirectory(atPath: root)) ?? []
        let found = versions.sorted { (Int($0) ?? 0) < (Int($1) ?? 0) }.last.map { "\(root)/\($0)/bin" }
        if found == nil {
            FileHandle.standardError.write(Data("SKIPPED: this machine lacks postgresql\n".utf8))
        }
        return found
    }()
}
