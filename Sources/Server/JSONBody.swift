import FoundationEssentials
import Messages

/// JSON in and out of HTTP bodies.
enum JSONBody {
    /// The largest JSON body of a request, in bytes.
    static let limit = 8 << 20

    /// Reads a request; an empty body counts as `{}`. An error names the field.
    static func decode<Request: Decodable>(
        _ type: Request.Type, from bytes: [UInt8]
    ) throws(ErrorMessage) -> Request {
        do {
            return try JSONDecoder().decode(type, from: bytes.isEmpty ? Data("{}".utf8) : Data(bytes))
        } catch let error as DecodingError {
            throw describe(error)
        } catch {
            throw ErrorMessage(.badRequest, "the body cannot be read", cause: "\(error)")
        }
    }

    /// Writes an answer; every message encodes, so a failure is a bug.
    static func encode(_ value: some Encodable) -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        encoder.nonConformingFloatEncodingStrategy =
            .convertToString(positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
        do {
            return Array(try encoder.encode(value))
        } catch {
            preconditionFailure("\(type(of: value)) does not encode: \(error)")
        }
    }

    private static func describe(_ error: DecodingError) -> ErrorMessage {
        switch error {
        case .keyNotFound(let key, let context):
            ErrorMessage(.badRequest, "field \(path(context.codingPath + [key])) is missing")
        case .typeMismatch(_, let context), .valueNotFound(_, let context):
            ErrorMessage(
                .badRequest, "field \(path(context.codingPath)) has the wrong type",
                cause: context.debugDescription)
        case .dataCorrupted(let context) where context.codingPath.isEmpty:
            ErrorMessage(.badRequest, "the body is no JSON", cause: reason(context))
        case .dataCorrupted(let context):
            ErrorMessage(
                .badRequest, "field \(path(context.codingPath)) has no valid value", cause: reason(context))
        @unknown default:
            ErrorMessage(.badRequest, "the body cannot be read", cause: "\(error)")
        }
    }

    private static func reason(_ context: DecodingError.Context) -> String {
        context.underlyingError.map { "\($0)" } ?? context.debugDescription
    }

    private static func path(_ keys: [any CodingKey]) -> String {
        guard !keys.isEmpty else { return "(the whole body)" }
        return keys.reduce("") { text, key in
            if let index = key.intValue { return "\(text)[\(index)]" }
            return text.isEmpty ? key.stringValue : "\(text).\(key.stringValue)"
        }
    }
}
