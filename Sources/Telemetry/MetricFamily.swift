/// All samples of one name, as Prometheus's text format puts them.
///
/// Source: prometheus.io, "Exposition formats", text format 0.0.4.
public struct MetricFamily: Sendable {
    /// What kind of number it is.
    public enum Kind: String, Sendable {
        case counter, gauge, histogram
    }

    public let name: String
    public let kind: Kind
    public let help: String
    public let samples: [MetricSample]

    /// A family; `help` is one sentence.
    public init(_ name: String, _ kind: Kind, _ help: String, _ samples: [MetricSample]) {
        (self.name, self.kind, self.help, self.samples) = (name, kind, help, samples)
    }

    /// `# HELP`, `# TYPE` and a line for each sample.
    var text: String {
        "# HELP \(name) \(Self.escaped(help, quotes: false))\n# TYPE \(name) \(kind.rawValue)\n"
            + samples.map { $0.text(name) }.joined()
    }

    static func escaped(_ text: String, quotes: Bool) -> String {
        var escaped = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\\": escaped += "\\\\"
            case "\n": escaped += "\\n"
            case "\"" where quotes: escaped += "\\\""
            default: escaped.unicodeScalars.append(scalar)
            }
        }
        return escaped
    }
}

/// One number, or one histogram, with its labels.
public struct MetricSample: Sendable {
    private enum Value: Sendable {
        case number(Double)
        case histogram(Histogram)
    }
    private let labels: [(name: String, value: String)]
    private let value: Value

    /// A number.
    public init(_ labels: [(String, String)], _ value: Double) {
        (self.labels, self.value) = (labels.map { (name: $0, value: $1) }, .number(value))
    }

    /// A histogram.
    init(_ labels: [(String, String)], _ value: Histogram) {
        (self.labels, self.value) = (labels.map { (name: $0, value: $1) }, .histogram(value))
    }

    func text(_ name: String) -> String {
        switch value {
        case .number(let number): return line(name, labels, number)
        case .histogram(let histogram):
            var text = ""
            var count: UInt64 = 0
            for (bound, inside) in zip(Histogram.bounds, histogram.counts) {
                count += inside
                text += line("\(name)_bucket", labels + [("le", "\(bound)")], Double(count))
            }
            text += line("\(name)_bucket", labels + [("le", "+Inf")], Double(histogram.count))
            text += line("\(name)_sum", labels, histogram.sum)
            return text + line("\(name)_count", labels, Double(histogram.count))
        }
    }

    private func line(_ name: String, _ labels: [(name: String, value: String)], _ number: Double) -> String {
        let list = labels.map { "\($0.name)=\"\(MetricFamily.escaped($0.value, quotes: true))\"" }
        let number = number == number.rounded() && abs(number) < 1e15 ? "\(Int64(number))" : "\(number)"
        return "\(name)\(list.isEmpty ? "" : "{\(list.joined(separator: ","))}") \(number)\n"
    }
}

/// How often a duration was within which bound.
struct Histogram: Sendable {
    /// Upper bounds of the buckets in seconds: from a command through a live bash to a save of gigabytes.
    static let bounds = [
        0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
        30.0, 60.0,
    ]
    /// How many fell into each bucket, and into none of those before it.
    private(set) var counts = [UInt64](repeating: 0, count: bounds.count)
    private(set) var count: UInt64 = 0
    private(set) var sum = 0.0

    mutating func observe(_ seconds: Double) {
        if let bucket = Self.bounds.firstIndex(where: { seconds <= $0 }) { counts[bucket] += 1 }
        count += 1
        sum += seconds
    }
}
