/// A value of a spec that every face of ckpt spells the same way: in one string.
///
/// In JSON it is that string too.
public protocol SpelledValue: Codable, Hashable, Sendable, CustomStringConvertible {
    /// The spellings that are accepted, for a person whose value was not.
    static var forms: String { get }

    /// Reads a spelling; throws `badValue` that names it and the accepted forms.
    init(_ text: String) throws(ErrorMessage)
}

extension SpelledValue {
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        try self.init(spelledIn: container)
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }

    /// Reads a string; a refusal becomes an error that knows its place in the JSON.
    init(spelledIn container: any SingleValueDecodingContainer) throws {
        do { try self.init(container.decode(String.self)) } catch let error as ErrorMessage {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: error.description)
        }
    }

    /// The error for a spelling that is none.
    static func bad(_ text: String, _ reason: String? = nil) -> ErrorMessage {
        // A value may be the whole of a file.
        let shown = text.count > 100 ? text.prefix(60) + "…" : text[...]
        return ErrorMessage(.badValue, "bad value '\(shown)'", hint: "it must be \(forms)", cause: reason)
    }

    /// Why `text` is no spelling; nil where it is one.
    public static func objection(to text: String) -> String? {
        do throws(ErrorMessage) {
            _ = try Self(text)
            return nil
        } catch {
            return (error.cause.map { "\($0); " } ?? "") + (error.hint ?? "it must be \(forms)")
        }
    }
}

/// Whether a path is absolute and holds nothing that a mount or a C string could not.
func isUsablePath(_ path: some StringProtocol) -> Bool {
    path.hasPrefix("/") && !path.utf8.contains(0) && path.utf8.count < 4096
        && !path.split(separator: "/").contains("..")
}

/// The path without doubled or trailing slashes and `.` components.
func tidied(_ path: some StringProtocol) -> String {
    "/" + path.split(separator: "/").filter { $0 != "." }.joined(separator: "/")
}
