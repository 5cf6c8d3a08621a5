import Glibc
import LinuxSystem

extension LiveProcess {
    /// The build-id of the program or library behind a mapping (NT_GNU_BUILD_ID of <elf.h>), in words as CRIU writes it; empty
    /// where it has none.
    func buildID(of area: LiveArea) -> [UInt32] {
        guard let file = try? Descriptor.open("/proc/\(host)/map_files/\(area.range)", O_RDONLY) else {
            return []
        }
        func read(_ offset: Int, _ count: Int) -> [UInt8] {
            [UInt8](unsafeUninitializedCapacity: count) { buffer, got in
                got = max(pread(file.raw, buffer.baseAddress, count, off_t(offset)), 0)
            }
        }
        func number<Number: FixedWidthInteger>(_ bytes: [UInt8], _ offset: Int, _: Number.Type) -> Int? {
            guard offset >= 0, offset + MemoryLayout<Number>.size <= bytes.count else { return nil }
            return bytes.withUnsafeBytes {
                Int(exactly: $0.loadUnaligned(fromByteOffset: offset, as: Number.self))
            }
        }
        let head = read(0, 4096)
        // ELFCLASS64
        guard head.starts(with: [0x7f, 0x45, 0x4c, 0x46, 2]), let table = number(head, 32, UInt64.self),
            let size = number(head, 54, UInt16.self), let count = number(head, 56, UInt16.self), size >= 56,
            table <= head.count
        else { return [] }
        for index in 0..<count {
            let at = table + index * size
            // PT_NOTE
            guard number(head, at, UInt32.self) == 4, let start = number(head, at + 8, UInt64.self),
                let length = number(head, at + 32, UInt64.self)
            else { continue }
            let notes = read(start, min(length, 4096))
            var position = 0
            while let name = number(notes, position, UInt32.self),
                let value = number(notes, position + 4, UInt32.self),
                let kind = number(notes, position + 8, UInt32.self)
            {
                let owner = position + 12, from = owner + (name + 3) / 4 * 4
                guard from + value <= notes.count else { break }
                if kind == 3, notes[owner..<(owner + name)].elementsEqual([0x47, 0x4e, 0x55, 0]),
                    value % 4 == 0
                {
                    return stride(from: from, to: from + value, by: 4).compactMap {
                        number(notes, $0, UInt32.self).map { UInt32($0) }
                    }
                }
                position = from + (value + 3) / 4 * 4
            }
        }
        return []
    }
}
