import Foundation

/// The real ckpt, as it was built beside these tests.
struct CkptProgram {
    /// What came of a call.
    struct Outcome {
        let code: Int32
        let output: String
        let errors: String
    }

    static let path: String = {
        let own = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
        return URL(fileURLWithPath: own).deletingLastPathComponent().appendingPathComponent("ckpt").path
    }()

    /// Calls ckpt; its state is where nothing is.
    static func call(_ words: String..., locale: String = "C.UTF-8") throws -> Outcome {
        try run(path, words, locale: locale)
    }

    /// Runs a program with a small environment that finds `ckpt` on its PATH.
    static func run(_ program: String, _ words: [String], locale: String = "C.UTF-8") throws -> Outcome {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments = words
        let directory = URL(fileURLWithPath: path).deletingLastPathComponent().path
        process.environment = [
            "PATH": "\(directory):/usr/bin:/bin", "LC_ALL": locale, "CKPT_ROOT": "/nonexistent/ckpt",
        ]
        let (output, errors) = (Pipe(), Pipe())
        process.standardOutput = output
        process.standardError = errors
        process.standardInput = FileHandle.nullDevice
        try process.run()
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        let complaints = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        return Outcome(code: process.terminationStatus, output: text, errors: complaints)
    }
}
