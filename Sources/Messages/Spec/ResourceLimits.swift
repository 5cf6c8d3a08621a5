/// How much of the machine a sandbox may use; what is nil is not limited.
public struct ResourceLimits: Codable, Hashable, Sendable {
    /// CPU time.
    public var cpus: CPUQuota?
    /// Weight among others when CPUs are short; 2 to 262144, 1024 for everybody who says nothing.
    public var cpuShares: Int?
    /// The CPUs it may run on.
    public var cpusetCpus: NumberSet?
    /// The memory nodes it may take memory of.
    public var cpusetMems: NumberSet?
    /// Memory, the page cache included; more is reclaimed, then killed.
    public var memory: ByteSize?
    /// Above this it is slowed down and reclaimed, and not killed.
    public var memoryHigh: ByteSize?
    /// Memory and swap together, as Docker has it: at least `memory`; -1 for no limit of swap.
    public var memorySwap: SwapLimit?
    /// Processes and threads.
    public var pids: Int?
    /// Bytes and operations a second, of block devices.
    public var io: [IOLimit]
    /// Whether a limit that cannot be set is a warning and not an error.
    public var bestEffort: Bool

    /// Nothing limited.
    public init() {
        io = []
        bestEffort = false
    }

    /// Takes over what `other` limits; the rest stays.
    public mutating func merge(_ other: ResourceLimits) {
        cpus = other.cpus ?? cpus
        cpuShares = other.cpuShares ?? cpuShares
        cpusetCpus = other.cpusetCpus ?? cpusetCpus
        cpusetMems = other.cpusetMems ?? cpusetMems
        memory = other.memory ?? memory
        memoryHigh = other.memoryHigh ?? memoryHigh
        memorySwap = other.memorySwap ?? memorySwap
        pids = other.pids ?? pids
        let devices = Set(other.io.map(\.device))
        io = io.filter { !devices.contains($0.device) } + other.io
        bestEffort = other.bestEffort || bestEffort
    }

    /// Whether nothing is limited.
    public var isEmpty: Bool {
        var other = self
        other.bestEffort = false
        return other == ResourceLimits()
    }

    public init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        cpus = try fields.decodeIfPresent(CPUQuota.self, forKey: .cpus)
        cpuShares = try fields.decodeIfPresent(Int.self, forKey: .cpuShares)
        cpusetCpus = try fields.decodeIfPresent(NumberSet.self, forKey: .cpusetCpus)
        cpusetMems = try fields.decodeIfPresent(NumberSet.self, forKey: .cpusetMems)
        memory = try fields.decodeIfPresent(ByteSize.self, forKey: .memory)
        memoryHigh = try fields.decodeIfPresent(ByteSize.self, forKey: .memoryHigh)
        memorySwap = try fields.decodeIfPresent(SwapLimit.self, forKey: .memorySwap)
        pids = try fields.decodeIfPresent(Int.self, forKey: .pids)
        io = try fields.decodeIfPresent([IOLimit].self, forKey: .io) ?? []
        bestEffort = try fields.decodeIfPresent(Bool.self, forKey: .bestEffort) ?? false
    }

    func check() throws(ErrorMessage) {
        if let cpuShares, !(2...262_144).contains(cpuShares) {
            throw ErrorMessage(.badValue, "cpu shares of \(cpuShares)", hint: "2 to 262144; 1024 is usual")
        }
        if let pids, !(1...4_194_304).contains(pids) {
            throw ErrorMessage(.badValue, "a limit of \(pids) processes", hint: "1 to 4194304")
        }
        if let memory, memory.bytes < 4 << 20 {
            throw ErrorMessage(.badValue, "a memory limit of \(memory) is too small", hint: "4m or more")
        }
        if let total = memorySwap?.bytes {
            guard let memory else {
                throw ErrorMessage(
                    .badValue, "a limit of memory and swap needs one of memory", hint: "--memory")
            }
            if total < memory.bytes {
                throw ErrorMessage(
                    .badValue,
                    "memory and swap together (\(ByteSize(bytes: total))) are less than memory (\(memory))",
                    hint: "the same size means no swap, -1 any")
            }
        }
    }
}

/// CPU time within a period: `0.5`, `2`, `50%` or `QUOTA PERIOD` in microseconds.
public struct CPUQuota: SpelledValue {
    public static let forms =
        "a number of CPUs (0.5, 2), a percentage of one (50%), or 'QUOTA PERIOD' in microseconds (50000 100000)"
    static let usualPeriod: Int64 = 100_000

    /// Microseconds of CPU time in each period; 1000 at least.
    public let quota: Int64
    /// The period, 1000 to 1000000 microseconds (Documentation/scheduler/sched-bwc.rst).
    public let period: Int64

    public init(_ text: String) throws(ErrorMessage) {
        let words = text.split(separator: " ")
        if words.count == 2, let quota = Int64(words[0]), let period = Int64(words[1]) {
            try self.init(text, quota, period)
            return
        }
        let isPercentage = text.hasSuffix("%")
        guard words.count == 1, let number = Double(isPercentage ? text.dropLast() : text[...]), number > 0,
            number < 1e6
        else { throw Self.bad(text) }
        let quota = (number * Double(Self.usualPeriod) / (isPercentage ? 100 : 1)).rounded()
        try self.init(text, Int64(quota), Self.usualPeriod)
    }

    private init(_ text: String, _ quota: Int64, _ period: Int64) throws(ErrorMessage) {
        guard quota >= 1000 else { throw Self.bad(text, "the quota is less than 1 ms a period") }
        guard (1000...1_000_000).contains(period) else {
            throw Self.bad(text, "a period has 1000 to 1000000 microseconds")
        }
        self.quota = quota
        self.period = period
    }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if let number = try? container.decode(Double.self) {
            do { try self.init("\(number)") } catch {
                throw DecodingError.dataCorruptedError(in: container, debugDescription: "\(error)")
            }
        } else {
            try self.init(spelledIn: container)
        }
    }

    /// CPUs, where the period is the usual one; else quota and period.
    public var description: String {
        guard period == Self.usualPeriod else { return "\(quota) \(period)" }
        if quota % period == 0 { return "\(quota / period)" }
        return "\(Double(quota) / Double(period))"
    }
}

/// Numbers of CPUs or memory nodes: `0-3,7`.
public struct NumberSet: SpelledValue {
    public static let forms = "numbers and ranges, as 0-3,7"

    /// Ascending, without gaps between that could be joined.
    public let ranges: [ClosedRange<Int>]

    public init(_ text: String) throws(ErrorMessage) {
        var numbers: Set<Int> = []
        for item in text.split(separator: ",", omittingEmptySubsequences: false) {
            let ends = item.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
            guard (1...2).contains(ends.count), let first = ends[0], let last = ends[ends.count - 1],
                first >= 0, first <= last, last < 65_536
            else { throw Self.bad(text) }
            numbers.formUnion(first...last)
        }
        var ranges: [ClosedRange<Int>] = []
        for number in numbers.sorted() {
            if let last = ranges.last, last.upperBound == number - 1 {
                ranges[ranges.count - 1] = last.lowerBound...number
            } else {
                ranges.append(number...number)
            }
        }
        self.ranges = ranges
    }

    public var description: String {
        ranges.map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)" }
            .joined(separator: ",")
    }
}

/// Memory and swap together: a size, or -1 for no limit.
public struct SwapLimit: SpelledValue {
    public static let forms = "a size as 1g, or -1 for no limit"

    /// Nil for no limit.
    public let bytes: Int64?

    public init(_ text: String) throws(ErrorMessage) {
        if text == "-1" {
            bytes = nil
        } else {
            do throws(ErrorMessage) { bytes = try ByteSize(text).bytes } catch {
                throw Self.bad(text, error.cause)
            }
        }
    }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if let number = try? container.decode(Int64.self) {
            do { try self.init("\(number)") } catch {
                throw DecodingError.dataCorruptedError(in: container, debugDescription: "\(error)")
            }
        } else {
            try self.init(spelledIn: container)
        }
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(bytes ?? -1)
    }

    public var description: String { bytes.map { "\(ByteSize(bytes: $0))" } ?? "-1" }
}

/// How fast one block device may be used: `/dev/X 10mb`, or `/dev/X rbps=… wbps=… riops=… wiops=…`.
public struct IOLimit: SpelledValue {
    public static let forms =
        "'DEVICE SIZE' for bytes a second read and written, or 'DEVICE rbps=SIZE wbps=SIZE riops=N wiops=N' with some "
        + "of the four, where DEVICE is a path or MAJOR:MINOR, as '/dev/sda 10mb' or '8:0 wbps=1m'"

    /// An absolute path of the host, or `MAJOR:MINOR`.
    public let device: String
    /// Bytes a second.
    public let readBytes: ByteSize?
    public let writeBytes: ByteSize?
    /// Operations a second.
    public let readOperations: Int64?
    public let writeOperations: Int64?

    public init(_ text: String) throws(ErrorMessage) {
        let words = text.split(separator: " ").map(String.init)
        guard words.count >= 2, let device = words.first, Self.isDevice(device) else { throw Self.bad(text) }
        self.device = device
        if words.count == 2, !words[1].contains("=") {
            let size = try Self.size(words[1], in: text)
            (readBytes, writeBytes, readOperations, writeOperations) = (size, size, nil, nil)
            return
        }
        var values: [String: String] = [:]
        for word in words.dropFirst() {
            let parts = word.split(separator: "=", maxSplits: 1).map(String.init)
            guard parts.count == 2, ["rbps", "wbps", "riops", "wiops"].contains(parts[0]),
                values[parts[0]] == nil
            else { throw Self.bad(text, "'\(word)' is none of rbps=, wbps=, riops= and wiops=") }
            values[parts[0]] = parts[1] == "max" ? nil : parts[1]
        }
        readBytes = try values["rbps"].map { (value) throws(ErrorMessage) in try Self.size(value, in: text) }
        writeBytes = try values["wbps"].map { (value) throws(ErrorMessage) in try Self.size(value, in: text) }
        readOperations = try Self.count(values["riops"], in: text)
        writeOperations = try Self.count(values["wiops"], in: text)
    }

    private static func isDevice(_ word: String) -> Bool {
        if isUsablePath(word) { return true }
        let numbers = word.split(separator: ":", omittingEmptySubsequences: false).map { UInt32($0) }
        return numbers.count == 2 && !numbers.contains(nil)
    }

    private static func size(_ word: String, in text: String) throws(ErrorMessage) -> ByteSize {
        do throws(ErrorMessage) { return try ByteSize(word) } catch {
            throw bad(text, "'\(word)' is no size")
        }
    }

    private static func count(_ word: String?, in text: String) throws(ErrorMessage) -> Int64? {
        guard let word else { return nil }
        guard let number = Int64(word), number > 0 else { throw bad(text, "'\(word)' is no number above 0") }
        return number
    }

    public var description: String {
        var words = [device]
        if let readBytes { words.append("rbps=\(readBytes.bytes)") }
        if let writeBytes { words.append("wbps=\(writeBytes.bytes)") }
        if let readOperations { words.append("riops=\(readOperations)") }
        if let writeOperations { words.append("wiops=\(writeOperations)") }
        return words.joined(separator: " ")
    }
}
