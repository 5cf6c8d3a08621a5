/// Measured milliseconds by name, in the order they were taken.
struct Samples {
    private(set) var values: [String: [Double]] = [:]

    mutating func add(_ name: String, _ milliseconds: Double) {
        values[name, default: []].append(milliseconds)
    }

    /// The middle one, of an even number the mean of both; nil without samples.
    func median(_ name: String) -> Double? {
        guard let sorted = values[name]?.sorted(), !sorted.isEmpty else { return nil }
        let middle = sorted.count / 2
        return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
    }

    /// The sample that as large a part of all lies below (nearest rank), for a part of 0 to 1; nil without samples.
    func quantile(_ part: Double, _ name: String) -> Double? {
        guard let sorted = values[name]?.sorted(), !sorted.isEmpty else { return nil }
        return sorted[Int((part * Double(sorted.count - 1)).rounded())]
    }

    func count(_ name: String) -> Int { values[name]?.count ?? 0 }
}
