import CCriuImages
import Glibc

extension ImageDirectory {
    /// The files that a process has mapped shared and may write through the mapping, by the paths it sees.
    ///
    /// A store into such a mapping changes the file without a system call, and until the page is written back
    /// without a new ctime: a comparison by timestamps cannot trust these files. Mappings of a descriptor that
    /// is open for writing count although they are read-only now, for mprotect(2) can change that.
    public func sharedWritableFiles() throws(CriuImageError) -> Set<String> {
        var ids: Set<UInt64> = []
        for process in try processes() where process.state != .zombie {
            ids.formUnion(try sharedWritableIDs(of: process.pid))
        }
        return ids.isEmpty ? [] : try regularFiles { ids.contains(UInt64($0.id)) }
    }

    /// The files that are open for writing, by the paths they had when they were opened.
    public func filesOpenForWriting() throws(CriuImageError) -> Set<String> {
        try regularFiles { file in
            file.reg.map { Int32(truncatingIfNeeded: $0.pointee.flags) & O_ACCMODE != O_RDONLY } ?? false
        }
    }

    private func sharedWritableIDs(of pid: Int32) throws(CriuImageError) -> Set<UInt64> {
        let map = try file("mm-\(pid).img", .memoryMap)
        _ = try map.onlyEntry()
        return try map.decode(0, mm_entry__unpack, mm_entry__free_unpacked) { entry throws(CriuImageError) in
            var ids: Set<UInt64> = []
            for area in UnsafeBufferPointer(start: entry.pointee.vmas, count: entry.pointee.n_vmas) {
                guard let area = area?.pointee, area.status & AreaStatus.sharedFile != 0 else { continue }
                let opened =
                    area.has_fdflags != 0 ? Int32(truncatingIfNeeded: area.fdflags) & O_ACCMODE : O_RDWR
                if area.prot & UInt32(PROT_WRITE) != 0 || opened != O_RDONLY {
                    ids.insert(area.shmid)
                }
            }
            return ids
        }
    }

    private func regularFiles(where isWanted: (FileEntry) -> Bool) throws(CriuImageError) -> Set<String> {
        let files = try file("files.img", .files)
        var paths: Set<String> = []
        for index in files.entries.indices {
            let path: String? = try files.decode(index, file_entry__unpack, file_entry__free_unpacked) {
                entry throws(CriuImageError) in
                guard isWanted(entry.pointee), let name = entry.pointee.reg?.pointee.name else { return nil }
                return String(cString: name)
            }
            if let path { paths.insert(path) }
        }
        return paths
    }
}
