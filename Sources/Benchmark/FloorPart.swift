import LinuxSystem
import Messages

/// CRIU by hand on a workload, in a sandbox of the floor's.
final class FloorPart {
    private let run: Run
    private let workload: Workload
    private let criu: HandDrivenCriu
    private var box: FloorBox

    init(_ run: Run, _ workload: Workload) throws(ErrorMessage) {
        self.run = run
        self.workload = workload
        criu = try run.criu()
        box = try FloorBox.start("\(run.stage.directory)/floor/\(run.nextName("criu"))", lower: run.lower)
        try box.ask(workload.setUp)
        try box.ask(workload.ask)
    }

    /// Saves and rolls back once.
    func pass() throws(ErrorMessage) {
        let dump = try criu.dump(box.pid)
        run.floors.add(workload.operation("criu-dump"), dump.whole)
        run.floors.add(workload.operation("criu-frozen"), dump.frozen)
        _ = box.kill()
        var began: UInt64 = 0
        try box.comeBack { (root) throws(ErrorMessage) in try criu.restore(onto: root, began: &began) }
        try box.ask(workload.ask)
        run.floors.add(workload.operation("criu-restore"), Double(monotonicNanoseconds() - began) / 1e6)
    }
}
