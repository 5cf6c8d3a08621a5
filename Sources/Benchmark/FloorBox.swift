import CFloor
import CLinux
import Glibc
import LinuxSystem
import Messages

/// The least of a sandbox: a bash in namespaces of its own on an overlay, made by plain C.
struct FloorBox: ~Copyable {
    /// Longest that a command may take, in milliseconds.
    private static let patience: Int32 = 180_000

    private let directory: String
    private let lower: String
    private var box: cfloor_box
    /// From the first system call to bash being executed, in milliseconds.
    let startMs: Double

    /// Starts one on the base `lower`, with its writable layer in `directory`.
    static func start(_ directory: String, lower: String) throws(ErrorMessage) -> FloorBox {
        try Interruption.check()
        var step: UnsafePointer<CChar>?
        var box = cfloor_box()
        var result: Int32 = 0
        let took = timed { result = cfloor_start(&box, directory, lower, &step) }
        guard result == 0 else {
            let cause = "\(step.map { String(cString: $0) } ?? ""): \(String(cString: strerror(errno)))"
            throw ErrorMessage(.internal, "the floor's sandbox cannot be started", cause: cause)
        }
        return FloorBox(directory, lower, box, startMs: took)
    }

    private init(_ directory: String, _ lower: String, _ box: cfloor_box, startMs: Double) {
        (self.directory, self.lower, self.box, self.startMs) = (directory, lower, box, startMs)
    }

    deinit {
        var box = box
        cfloor_kill(&box)
        cfloor_close(&box)
        _ = cfloor_remove_tree(directory)
    }

    var pid: pid_t { box.pid }

    /// Runs shell text and waits for its end.
    func ask(_ text: String) throws(ErrorMessage) {
        var box = box
        guard cfloor_ask(&box, "\(text)\nprintf =\n", Self.patience) == 0 else {
            throw ErrorMessage(
                .internal, "the floor's bash does not answer", cause: String(cString: strerror(errno)))
        }
    }

    /// Kills it; the milliseconds until it was reaped.
    mutating func kill() -> Double {
        defer { cfloor_close(&box) }
        return timed { cfloor_kill(&box) }
    }

    /// After its death, mounts its root in this thread's mount namespace and has `restore` bring it back there.
    mutating func comeBack(_ restore: (String) throws(ErrorMessage) -> pid_t) throws(ErrorMessage) {
        let merged = "\(directory)/merged"
        guard cfloor_mount(directory, lower) == 0 else {
            throw ErrorMessage(
                .internal, "the floor's overlay cannot be mounted", cause: String(cString: strerror(errno)))
        }
        defer { umount2(merged, Int32(MNT_DETACH)) }
        let pid = try restore(merged)
        guard cfloor_adopt(&box, pid) == 0 else {
            throw ErrorMessage(
                .internal, "the floor's bash is not back", cause: String(cString: strerror(errno)))
        }
    }
}
