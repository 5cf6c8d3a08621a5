import Foundation

/// A document as it was read, from YAML or JSON.
indirect enum Document: Codable, Equatable {
    case null
    case bool(Bool)
    case integer(Int)
    case number(Double)
    case string(String)
    case array([Document])
    case object([String: Document])

    init(from decoder: any Decoder) throws {
        let value = try decoder.singleValueContainer()
        if value.decodeNil() {
            self = .null
        } else if let bool = try? value.decode(Bool.self) {
            self = .bool(bool)
        } else if let integer = try? value.decode(Int.self) {
            self = .integer(integer)
        } else if let number = try? value.decode(Double.self) {
            self = .number(number)
        } else if let string = try? value.decode(String.self) {
            self = .string(string)
        } else if let array = try? value.decode([Document].self) {
            self = .array(array)
        } else {
            self = .object(try value.decode([String: Document].self))
        }
    }

    func encode(to encoder: any Encoder) throws {
        var value = encoder.singleValueContainer()
        switch self {
        case .null: try value.encodeNil()
        case .bool(let bool): try value.encode(bool)
        case .integer(let integer): try value.encode(integer)
        case .number(let number): try value.encode(number)
        case .string(let string): try value.encode(string)
        case .array(let array): try value.encode(array)
        case .object(let object): try value.encode(object)
        }
    }

    /// Reads a YAML file with PyYAML, which refuses what is no YAML.
    static func yaml(_ path: String) throws -> Document {
        let script = """
            import json, sys, yaml
            class Strict(yaml.SafeLoader): pass
            def mapping(loader, node):
                keys = [loader.construct_object(key) for key, _ in node.value]
                assert len(keys) == len(set(keys)), f"a key is there twice {node.start_mark}"
                return loader.construct_mapping(node, deep=True)
            Strict.add_constructor("tag:yaml.org,2002:map", mapping)
            json.dump(yaml.load(open(sys.argv[1]), Strict), sys.stdout)
            """
        let python = Process()
        python.executableURL = URL(fileURLWithPath: "/usr/bin/python3")
        python.arguments = ["-c", script, path]
        let output = Foundation.Pipe()
        python.standardOutput = output
        try python.run()
        let json = output.fileHandleForReading.readDataToEndOfFile()
        python.waitUntilExit()
        guard python.terminationStatus == 0 else { throw CocoaError(.fileReadCorruptFile) }
        return try JSONDecoder().decode(Document.self, from: json)
    }

    subscript(key: String) -> Document? {
        guard case .object(let object) = self else { return nil }
        return object[key]
    }

    var keys: Set<String> {
        guard case .object(let object) = self else { return [] }
        return Set(object.keys)
    }

    var items: [Document] {
        guard case .array(let array) = self else { return [] }
        return array
    }

    var text: String? {
        guard case .string(let string) = self else { return nil }
        return string
    }
}
