/// An ELF core file of one process of a snapshot, as the kernel would have written it at that instant (core(5)).
///
/// Every page that could be read is in it, those of mapped files too, so it needs nothing of the snapshot afterwards.
public struct CoreFile: Sendable {
    private let header: [UInt8]
    private let loaded: [MemoryRegion]
    private let memory: ProcessMemory

    /// How long the file will be, in bytes.
    public let size: UInt64

    /// Puts the headers together. `signal` is what the process died of, where that is known: its thread comes first.
    public init(
        of process: ImageProcess, _ memory: ProcessMemory, in images: borrowing ImageDirectory,
        signal: FatalSignal? = nil
    ) throws(CriuImageError) {
        self.memory = memory
        let regions = memory.map.regions.filter { $0.kind != .kernelData && $0.kind != .unknown }
        var loaded: [MemoryRegion] = []
        for region in regions where try Self.hasContents(region, memory) { loaded.append(region) }
        self.loaded = loaded
        let notes = try Self.notes(of: process, memory, in: images, signal: signal)
        (header, size) = Self.header(regions, loaded: Set(loaded.map(\.start)), notes: notes)
    }

    /// Writes the whole file, piece by piece, to whoever takes it.
    public func write<Failure: Error>(
        _ take: (UnsafeRawBufferPointer) throws(Failure) -> Void
    ) throws(Failure) {
        try Self.give(header, to: take)
        let most: UInt64 = 1 << 20
        for region in loaded {
            var address = region.start
            while address < region.end {
                let count = Int(min(most, region.end - address))
                // A file may end, or go, before its mapping does: the kernel gives zeros there.
                let bytes = (try? memory.read(address, count: count)) ?? [UInt8](repeating: 0, count: count)
                try Self.give(bytes, to: take)
                address += UInt64(count)
            }
        }
    }

    private static func give<Failure: Error>(
        _ bytes: [UInt8], to take: (UnsafeRawBufferPointer) throws(Failure) -> Void
    ) throws(Failure) {
        var failure: Failure?
        bytes.withUnsafeBytes { buffer in
            do throws(Failure) { try take(buffer) } catch { failure = error }
        }
        if let failure { throw failure }
    }

    /// Whether a mapping's bytes belong in the file: what nobody may touch and nobody has is only its place.
    private static func hasContents(
        _ region: MemoryRegion, _ memory: ProcessMemory
    ) throws(CriuImageError) -> Bool {
        if region.file != nil { return (try? memory.read(region.start, count: 1)) != nil }
        if region.isReadable || region.isWritable { return true }
        return try memory.runs(of: region).contains { $0.source != .zero }
    }

    private static func notes(
        of process: ImageProcess, _ memory: ProcessMemory, in images: borrowing ImageDirectory,
        signal: FatalSignal?
    ) throws(CriuImageError) -> [UInt8] {
        var threads: [CoreThread] = []
        for id in process.threads { threads.append(try images.coreThread(id)) }
        if let first = threads.firstIndex(where: { $0.id == signal?.thread }) { threads.swapAt(0, first) }
        guard let first = threads.first else {
            throw CriuImageError("pstree.img", "gives process \(process.pid) no threads")
        }
        let arguments = memory.map.arguments
        let length = Int(min(arguments.upperBound - arguments.lowerBound, 80))
        var notes = CoreNotes()
        notes.add(thread: first, of: process, signal: signal)
        notes.add(
            process: process, user: (first.uid, first.gid),
            arguments: (try? memory.read(arguments.lowerBound, count: length)) ?? [])
        notes.add(signal: signal)
        notes.add(auxiliary: memory.map.auxiliary)
        notes.add(
            files: memory.map.regions.compactMap { region in
                guard region.file != nil, let name = memory.name(of: region) else { return nil }
                return (region.range, region.offset, name)
            })
        notes.add(registersOf: first)
        for thread in threads.dropFirst() {
            notes.add(thread: thread, of: process, signal: signal)
            notes.add(registersOf: thread)
        }
        return notes.bytes.bytes
    }

    /// The ELF header, the program headers and the notes (elf(5)), filled up to a page.
    private static func header(
        _ regions: [MemoryRegion], loaded: Set<UInt64>, notes: [UInt8]
    ) -> (bytes: [UInt8], size: UInt64) {
        let (elfSize, entrySize) = (64, 56)
        // More than the header can count would need a section header; Linux's limit on mappings is below it.
        let entries = regions.prefix(65_000)
        var bytes = Bytes([0x7f, UInt8(ascii: "E"), UInt8(ascii: "L"), UInt8(ascii: "F"), 2, 1, 1])
        bytes.pad(to: 16)
        bytes.put(UInt16(4))  // ET_CORE
        bytes.put(UInt16(62))  // EM_X86_64
        bytes.put(UInt32(1))
        bytes.put(UInt64(0))
        bytes.put(UInt64(elfSize))
        bytes.put(UInt64(0))
        bytes.put(UInt32(0))
        for number in [elfSize, entrySize, entries.count + 1, 0, 0, 0] { bytes.put(UInt16(number)) }
        let notesAt = elfSize + (entries.count + 1) * entrySize
        let contentsAt = (UInt64(notesAt + notes.count) + Page.size - 1) / Page.size * Page.size
        func put(type: UInt32, flags: UInt32, _ fields: [UInt64]) {
            bytes.put(type)
            bytes.put(flags)
            for field in fields { bytes.put(field) }
        }
        put(type: 4, flags: 0, [UInt64(notesAt), 0, 0, UInt64(notes.count), 0, 4])
        var offset = contentsAt
        for region in entries {
            let held = loaded.contains(region.start) ? region.size : 0
            let flags =
                (region.isReadable ? 4 : 0) | (region.isWritable ? 2 : 0) | (region.isExecutable ? 1 : 0)
            put(type: 1, flags: UInt32(flags), [offset, region.start, 0, held, region.size, Page.size])
            offset += held
        }
        bytes.put(notes)
        bytes.pad(to: Int(contentsAt))
        return (bytes.bytes, offset)
    }
}
