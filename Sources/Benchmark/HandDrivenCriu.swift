import Checkpointing
import Criu
import CriuImages
import Glibc
import LinuxSystem
import Messages

/// CRIU without ckpt around it, with the best options: a worker that waits already, inside the sandbox's network
/// namespace, what it knows of the kernel kept, images on a tmpfs.
struct HandDrivenCriu {
    /// What a dump took, in milliseconds: from the request to the answer, and of these with everything stopped.
    struct Dump {
        let whole: Double
        let frozen: Double
    }

    private let binary: CriuBinary
    private let images: String
    private let work: String

    /// Makes this thread's mount namespace fit for it, which cannot be undone; `directory` must not be there yet.
    init(_ directory: String) throws(ErrorMessage) {
        images = "\(directory)/images"
        work = "\(directory)/work"
        do {
            _ = try Workplace.enter { () throws(ErrorMessage) in directory }
            for path in [images, work] { try Files.makeDirectory(path) }
            binary = try CriuBinary.find()
            _ = try binary.prime()
            let tmpfs = try Mount.tmpfs(size: nil, mode: 0o700, attributes: [])
            try Mount.attach(tmpfs, at: images)
        } catch {
            throw Self.failure(error)
        }
    }

    /// Dumps the tree of a process, which goes on, in place of what was dumped before.
    func dump(_ pid: pid_t) throws(ErrorMessage) -> Dump {
        try Interruption.check()
        do {
            for name in try Files.names(in: images) { unlink("\(images)/\(name)") }
            let network = try Descriptor.open("/proc/\(pid)/ns/net", O_RDONLY)
            let directory = try Descriptor.open(images, O_RDONLY | O_DIRECTORY)
            let worker = try CriuWorker.spawn(binary, in: CriuSurroundings(network: network.raw))
            let began = monotonicNanoseconds()
            try worker.dump(DumpRequest(pid: pid), into: directory)
            let whole = Double(monotonicNanoseconds() - began) / 1e6
            let written = try ImageDirectory(images)
            guard let statistics = try written.dumpStatistics() else {
                throw ErrorMessage(.internal, "CRIU left no statistics")
            }
            try written.giveTreeItsOwnNetwork()
            return Dump(whole: whole, frozen: statistics.frozen)
        } catch {
            throw Self.failure(error)
        }
    }

    /// Brings back what was dumped last onto the filesystem mounted at `root`; its pid, which is a child's.
    func restore(onto root: String, began: inout UInt64) throws(ErrorMessage) -> pid_t {
        try Interruption.check()
        do {
            let directory = try Descriptor.open(images, O_RDONLY | O_DIRECTORY)
            let place = try Descriptor.open(work, O_RDONLY | O_DIRECTORY)
            let worker = try CriuWorker.spawn(binary)
            began = monotonicNanoseconds()
            return try worker.restore(RestoreRequest(root: root), from: directory, work: place)
        } catch {
            throw Self.failure(error)
        }
    }

    /// Takes its mounts away, so that the directory can be removed.
    func clear() {
        umount2(images, Int32(MNT_DETACH))
        if let slash = images.lastIndex(of: "/") { umount2("\(images[..<slash])/runtime", Int32(MNT_DETACH)) }
    }

    private static func failure(_ error: any Error) -> ErrorMessage {
        (error as? ErrorMessage)
            ?? ErrorMessage(.internal, "CRIU by hand cannot be measured", cause: "\(error)")
    }
}
