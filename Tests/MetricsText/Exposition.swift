/// Prometheus's text format 0.0.4, read strictly: what it refuses, Prometheus or its linter would.
///
/// Every family has its help, then its type, then its samples, together and once; counters end in `_total`; the
/// buckets of a histogram grow, end with `+Inf`, and agree with its count.
public struct Exposition {
    /// What does not fit.
    public struct Fault: Error, CustomStringConvertible {
        public let description: String
    }

    /// One line with a number.
    public struct Sample: Hashable {
        public let name: String
        public let labels: [String: String]
        public let value: Double
    }

    public private(set) var samples: [Sample] = []
    public private(set) var types: [String: String] = [:]

    /// Reads a whole text.
    public init(_ text: String) throws {
        guard text.hasSuffix("\n") else { throw Fault(description: "the last line does not end") }
        var family: String?
        var helped: Set<String> = []
        for line in text.split(separator: "\n", omittingEmptySubsequences: false).dropLast() {
            if line.hasPrefix("# HELP ") {
                let name = String(line.dropFirst(7).prefix { $0 != " " })
                guard helped.insert(name).inserted else { throw Fault(description: "\(name) comes twice") }
                family = name
            } else if line.hasPrefix("# TYPE ") {
                let words = line.split(separator: " ").map(String.init)
                guard words.count == 4, words[2] == family, types[words[2]] == nil,
                    ["counter", "gauge", "histogram"].contains(words[3]),
                    words[3] != "counter" || words[2].hasSuffix("_total")
                else { throw Fault(description: "\(line)") }
                types[words[2]] = words[3]
            } else {
                let sample = try Self.sample(line)
                guard let family, let type = types[family] else {
                    throw Fault(description: "\(line) has no type")
                }
                let suffixes = type == "histogram" ? ["_bucket", "_sum", "_count"] : [""]
                guard suffixes.contains(where: { sample.name == family + $0 }) else {
                    throw Fault(description: "\(line) is none of \(family)")
                }
                guard !samples.contains(where: { $0.name == sample.name && $0.labels == sample.labels })
                else { throw Fault(description: "\(line) comes twice") }
                samples.append(sample)
            }
        }
        for (name, type) in types where type == "histogram" { try checkHistogram(name) }
    }

    /// The number with just these labels.
    public subscript(_ name: String, _ labels: [String: String]) -> Double? {
        samples.first { $0.name == name && $0.labels == labels }?.value
    }

    /// The sum of all numbers of that name.
    public func sum(_ name: String) -> Double { samples.reduce(0) { $1.name == name ? $0 + $1.value : $0 } }

    private func checkHistogram(_ name: String) throws {
        let buckets = samples.filter { $0.name == "\(name)_bucket" }
        for labels in Set(buckets.map { $0.labels.filter { $0.key != "le" } }) {
            let own = buckets.filter { $0.labels.filter { $0.key != "le" } == labels }
            let bounds = own.map {
                $0.labels["le"] == "+Inf" ? .infinity : Double($0.labels["le"] ?? "") ?? .nan
            }
            let rises = zip(bounds, bounds.dropFirst()).allSatisfy { $0 < $1 }
            let grows = zip(own, own.dropFirst()).allSatisfy { $0.value <= $1.value }
            guard rises, grows, bounds.last == .infinity, self["\(name)_count", labels] == own.last?.value,
                self["\(name)_sum", labels] != nil
            else { throw Fault(description: "the histogram \(name) of \(labels)") }
        }
    }

    private static func sample(_ line: Substring) throws -> Sample {
        let fault = Fault(description: String(line))
        var rest = line
        func isNamed(_ character: Character) -> Bool {
            character.isASCII
                && (character.isLetter || character.isNumber || character == "_" || character == ":")
        }
        let name = String(rest.prefix(while: isNamed))
        rest = rest.dropFirst(name.count)
        guard let first = name.first, !first.isNumber else { throw fault }
        var labels: [String: String] = [:]
        if rest.first == "{" {
            rest = rest.dropFirst()
            while rest.first != "}" {
                let label = String(rest.prefix(while: isNamed))
                rest = rest.dropFirst(label.count)
                guard !label.isEmpty, labels[label] == nil, rest.hasPrefix("=\"") else { throw fault }
                rest = rest.dropFirst(2)
                labels[label] = try value(&rest, fault)
                if rest.first == "," { rest = rest.dropFirst() } else if rest.first != "}" { throw fault }
            }
            rest = rest.dropFirst()
        }
        guard rest.first == " ", let number = Double(rest.dropFirst()) else { throw fault }
        return Sample(name: name, labels: labels, value: number)
    }

    /// A label's value up to its closing quote.
    private static func value(_ rest: inout Substring, _ fault: Fault) throws -> String {
        var value = ""
        while let character = rest.popFirst() {
            switch character {
            case "\"": return value
            case "\\":
                switch rest.popFirst() {
                case "\\": value += "\\"
                case "\"": value += "\""
                case "n": value += "\n"
                default: throw fault
                }
            default: value.append(character)
            }
        }
        throw fault
    }
}
