import CTwin
import LinuxSystem
import Testing

@testable import CriuImages

/// Scripts of system calls: what depends on where they lie is filled in at the end.
@Suite struct RebuildScriptTests {
    private func steps(_ bytes: [UInt8], at place: UInt64) -> [crebuild_step] {
        bytes.withUnsafeBytes { buffer in
            let next = buffer.loadUnaligned(as: crebuild_state.self).next
            let size = MemoryLayout<crebuild_step>.stride
            return stride(from: Int(next - place), to: buffer.count, by: size).map {
                buffer.loadUnaligned(fromByteOffset: $0, as: crebuild_step.self)
            }
        }
    }

    @Test func addressesAreThoseOfThePlace() throws {
        var script = RebuildScript()
        let child = script.label()
        let path = script.put(path: "/x"), opened = script.put(words: [0]), list = script.put(words: [0, 7])
        script.point(list, to: path)
        script.call(257, [.signed(-100), .data(path), .number(0)], store: opened)
        script.callForRange(11, [.ground(0, plus: 16), .ground(1)])
        script.birth([.data(list), 16, .step(child), 5])
        script.place(child)
        script.call(3, [.found(opened)], allows: 9)
        script.stop()

        for place in [UInt64(0x1000_0000), 0x7000_0000_1000] {
            let (bytes, gaps) = script.bytes(at: place)
            let made = steps(bytes, at: place)
            #expect(made.map(\.kind) == [0, 5, 1, 0, 4])
            let data = place + UInt64(MemoryLayout<crebuild_state>.size)
            #expect(
                made[0].arguments.0 == UInt64(bitPattern: -100) && made[0].arguments.1 == data + UInt64(path))
            #expect(made[0].store == data + UInt64(opened) && made[0].loads == 0)
            #expect(made[3].arguments.0 == data + UInt64(opened) && made[3].loads == 1 && made[3].allows == 9)
            let third = place + UInt64(bytes.count - 2 * MemoryLayout<crebuild_step>.stride)
            #expect(made[2].arguments.2 == third && made[2].arguments.3 == 5)
            let pointer = bytes.withUnsafeBytes {
                $0.loadUnaligned(
                    fromByteOffset: MemoryLayout<crebuild_state>.size + list, as: UInt64.self)
            }
            #expect(pointer == data + UInt64(path))
            #expect(made[1].arguments.0 == 16 && made[1].arguments.1 == 0)
            #expect(gaps.map(\.value) == [0, 1] && gaps[1].at == gaps[0].at + 8)
        }
    }
}
