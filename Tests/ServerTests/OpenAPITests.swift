import Foundation
import Messages
import ServerFixture
import Testing

@testable import Server

/// Holds docs/openapi.yaml to the route table and to the messages.
struct OpenAPITests {
    private static let methods: Set<String> = ["get", "put", "post", "delete", "patch", "head"]
    private let description: Document

    init() throws {
        let repository = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent()
            .deletingLastPathComponent()
        description = try Document.yaml(repository.path + "/docs/openapi.yaml")
    }

    private func resolve(_ node: Document?) throws -> Document? {
        guard let reference = node?["$ref"]?.text else { return node }
        var target = description
        for part in reference.split(separator: "/").dropFirst() {
            target = try #require(target[String(part)], "\(reference) leads nowhere")
        }
        return try resolve(target)
    }

    /// The operation of a route, and its path's own entry.
    private func operation(_ route: Route) throws -> (operation: Document, path: Document) {
        let path = try #require(description["paths"]?[route.template], "\(route.template) is not described")
        let operation = try #require(
            path[route.method.lowercased()], "\(route.method) \(route.template) is not described")
        return (operation, path)
    }

    private func schemaName(_ content: Document?) -> String? {
        let reference = content?["application/json"]?["schema"]?["$ref"]?.text
        return reference.map { String($0.split(separator: "/").last!) }
    }

    @Test func pathsAndMethodsAreTheRouters() throws {
        let paths = try #require(description["paths"])
        var described: Set<String> = []
        for path in paths.keys {
            for method in paths[path]!.keys.intersection(Self.methods) {
                described.insert(
                    "\(method.uppercased()) \(path) \(paths[path]![method]!["operationId"]!.text!)")
            }
        }
        #expect(described == Set(Router.v1.routes.map { "\($0.method) \($0.template) \($0.operation)" }))
        #expect(Set(Router.v1.routes.map(\.operation)).count == Router.v1.routes.count)
    }

    @Test func parametersAreTheRouters() throws {
        for route in Router.v1.routes {
            let (operation, path) = try operation(route)
            var places: [String: Set<String>] = ["path": [], "query": []]
            for node in (operation["parameters"]?.items ?? []) + (path["parameters"]?.items ?? []) {
                let parameter = try #require(try resolve(node))
                places[parameter["in"]!.text!]!.insert(parameter["name"]!.text!)
            }
            let parameters = route.pattern.compactMap { segment in
                if case .parameter(let name) = segment { name } else { nil }
            }
            #expect(places["path"] == Set(parameters), "\(route.operation)")
            #expect(places["query"] == Set(route.query), "\(route.operation)")
        }
    }

    @Test func bodiesAreTheRouters() throws {
        for route in Router.v1.routes {
            let operation = try operation(route).operation
            #expect(schemaName(operation["requestBody"]?["content"]) == route.takes, "\(route.operation)")
            let success = try resolve(operation["responses"]?["200"])
            #expect(schemaName(success?["content"]) == route.gives, "\(route.operation)")
            let failure = try resolve(operation["responses"]?["default"])
            #expect(schemaName(failure?["content"]) == "ErrorEnvelope", "\(route.operation)")
        }
    }

    @Test func schemasAreTheMessages() throws {
        let schemas = try #require(description["components"]?["schemas"])
        #expect(schemas.keys == Set(Sample.all.map { "\(type(of: $0))" }))
        for sample in Sample.all {
            let name = "\(type(of: sample))"
            let schema = try #require(schemas[name])
            let json = try JSONDecoder().decode(Document.self, from: JSONEncoder().encode(sample))
            let fields = Mirror(reflecting: sample).children.map { ($0.label!, Mirror(reflecting: $0.value)) }
            #expect(json.keys == Set(fields.map(\.0)), "a field of the sample \(name) is empty")
            #expect(schema["properties"]?.keys == json.keys, "\(name)")
            let required = Set(schema["required"]?.items.compactMap(\.text) ?? [])
            let optional = Set(fields.filter { $0.1.displayStyle == .optional }.map(\.0))
            // These fill in what is missing.
            let filling: Set = [
                "SandboxSpec", "ResourceLimits", "SecurityOptions", "CreateRequest", "ExecRequest",
            ]
            let defaulted = filling.contains(name) ? json.keys : []
            #expect(required == json.keys.subtracting(optional).subtracting(defaulted), "\(name)")
            try expect(json, fits: schema, name)
        }
    }

    @Test func enumerationsAreComplete() throws {
        let properties = { (name: String) in self.description["components"]?["schemas"]?[name]?["properties"]
        }
        let values = { (node: Document?) in node?["enum"]?.items.compactMap(\.text) }
        #expect(values(properties("ErrorMessage")?["code"]) == ErrorMessage.Code.allCases.map(\.rawValue))
        let table = try #require(description["components"]?["responses"]?["Error"]?["description"]?.text)
        for code in ErrorMessage.Code.allCases {
            let row = table.split(separator: "\n").first {
                $0.hasPrefix("| \(ErrorMessage(code, "").httpStatus) |")
            }
            #expect(row?.contains(code.rawValue) == true, "\(code.rawValue)")
        }
        #expect(values(properties("LogRecord")?["stream"]) == OutputStream.allCases.map(\.rawValue))
        #expect(values(properties("Event")?["kind"]) == EventKind.allCases.map(\.rawValue))
        #expect(values(properties("ProgressInfo")?["unit"]) == ProgressUnit.allCases.map(\.rawValue))
        for value in values(properties("SandboxInfo")?["state"]) ?? [] {
            #expect(SandboxState(rawValue: value) != nil)
        }
        for value in values(properties("DoctorCheck")?["status"]) ?? [] {
            #expect(DoctorCheck.Status(rawValue: value) != nil)
        }
    }

    @Test func examplesFitAndDecode() throws {
        let types = Dictionary(uniqueKeysWithValues: Sample.all.map { ("\(type(of: $0))", type(of: $0)) })
        var count = 0
        func visit(_ node: Document) throws {
            for item in node.items { try visit(item) }
            for key in node.keys { try visit(node[key]!) }
            guard let example = node["example"], let reference = node["schema"]?["$ref"]?.text else { return }
            let name = String(reference.split(separator: "/").last!)
            try expect(example, fits: try #require(try resolve(node["schema"])), name)
            let type = try #require(types[name])
            #expect(throws: Never.self) {
                _ = try JSONDecoder().decode(type, from: JSONEncoder().encode(example))
            }
            count += 1
        }
        try visit(description)
        #expect(count > 15)
    }

    @Test func everyReferenceLeadsSomewhere() throws {
        func visit(_ node: Document) throws {
            _ = try resolve(node)
            for item in node.items { try visit(item) }
            for key in node.keys { try visit(node[key]!) }
        }
        try visit(description)
    }

    /// Checks a value against as much of JSON Schema as the description uses.
    private func expect(_ value: Document, fits schema: Document, _ place: String) throws {
        let schema = try #require(try resolve(schema))
        if let choices = schema["oneOf"]?.items {
            let kinds: [String?] = choices.map { $0["type"]?.text }
            switch value {
            case .string: #expect(kinds.contains("string"), "\(place)")
            case .array: #expect(kinds.contains("array"), "\(place)")
            default: Issue.record("\(place) is \(value)")
            }
            return
        }
        if let allowed = schema["enum"]?.items { #expect(allowed.contains(value), "\(place)") }
        switch (schema["type"]?.text, value) {
        case ("string", .string), ("boolean", .bool), ("integer", .integer), ("number", .number),
            ("number", .integer):
            break
        case ("array", .array(let items)):
            let inner = try #require(schema["items"], "\(place)")
            for item in items { try expect(item, fits: inner, "\(place)[]") }
        case ("object", .object(let fields)):
            for name in schema["required"]?.items.compactMap(\.text) ?? [] {
                #expect(fields[name] != nil, "\(place).\(name)")
            }
            for (name, field) in fields {
                let inner = schema["properties"]?[name] ?? schema["additionalProperties"]
                try expect(field, fits: try #require(inner, "\(place).\(name)"), "\(place).\(name)")
            }
        default: Issue.record("\(place) is \(value) and not \(schema["type"]?.text ?? "?")")
        }
    }
}
