import Glibc
import LinuxSystem

/// The error lines of a log that CRIU wrote, or its warnings.
struct CriuLog {
    /// One error line.
    struct Line {
        /// Where in CRIU's sources it comes from, for example `criu/files-ext.c:94`.
        let source: String
        let text: String
        /// The process it was written by or about, where it is none of CRIU's own: of a restore, by its id in the sandbox.
        let process: Int32?
    }

    /// How CRIU marks its lines.
    enum Level: String {
        case error = "Error ("
        case warning = "Warn  ("
    }

    /// Oldest first.
    let errors: [Line]

    /// The most bytes of a log that are read, from its beginning: the first error is the cause of the others.
    private static let largest = 1 << 20

    /// Lines that CRIU writes on every machine of some kind and that are never the cause of a failure.
    private static let harmless = ["rlimit: Can't setup RLIMIT_NOFILE for self"]

    /// Reads the log `name` in `directory`; one that cannot be read has no errors.
    init(_ name: String, in directory: borrowing Descriptor, level: Level = .error) {
        var bytes: [UInt8] = []
        if let file = try? Descriptor.open(name, below: directory, O_RDONLY | O_NOFOLLOW) {
            while bytes.count < Self.largest, let part = try? file.read(upTo: 65536), !part.isEmpty {
                bytes += part
            }
        }
        self.init(parsing: String(decoding: bytes, as: UTF8.self), level: level)
    }

    /// Takes the lines of one level out of a log; repeated lines, and lines that mean nothing, are left out.
    init(parsing text: String, level: Level = .error) {
        var errors: [Line] = []
        var seen: Set<Substring> = []
        for line in text.split(separator: "\n") {
            // `(00.012345)   14: Error (criu/files-ext.c:94): Can't dump …`, the first two only at higher levels.
            guard let mark = line.firstRange(of: level.rawValue) else { continue }
            let rest = line[mark.upperBound...]
            guard let end = rest.firstRange(of: "): ") else { continue }
            let message = rest[end.upperBound...]
            if Self.harmless.contains(where: message.hasPrefix) || !seen.insert(message).inserted { continue }
            let process = line[..<mark.lowerBound].split(separator: " ").last.flatMap { word in
                word.hasSuffix(":") ? Int32(word.dropLast()) : nil
            }
            errors.append(
                Line(source: String(rest[..<end.lowerBound]), text: String(message), process: process))
        }
        self.errors = errors
    }

    /// The lines as they are shown to people.
    var lines: [String] { errors.map { "\($0.source): \($0.text)" } }
}

extension StringProtocol {
    /// The first place where `text` stands; the standard library has none without regular expressions.
    func firstRange(of text: String) -> Range<Index>? {
        var start = startIndex
        while start < endIndex {
            if self[start...].hasPrefix(text) { return start..<index(start, offsetBy: text.count) }
            start = index(after: start)
        }
        return nil
    }

    /// What stands between the first `before` and the next `after`, or the end.
    func between(_ before: String, _ after: String) -> String? {
        guard let start = firstRange(of: before)?.upperBound else { return nil }
        let rest = self[start...]
        return String(rest.firstRange(of: after).map { rest[..<$0.lowerBound] } ?? rest[...])
    }

    /// The number that follows the first `before`, in the given base.
    func number(after before: String, radix: Int = 10) -> Int? {
        guard let start = firstRange(of: before)?.upperBound else { return nil }
        return Int(
            self[start...].prefix { $0.isHexDigit && Int(String($0), radix: radix) != nil }, radix: radix)
    }
}
