import CTwin
import Glibc

/// A script of system calls that a process follows to become one of a snapshot (Sources/CTwin/include/crebuild.h), while
/// it is written: numbers that depend on where it will lie are filled in at the end.
struct RebuildScript {
    /// An argument of a step.
    enum Value: ExpressibleByIntegerLiteral {
        case number(UInt64)
        /// The address of data, by its place among all data.
        case data(Int)
        /// What is found there: 32 bits, once the script runs.
        case found(Int)
        /// The address of a step, by its label.
        case step(Label)
        /// What the sandbox it runs in decides, by its place in `RebuildPlan.Ground`, and a number that is added.
        case ground(Int, plus: UInt64 = 0)

        init(integerLiteral value: UInt64) { self = .number(value) }

        static func signed(_ value: Int32) -> Value { .number(UInt64(bitPattern: Int64(value))) }
    }

    struct Label { fileprivate let number: Int }

    private struct Step {
        let kind: crebuild_kind
        let call: Int
        let arguments: [Value]
        let allows: Int32
        let store: Int?
    }

    private var steps: [Step] = []
    private var labels: [Int] = []
    private var data: [UInt8] = []
    /// Where in the data an address of other data belongs.
    private var addresses: [(at: Int, of: Int)] = []

    /// Makes a system call; an answer goes to `store`, 8 bytes among the data.
    mutating func call(_ number: Int, _ arguments: [Value], allows: Int32 = 0, store: Int? = nil) {
        add(CREBUILD_CALL, number, arguments, allows: allows, store: store)
    }

    /// The same, unless the second argument is 0.
    mutating func callForRange(_ number: Int, _ arguments: [Value]) { add(CREBUILD_RANGE, number, arguments) }

    mutating func birth(_ arguments: [Value]) { add(CREBUILD_BIRTH, 0, arguments) }

    /// What lies at `place` must be `value`.
    mutating func expect(_ place: Int, _ value: UInt64, mask: UInt64 = .max) {
        add(CREBUILD_EQUAL, 0, [.data(place), .number(value), .number(mask)])
    }

    /// The time at `place` must not be later.
    mutating func expect(_ place: Int, notAfter time: ClockTime) {
        add(
            CREBUILD_AT_MOST, 0,
            [.data(place), .number(UInt64(time.seconds)), .number(UInt64(time.nanoseconds))])
    }

    mutating func stop() { add(CREBUILD_STOP, 0, []) }

    private mutating func add(
        _ kind: crebuild_kind, _ call: Int, _ arguments: [Value], allows: Int32 = 0, store: Int? = nil
    ) {
        steps.append(
            Step(kind: kind, call: call, arguments: arguments, allows: allows, store: store))
    }

    /// A label for a step that is yet to come.
    mutating func label() -> Label {
        labels.append(0)
        return Label(number: labels.count - 1)
    }

    /// The next step has this label.
    mutating func place(_ label: Label) { labels[label.number] = steps.count }

    /// Puts bytes among the data; where they lie.
    mutating func put(_ bytes: some Collection<UInt8>) -> Int {
        data += [UInt8](repeating: 0, count: -data.count & 7)
        let place = data.count
        data += bytes
        return place
    }

    mutating func put(words: [UInt64]) -> Int { put(words.withUnsafeBytes { Array($0) }) }

    mutating func put(path: String) -> Int { put(Array(path.utf8) + [0]) }

    /// The word at `place` becomes the address of the data at `target`.
    mutating func point(_ place: Int, to target: Int) { addresses.append((place, target)) }

    /// Where the steps begin, and how long all of it is, wherever it lies; in bytes.
    private var stepsStart: Int {
        let before = MemoryLayout<crebuild_state>.size + data.count
        return before + (-before & 7)
    }
    var size: Int { stepsStart + steps.count * MemoryLayout<crebuild_step>.stride }

    /// A struct crebuild_state, the data and the steps, as they are to lie at `place`, and where in it what the ground
    /// decides is missing.
    func bytes(at place: UInt64) -> (bytes: [UInt8], gaps: [(at: Int, value: Int)]) {
        let head = MemoryLayout<crebuild_state>.size
        let dataAt = place + UInt64(head)
        let stepSize = MemoryLayout<crebuild_step>.stride
        let stepsStart = stepsStart
        let stepsAt = place + UInt64(stepsStart)
        var bytes = [UInt8](repeating: 0, count: size)
        var gaps: [(at: Int, value: Int)] = []
        bytes.withUnsafeMutableBytes { buffer in
            buffer.storeBytes(of: stepsAt, as: UInt64.self)
            buffer.baseAddress!.advanced(by: head).copyMemory(from: data, byteCount: data.count)
            for (at, target) in addresses {
                buffer.storeBytes(of: dataAt + UInt64(target), toByteOffset: head + at, as: UInt64.self)
            }
            for (index, step) in steps.enumerated() {
                var made = crebuild_step()
                (made.kind, made.number) = (step.kind.rawValue, UInt32(step.call))
                made.allows = UInt32(step.allows)
                if let store = step.store { made.store = dataAt + UInt64(store) }
                let start = stepsStart + index * stepSize
                withUnsafeMutableBytes(of: &made.arguments) { arguments in
                    let words = arguments.bindMemory(to: UInt64.self)
                    for (number, argument) in step.arguments.enumerated() {
                        switch argument {
                        case .number(let value): words[number] = value
                        case .data(let offset): words[number] = dataAt + UInt64(offset)
                        case .found(let offset):
                            words[number] = dataAt + UInt64(offset)
                            made.loads |= 1 << UInt32(number)
                        case .step(let label):
                            words[number] = stepsAt + UInt64(labels[label.number] * stepSize)
                        case .ground(let value, let added):
                            words[number] = added
                            let field = MemoryLayout<crebuild_step>.offset(of: \.arguments)!
                            gaps.append((start + field + number * 8, value))
                        }
                    }
                }
                buffer.storeBytes(of: made, toByteOffset: start, as: crebuild_step.self)
            }
        }
        return (bytes, gaps)
    }
}
