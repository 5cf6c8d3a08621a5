/// A line of CRIU's log as its source writes it, with names in the place of printf's conversions:
/// `Can't dump file {fd} of that type [{mode}] (chr {device})`.
struct LinePattern: Sendable {
    private let literals: [String]
    private let names: [String]

    init(_ text: String) {
        var literals: [String] = []
        var names: [String] = []
        for (index, part) in text.split(separator: "{", omittingEmptySubsequences: false).enumerated() {
            if index == 0 {
                literals.append(String(part))
            } else {
                let pieces = part.split(separator: "}", maxSplits: 1, omittingEmptySubsequences: false)
                names.append(String(pieces[0]))
                literals.append(String(pieces[1]))
            }
        }
        (self.literals, self.names) = (literals, names)
    }

    /// What stands for each name where the pattern occurs in `line`; nil where it does not.
    ///
    /// A line may begin with CRIU's name for its part (`inet: `). The last name takes all that is left.
    func match(_ line: String) -> [String: String]? {
        guard let start = line.firstRange(of: literals[0]) else { return nil }
        var rest = line[start.upperBound...]
        var values: [String: String] = [:]
        for (index, name) in names.enumerated() {
            let next = literals[index + 1]
            if next.isEmpty {
                values[name] = String(rest)
                rest = rest[rest.endIndex...]
            } else {
                guard let found = rest.firstRange(of: next) else { return nil }
                values[name] = String(rest[..<found.lowerBound])
                rest = rest[found.upperBound...]
            }
        }
        return values
    }
}
