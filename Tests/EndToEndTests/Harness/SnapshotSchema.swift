import Foundation
import Testing

/// Holds what `ckpt inspect --json` prints to docs/inspect.schema.json, for every snapshot that a test made.
enum SnapshotSchema {
    private static let schema: Result<JSONSchema, any Error> = Result {
        let package = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent()
        return try JSONSchema(Data(contentsOf: package.appendingPathComponent("docs/inspect.schema.json")))
    }

    /// Records an issue for each snapshot that cannot be inspected or does not fit.
    static func check(_ ckpt: Ckpt) {
        for snapshot in (try? ckpt.tree())?.snapshots ?? []
        where snapshot.processes > 0 && snapshot.durable != false && !ckpt.damaged.contains(snapshot.id) {
            do {
                let result = try ckpt.call(["inspect", snapshot.id, "--json"])
                guard result.status == 0 else {
                    Issue.record("inspect \(snapshot.id): \(result)")
                    continue
                }
                let problems = try problems(in: result.stdoutData)
                #expect(problems == [], "inspect \(snapshot.id)")
            } catch {
                Issue.record("inspect \(snapshot.id): \(error)")
            }
        }
    }

    /// What does not fit the schema, a line each.
    static func problems(in json: Data) throws -> [String] {
        try schema.get().problems(of: JSONDecoder().decode(JSONValue.self, from: json))
    }
}

/// A JSON value.
enum JSONValue: Decodable, Equatable {
    case null
    case boolean(Bool)
    case integer(Int64)
    case number(Double)
    case string(String)
    case array([JSONValue])
    case object([String: JSONValue])

    init(from decoder: any Decoder) throws {
        let value = try decoder.singleValueContainer()
        if let text = try? value.decode(String.self) {
            self = .string(text)
        } else if let number = try? value.decode(Int64.self) {
            self = .integer(number)
        } else if let fields = try? value.decode([String: JSONValue].self) {
            self = .object(fields)
        } else if let items = try? value.decode([JSONValue].self) {
            self = .array(items)
        } else if let flag = try? value.decode(Bool.self) {
            self = .boolean(flag)
        } else if let number = try? value.decode(Double.self) {
            self = .number(number)
        } else {
            self = .null
        }
    }

    subscript(_ key: String) -> JSONValue? { if case .object(let fields) = self { fields[key] } else { nil } }
    var text: String? { if case .string(let text) = self { text } else { nil } }
    var items: [JSONValue] { if case .array(let items) = self { items } else { [] } }
    var fields: [String: JSONValue] { if case .object(let fields) = self { fields } else { [:] } }
}

/// As much of JSON Schema 2020-12 as the schema of inspect uses; a keyword beyond that is an error when it is loaded.
final class JSONSchema: @unchecked Sendable {
    private let root: JSONValue
    private let lock = NSLock()
    // Guarded by the lock.
    private var patterns: [String: NSRegularExpression] = [:]
    private static let known: Set<String> = [
        "$schema", "$defs", "$ref", "title", "description", "type", "required", "properties",
        "additionalProperties", "items", "enum", "pattern", "minimum",
    ]

    init(_ data: Data) throws {
        root = try JSONDecoder().decode(JSONValue.self, from: data)
        try Self.check(root)
    }

    private static func check(_ schema: JSONValue) throws {
        for (keyword, value) in schema.fields {
            guard known.contains(keyword) else {
                throw HarnessError("the schema has the unknown keyword \(keyword)")
            }
            switch keyword {
            case "properties", "$defs": for inner in value.fields.values { try check(inner) }
            case "items": try check(value)
            case "additionalProperties": if case .object = value { try check(value) }
            default: break
            }
        }
    }

    func problems(of value: JSONValue) -> [String] { problems(of: value, root, "$") }

    private func problems(of value: JSONValue, _ schema: JSONValue, _ place: String) -> [String] {
        var found: [String] = []
        if let reference = schema["$ref"]?.text {
            var target: JSONValue? = root
            for part in reference.split(separator: "/").dropFirst() { target = target?[String(part)] }
            guard let target else { return ["\(place): \(reference) leads nowhere"] }
            found += problems(of: value, target, place)
        }
        if let type = schema["type"]?.text, !Self.isType(value, type) {
            return found + ["\(place) is no \(type)"]
        }
        if let allowed = schema["enum"]?.items, !allowed.contains(value) {
            found.append("\(place) is \(value)")
        }
        switch value {
        case .object(let fields):
            for name in schema["required"]?.items.compactMap(\.text) ?? [] where fields[name] == nil {
                found.append("\(place) lacks \(name)")
            }
            for (name, field) in fields {
                if let inner = schema["properties"]?[name] ?? schema["additionalProperties"] {
                    if inner == .boolean(false) {
                        found.append("\(place) has the unknown \(name)")
                    } else {
                        found += problems(of: field, inner, "\(place).\(name)")
                    }
                }
            }
        case .array(let items):
            guard let inner = schema["items"] else { break }
            for (index, item) in items.enumerated() {
                found += problems(of: item, inner, "\(place)[\(index)]")
            }
        case .string(let text):
            if let pattern = schema["pattern"]?.text, !matches(text, pattern) {
                found.append("\(place) is \(text)")
            }
        case .integer(let number):
            if case .integer(let least) = schema["minimum"], number < least {
                found.append("\(place) is \(number)")
            }
        default: break
        }
        return found
    }

    private static func isType(_ value: JSONValue, _ type: String) -> Bool {
        switch (type, value) {
        case ("object", .object), ("array", .array), ("string", .string), ("integer", .integer),
            ("number", .integer), ("number", .number), ("boolean", .boolean):
            true
        default: false
        }
    }

    private func matches(_ text: String, _ pattern: String) -> Bool {
        let expression = lock.withLock {
            if let known = patterns[pattern] { return known }
            let made = try! NSRegularExpression(pattern: pattern)
            patterns[pattern] = made
            return made
        }
        return expression.firstMatch(in: text, range: NSRange(text.startIndex..., in: text)) != nil
    }
}
