public import Messages
import CFloor
import Glibc
import LinuxSystem

/// Measures ckpt on this machine: a server of its own, requests over its Unix socket, and beside each operation the
/// least that it can cost here.
public struct Benchmark {
    /// The root whose filesystem is measured, an absolute path; it need not be there, and a server may run for it.
    public var root: String
    /// What the sandboxes are made from.
    public var base: Base
    /// Whether it ends within 50 seconds, with fewer workloads and samples.
    public var isQuick: Bool
    /// The operations that are measured: names, or what comes before the slash in them; all when empty.
    public var only: [String]
    /// How often everything is measured, 1 or more; as often as there is time for when nil.
    public var passes: Int?

    /// A benchmark of everything, unless told otherwise.
    public init(
        root: String, base: Base = .host, isQuick: Bool = false, only: [String] = [], passes: Int? = nil
    ) {
        self.passes = passes
        self.root = root
        self.base = base
        self.isQuick = isQuick
        self.only = only
    }

    /// Every name that `only` may have.
    public static var operationNames: [String] {
        let names = OperationCatalogue.everything + OperationCatalogue.sustained
        let groups = names.compactMap { $0.contains("/") ? String($0.prefix { $0 != "/" }) : nil }
        return names + Set(groups).sorted()
    }

    /// Measures, telling `progress` what it is about. Nothing is left afterwards, also when it throws; SIGINT, SIGTERM
    /// and SIGHUP end it with `cancelled`.
    public func measure(progress: @escaping (String) -> Void) throws(ErrorMessage) -> BenchmarkReport {
        Interruption.watch()
        let load = Machine.load
        let stage = try Stage(besides: root)
        let run = Run(
            stage, base: base, cores: Machine.cores, isQuick: isQuick, passes: passes,
            selection: Selection(names: only), progress: progress)
        let outcome = Result { () throws(ErrorMessage) in try measure(run) }
        StartPart.tellAwakeFloors(run)
        if isQuick { tellWhatIsLeftOut(run) }
        let place = Machine.place(at: stage.directory, base: base, load: load)
        progress("clearing away")
        run.clearMounts()
        let cleared = Result { () throws(ErrorMessage) in try stage.clear() }
        try outcome.get()
        try cleared.get()
        return BenchmarkReport(run, place)
    }

    private func measure(_ run: Run) throws(ErrorMessage) {
        try run.part("creation") { () throws(ErrorMessage) in
            try StartPart(run: run, pace: isQuick ? (3, 20, 4) : (10, 100, 30)).measure()
        }
        try measure(run, .idle, crowds: [16, 100], pace: isQuick ? (2, 15, 8) : (10, 60, 60))
        let python = Workload.python(numpy: try hasNumpy(run))
        try measure(
            run, python, crowds: isQuick ? [16] : [16, 100], pace: isQuick ? (2, 10, 4) : (5, 30, 60))
        for count in OperationCatalogue.fileCounts where !isQuick || count == 0 || count == 20_000 {
            guard run.hasTime(for: "files-\(count)") else { continue }
            try run.part("files-\(count)") { () throws(ErrorMessage) in
                try FilesPart(run: run, count: count, passes: isQuick ? 1 : 5).measure()
            }
        }
        if !isQuick { try measureGrowth(run) }
    }

    /// Who names operations is told of those that a quick run has not, anybody else of what kinds they are.
    private func tellWhatIsLeftOut(_ run: Run) {
        guard !only.isEmpty else {
            run.note(
                "a quick run leaves out what takes minutes: Python of 64 MiB to 1 GiB, trees of processes and of "
                    + "snapshots, chains, what is sustained, 100 forks of Python")
            return
        }
        let measured = Set(run.sustained.map(\.name))
        let left = (OperationCatalogue.everything + OperationCatalogue.sustained).filter {
            run.wants($0) && run.samples.median($0) == nil && !measured.contains($0)
        }
        if !left.isEmpty { run.note("a quick run leaves out: \(left.joined(separator: ", "))") }
    }

    /// What takes minutes.
    private func measureGrowth(_ run: Run) throws(ErrorMessage) {
        try measure(
            run, .files(OperationCatalogue.fileCounts.last!), crowds: [16, 100],
            only: OperationCatalogue.beside,
            pace: (3, 8, 30))
        try run.part("moving of memory") { () throws(ErrorMessage) in try MovingPart(run: run).measure() }
        for (mebibytes, name) in [(64, "python-64m"), (256, "python-256m"), (1024, "python-1g")] {
            // The floor keeps its images in memory as well, and there is a fork beside the sandbox.
            if Machine.availableBytes < Int64(mebibytes) << 20 * 5 {
                run.note("there is not enough memory for \(name)")
                continue
            }
            try measure(
                run, .memory(mebibytes, name: name),
                only: mebibytes == 1024 ? nil : OperationCatalogue.growing, pace: (3, 8, 60))
        }
        for count in [10, 50, 200] {
            try measure(
                run, .processes(count), crowds: count == 50 ? [16, 100] : [],
                only: count == 50 ? nil : OperationCatalogue.growing, pace: (5, 20, 30))
        }
        try run.part("chains") { () throws(ErrorMessage) in try ChainPart(run: run, passes: 20).measure() }
        try run.part("sustained") { () throws(ErrorMessage) in
            try SustainedPart(run: run, seconds: passes.map { min(3, Double($0) / 10) } ?? 3).measure()
        }
        try run.part("trees") { () throws(ErrorMessage) in
            try TreePart(run: run, passes: 20, seconds: 1200).measure()
        }
    }

    private func measure(
        _ run: Run, _ workload: Workload, crowds: [Int] = [], only operations: [String]? = nil,
        pace: (least: Int, most: Int, seconds: Double)
    ) throws(ErrorMessage) {
        try run.part(workload.title) { () throws(ErrorMessage) in
            try WorkloadPart(
                run: run, workload: workload, crowds: crowds, operations: operations, pace: pace
            ).measure()
        }
    }

    /// Whether Python in a sandbox has numpy.
    private func hasNumpy(_ run: Run) throws(ErrorMessage) -> Bool {
        guard run.wants(OperationCatalogue.operations(on: "python", crowds: [16, 100])) else { return false }
        let subject = Subject(run.nextName("look"), on: run.connection)
        _ = try subject.create(base)
        let found = try subject.succeeds(["python3", "-c", "import numpy"])
        try subject.remove()
        if !found { run.note("the base has no numpy: Python has its standard library imported instead") }
        return found
    }
}
