import CCriuImages

/// Numbers of files.img for what was opened or mapped since.
struct FileNumbers {
    /// Those of files that nobody has any more.
    private var spare: [UInt32]
    private var next: UInt32
    /// The pipes' numbers, by the kernel's.
    private var pipes: [UInt64: UInt32]
    private var nextPipe: UInt32
    /// Those of programs, mappings and directories of processes that are still there.
    let kept: Set<UInt32>

    /// `taken` are those of descriptors that have what they had.
    init(
        _ before: Predecessor, _ all: [FollowUp.Compared], taken: Set<UInt32>, pipes: [UInt64: UInt32]
    ) {
        var kept: Set<UInt32> = []
        for one in all {
            kept.formUnion([one.process.workingDirectory, one.process.root])
            if one.isNew { continue }
            kept.insert(one.process.program)
            for area in one.process.areas { kept.insert(UInt32(truncatingIfNeeded: area.file)) }
        }
        self.kept = kept
        spare =
            before.files.filter { id, file in
                file.type == FD_TYPES__REG && !file.hasOwner && !file.isNameOfFIFO && !taken.contains(id)
                    && !kept.contains(id)
            }.keys.sorted(by: >)
        next = (before.files.keys.max() ?? 0) + 1
        self.pipes = pipes
        // Sizes may be told of pipes that nobody has any more.
        let known = before.files.values.map(\.pipe) + before.pipeSizes.keys + before.fifoSizes.keys
        nextPipe = (known.max() ?? 0) + 1
    }

    mutating func take() -> UInt32 {
        if let known = spare.popLast() { return known }
        next += 1
        return next - 1
    }

    /// One of a file that nobody has any more, which is to be somebody's again as it is.
    mutating func claim(where isIt: (UInt32) -> Bool) -> UInt32? {
        spare.lastIndex(where: isIt).map { spare.remove(at: $0) }
    }

    /// The number of a pipe, which is a new one where none of it was there.
    mutating func pipe(_ inode: UInt64) -> UInt32 {
        if let known = pipes[inode] { return known }
        pipes[inode] = nextPipe
        nextPipe += 1
        return nextPipe - 1
    }
}
