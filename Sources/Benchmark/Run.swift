import Glibc
import LinuxSystem
import Messages

/// What the parts of one run share.
final class Run {
    let stage: Stage
    let base: Base
    /// The base's directory, over which the floor's sandboxes are put.
    let lower: String
    let cores: Int
    let isQuick: Bool
    /// How often everything is measured; as often as there is time for when nil.
    let passes: Int?
    /// What begins later than so many seconds after the start of a quick run is left out.
    private static let quickSeconds: UInt64 = 29

    private let selection: Selection
    private let progress: (String) -> Void
    private var made = 0
    /// When a quick run has no time for more, in nanoseconds of CLOCK_MONOTONIC.
    private let deadline: UInt64?
    /// CRIU by hand, once it is needed.
    private var handDriven: HandDrivenCriu?

    /// How long is waited for the server's rest, in nanoseconds; not at all once that was in vain.
    private var patience: UInt64 = 1_000_000_000

    /// Milliseconds of the product's operations and of the floors', by name.
    var samples = Samples()
    var floors = Samples()
    /// What a reader of the figures should know.
    private(set) var notes: [String] = []
    /// What went wrong, one sentence each.
    private(set) var failures: [String] = []
    var sustained: [BenchmarkReport.Rate] = []

    init(
        _ stage: Stage, base: Base, cores: Int, isQuick: Bool, passes: Int?, selection: Selection,
        progress: @escaping (String) -> Void
    ) {
        self.stage = stage
        self.base = base
        if case .directory(let path) = base { lower = path } else { lower = "/" }
        self.cores = cores
        self.isQuick = isQuick
        self.passes = passes
        deadline = isQuick ? monotonicNanoseconds() + Self.quickSeconds * 1_000_000_000 : nil
        self.selection = selection
        self.progress = progress
    }

    var connection: TightConnection { stage.connection }

    /// After a request the server keeps processors awake for 20 ms; in microseconds.
    private static let untilAsleep: UInt32 = 25_000

    /// Waits until the server has made as many sandboxes in advance as it keeps, has nothing left to clear away and lets
    /// processors sleep: floors are not to be measured beside the one, nor with the help of the other.
    func awaitRest() throws(ErrorMessage) {
        let until = monotonicNanoseconds() + patience
        while monotonicNanoseconds() < until {
            try readMetrics()
            if connection.answerHas("\nckpt_spare_sandboxes 4\n"),
                connection.answerHas("\nckpt_removals_left 0\n")
            {
                break
            }
            usleep(10_000)
        }
        if monotonicNanoseconds() >= until { patience = 0 }
        usleep(Self.untilAsleep)
    }

    /// Asks for the server's numbers. As after any request it keeps processors awake for the next 20 ms.
    func readMetrics() throws(ErrorMessage) {
        try connection.exchange(TightConnection.request("GET", "/metrics"))
    }

    /// CRIU by hand; the first call makes this thread's mount namespace one of its own.
    func criu() throws(ErrorMessage) -> HandDrivenCriu {
        if let handDriven { return handDriven }
        let made = try HandDrivenCriu("\(stage.directory)/floor")
        handDriven = made
        return made
    }

    /// Takes away what the floors have mounted.
    func clearMounts() { handDriven?.clear() }

    /// Whether any of these operations was asked for.
    func wants(_ names: String...) -> Bool { names.contains(where: selection.contains) }

    func wants(_ names: [String]) -> Bool { names.contains(where: selection.contains) }

    func add(_ name: String, _ milliseconds: Double) {
        if selection.contains(name) { samples.add(name, milliseconds) }
    }

    func say(_ text: String) { progress(text) }

    func note(_ text: String) {
        notes.append(text)
        progress(text)
    }

    /// Whether there is time for another part; where there is not, a note says what was left out.
    func hasTime(for part: String) -> Bool {
        guard let deadline, monotonicNanoseconds() > deadline else { return true }
        note("there was no time for: \(part)")
        return false
    }

    /// Measures one part. One that fails is told of, and leaves the others be; only an interruption goes on to the caller.
    func part(_ name: String, _ measure: () throws(ErrorMessage) -> Void) throws(ErrorMessage) {
        do throws(ErrorMessage) { try measure() } catch {
            if error.code == .cancelled { throw error }
            failures.append("\(name) could not be measured to the end: \(error.description)")
            progress(failures.last!)
            // What it left would weigh on the others.
            let list = TightConnection.request("GET", "/v1/sandboxes")
            try connection.exchange(list)
            for sandbox in try connection.decode(SandboxList.self).sandboxes {
                try Subject(sandbox.name, on: connection).remove()
            }
        }
    }

    /// A name that no sandbox of this run has had.
    func nextName(_ prefix: String) -> String {
        made += 1
        return "\(prefix)-\(made)"
    }
}

/// Which operations are measured.
struct Selection {
    /// Names, or what comes before a slash in them; everything when empty.
    let names: [String]

    func contains(_ operation: String) -> Bool {
        names.isEmpty || names.contains { operation == $0 || operation.hasPrefix("\($0)/") }
    }
}
