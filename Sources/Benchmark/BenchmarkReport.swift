/// What a run of the benchmark measured; times are milliseconds.
public struct BenchmarkReport: Encodable, Sendable {
    /// One operation of the product, over the server's Unix socket.
    public struct Operation: Encodable, Sendable {
        public let name: String
        public let median: Double
        public let p90: Double
        /// The least it can cost here, measured in the same run; nil where there is no such thing.
        public let floor: Double?
        /// The median as a multiple of the floor.
        public let ratio: Double?
        /// What it may cost, worked out from the floors of the same run; nil where nothing is promised.
        public let budget: Double?

        private enum CodingKeys: String, CodingKey {
            case name, ratio
            case median = "median_ms", p90 = "p90_ms", floor = "floor_ms", budget = "budget_ms"
        }

        /// Writes what is not there as null, so that every operation has the same fields.
        public func encode(to encoder: any Encoder) throws {
            var fields = encoder.container(keyedBy: CodingKeys.self)
            try fields.encode(name, forKey: .name)
            try fields.encode(median, forKey: .median)
            try fields.encode(p90, forKey: .p90)
            try fields.encode(floor, forKey: .floor)
            try fields.encode(ratio, forKey: .ratio)
            try fields.encode(budget, forKey: .budget)
        }
    }

    /// How many of the samples there were, and the slowest of a hundred.
    public struct Spread: Encodable, Sendable {
        public let count: Int
        public let p99: Double
        private enum CodingKeys: String, CodingKey { case count, p99 = "p99_ms" }
    }

    /// Something that goes on for a while: so many a second, or bytes.
    public struct Rate: Encodable, Sendable {
        public let name: String
        public let value: Double
        /// `per second` or `bytes`.
        public let unit: String
    }

    /// Where it was measured.
    public struct Place: Encodable, Sendable {
        public let version: String
        public let kernel: String
        public let processor: String
        public let cores: Int
        public let memoryBytes: Int64
        /// The filesystem of the store, as /proc/mounts calls it.
        public let filesystem: String
        /// What sandboxes were made from.
        public let base: String
        /// When, seconds since 1970.
        public let time: Double
        /// How many programs wanted a processor before it began, on average over a minute.
        public let load: Double
    }

    public let operations: [Operation]
    /// By the operation's name.
    public let samples: [String: Spread]
    public let sustained: [Rate]
    /// Medians of what the floors are worked out from, in milliseconds, by name.
    public let floors: [String: Double]
    public let place: Place
    /// What a reader of the figures should know, one sentence each.
    public let notes: [String]
    /// What could not be measured to the end, one sentence each; empty where all went well.
    public let failures: [String]
}

extension BenchmarkReport {
    init(_ run: Run, _ place: Place) {
        let catalogue = OperationCatalogue(samples: run.samples, floors: run.floors, cores: run.cores)
        let measured = OperationCatalogue.everything.filter { run.samples.count($0) > 0 }
        operations = measured.map { name in
            let median = run.samples.median(name)!
            let floor = catalogue.floor(name)
            return Operation(
                name: name, median: median, p90: run.samples.quantile(0.9, name)!, floor: floor,
                ratio: floor.map { median / $0 }, budget: catalogue.budget(name))
        }
        let spreads = measured.map { name in
            (name, Spread(count: run.samples.count(name), p99: run.samples.quantile(0.99, name)!))
        }
        samples = Dictionary(uniqueKeysWithValues: spreads)
        floors = run.floors.values.keys.reduce(into: [:]) { $0[$1] = run.floors.median($1) }
        sustained = run.sustained
        self.place = place
        notes = run.notes
        failures = run.failures
    }
}
