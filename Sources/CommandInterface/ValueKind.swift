public import Messages

/// What a word of the command line stands for; it decides how the word is checked and completed.
public enum ValueKind: Sendable, Equatable {
    /// Anything.
    case text
    /// The name of a machine.
    case hostname
    /// The name of a sandbox, there or to be made.
    case sandbox, newSandbox
    /// A reference to a snapshot: an id or its beginning, a tag, a sandbox's name, each with `~N` or not.
    case snapshot
    /// A snapshot or a sandbox.
    case snapshotOrSandbox
    /// A tag, there or to be made.
    case tag, newTag
    /// A path of this machine.
    case path, directory
    /// `host`, or a directory of this machine.
    case base
    /// An absolute path inside a sandbox.
    case insidePath
    /// One end of a copy: `NAME:PATH`, a path of this machine, or `-`.
    case copyEnd
    /// A signal's name or number.
    case signal
    /// A whole number within a range.
    case number(ClosedRange<Int>)
    /// A positive number of seconds, fractions allowed.
    case seconds
    /// A length of time such as `90s`, `12h` or `7d`.
    case span
    /// `KEY=VALUE`, or `KEY` for its value here.
    case variable
    /// One of these words.
    case choice([String])
    /// A value of a spec.
    case spec(SpecForm)
    /// The name of a command of ckpt.
    case command
    /// A program inside the sandbox and its arguments.
    case program

    /// Why `word` cannot be this, or nil when it can.
    public func objection(to word: String) -> String? {
        switch self {
        case .sandbox, .newSandbox:
            if word.contains(":/") { return "a sandbox's name and a path are two words here" }
            return isName(word)
                ? nil : "a sandbox's name is 1 to 63 of A-Z a-z 0-9 _ . - and starts with a letter or digit"
        case .hostname:
            return isName(word)
                ? nil : "a host name is 1 to 63 of A-Z a-z 0-9 _ . - and starts with a letter or digit"
        case .newTag:
            return isName(word)
                ? nil : "a tag is 1 to 63 of A-Z a-z 0-9 _ . - and starts with a letter or digit"
        case .snapshot, .snapshotOrSandbox, .tag, .path, .directory, .base, .copyEnd:
            return word.isEmpty ? "it is empty" : nil
        case .insidePath:
            return word.hasPrefix("/") ? nil : "a path inside a sandbox starts with /"
        case .signal:
            return signalNumber(word) == nil ? "it is no signal; see kill -l" : nil
        case .number(let range):
            guard let number = Int(word), range.contains(number) else {
                return "it must be a whole number from \(range.lowerBound) to \(range.upperBound)"
            }
            return nil
        case .seconds:
            guard let seconds = Double(word), seconds > 0, seconds.isFinite else {
                return "it must be a number of seconds above 0"
            }
            return nil
        case .span:
            return spanSeconds(word) == nil ? "it must be a length of time: 90s, 30m, 12h, 7d or 2w" : nil
        case .choice(let words):
            return words.contains(word) ? nil : "it must be one of: " + words.joined(separator: ", ")
        case .variable:
            return word.isEmpty || word.hasPrefix("=")
                ? "it must be KEY=VALUE, or KEY for its value here" : nil
        case .spec(.volume) where word.hasPrefix("."):
            // A path of this machine may be relative here; the server gets it absolute.
            return SpecForm.volume.objection(to: "/" + word.drop { $0 != ":" })
        case .spec(let form):
            return form.objection(to: word)
        case .text, .command, .program:
            return nil
        }
    }

    /// What the word is, for a message: `the name of a sandbox`.
    public var meaning: String {
        switch self {
        case .hostname: "a host name"
        case .sandbox: "the name of a sandbox"
        case .newSandbox: "a name for the new sandbox"
        case .snapshot: "a snapshot (id, tag, or a sandbox's name, with ~N for an ancestor)"
        case .snapshotOrSandbox: "a snapshot or a sandbox"
        case .tag, .newTag: "a tag"
        case .path: "a path"
        case .directory, .base: "a directory"
        case .insidePath: "a path inside the sandbox"
        case .copyEnd: "a path, NAME:PATH or -"
        case .signal: "a signal"
        case .number: "a number"
        case .seconds: "a number of seconds"
        case .span: "a length of time (90s, 30m, 12h, 7d, 2w)"
        case .variable: "KEY=VALUE"
        case .choice(let words): "one of " + words.joined(separator: ", ")
        case .spec(let form): form.forms
        case .command: "the name of a command"
        case .program: "a command to run"
        case .text: "a value"
        }
    }
}

/// Whether `word` can name a sandbox: `[A-Za-z0-9][A-Za-z0-9_.-]{0,62}`.
public func isName(_ word: String) -> Bool {
    let bytes = Array(word.utf8)
    guard (1...63).contains(bytes.count), let first = bytes.first, isAlphanumeric(first) else { return false }
    return bytes.allSatisfy {
        isAlphanumeric($0) || $0 == UInt8(ascii: "_") || $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "-")
    }
}

private func isAlphanumeric(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"):
        true
    default: false
    }
}
