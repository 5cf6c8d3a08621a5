import CFloor
import Glibc
import LinuxSystem
import Messages

/// How long this machine takes to move 1 GiB: from memory to memory, and to the store's filesystem.
struct MovingPart {
    private static let block = 64 << 20
    private static let blocks = 16

    let run: Run

    func measure() throws(ErrorMessage) {
        guard run.wants(["python-64m", "python-256m", "python-1g"].map { "\($0)/save" }) else { return }
        run.say("measuring how fast memory and the disk are")
        let from = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.block, alignment: 4096)
        let to = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.block, alignment: 4096)
        defer {
            from.deallocate()
            to.deallocate()
        }
        memset(from.baseAddress!, 1, from.count)
        memset(to.baseAddress!, 2, to.count)
        for _ in 0..<3 {
            try Interruption.check()
            run.floors.add(
                "copy-1g",
                timed { cfloor_copy(to.baseAddress!, from.baseAddress!, Self.block, Int32(Self.blocks)) })
            do throws(SystemError) { try write(UnsafeRawBufferPointer(from)) } catch {
                throw ErrorMessage(.noSpace, "1 GiB cannot be written", cause: "\(error)")
            }
        }
    }

    private func write(_ block: UnsafeRawBufferPointer) throws(SystemError) {
        let path = "\(run.stage.directory)/written"
        defer { unlink(path) }
        let file = try Descriptor.open(path, O_WRONLY | O_CREAT | O_TRUNC)
        let took = try timed { () throws(SystemError) in
            for _ in 0..<Self.blocks { try file.writeAll(block) }
        }
        run.floors.add("write-1g", took)
    }
}
