import CCriuImages
import CLinux
import CTwin
import Glibc
import LinuxSystem

extension FollowUp {
    /// The mappings of a process: memory of no file may be where it was or not, files must be mapped as they were, or
    /// parts of them.
    func compareAreas(_ one: Compared) throws(FollowUpRefusal) -> [Predecessor.Area] {
        var areas: [Predecessor.Area] = []
        var kernels: [(start: UInt64, end: UInt64)] = []
        var looked: Set<UInt64> = []
        for live in one.live.areas {
            if live.isKernels {
                // Those of the clocks are one for CRIU, and two for the kernel.
                kernels.join(live.start, live.end)
                continue
            }
            if live.isStrange { throw one.refusal("has memory of a device, or huge pages") }
            if live.inode == 0 {
                // A name of its own (PR_SET_VMA_ANON_NAME) CRIU does not write down either.
                guard !live.isShared,
                    ["", "[heap]", "[stack]"].contains(live.name) || live.name.hasPrefix("[anon:")
                else { throw one.refusal("has memory that it shares: \(live.name)") }
                let heap = live.name == "[heap]" ? AreaStatus.heap : 0
                areas.append(
                    Predecessor.Area(
                        start: live.start, end: live.end, offset: 0, file: 0, protection: live.protection,
                        flags: live.flags, status: AreaStatus.regular | AreaStatus.privateAnonymous | heap,
                        advice: live.advice,
                        descriptorFlags: nil))
            } else {
                areas.append(try fileArea(live, of: one, &looked))
            }
        }
        return try (areas + kernelAreas(kernels, of: one)).sorted { $0.start < $1.start }
    }

    private func fileArea(
        _ live: LiveArea, of one: Compared, _ looked: inout Set<UInt64>
    ) throws(FollowUpRefusal) -> Predecessor.Area {
        let kind = live.isShared ? AreaStatus.sharedFile : AreaStatus.privateFile
        func area(_ file: UInt64, _ flags: UInt32?) -> Predecessor.Area {
            Predecessor.Area(
                start: live.start, end: live.end, offset: live.offset, file: file,
                protection: live.protection, flags: live.flags, status: AreaStatus.regular | kind,
                advice: live.advice, descriptorFlags: flags)
        }
        guard let (file, flags) = known(live, kind, of: one) else {
            guard let known = mapped[Array(live.name.utf8)] else {
                throw one.refusal("has another file mapped: \(live.name)")
            }
            return area(UInt64(known.file), UInt32(O_RDONLY))
        }
        guard let entry = before.files[UInt32(truncatingIfNeeded: file)] else {
            throw one.refusal("has another file mapped: \(live.name)")
        }
        if looked.insert(file).inserted { try compare(entry, with: live, of: one) }
        return area(file, flags)
    }

    /// The file that was mapped there, or at parts of it, and how that was opened; nil where it is another one now.
    private func known(
        _ live: LiveArea, _ kind: UInt32, of one: Compared
    ) -> (file: UInt64, flags: UInt32?)? {
        var (position, file, flags): (UInt64, UInt64?, UInt32?) = (live.start, nil, nil)
        while position < live.end {
            // They lie in order.
            let index = one.process.areas.partitioningIndex { $0.end > position }
            guard index < one.process.areas.count, case let known = one.process.areas[index],
                known.start <= position, known.status == AreaStatus.regular | kind,
                known.offset + (position - known.start) == live.offset + (position - live.start),
                file == nil || file == known.file
            else { return nil }
            (file, flags, position) = (known.file, known.descriptorFlags, known.end)
        }
        guard let file, areSame(before.files[UInt32(truncatingIfNeeded: file)]?.name ?? "", live.name) else {
            return nil
        }
        return (file, flags)
    }

    /// Looks at the files that were mapped since, and gives them entries of files.img. All processes stand still; where they are
    /// twins, their originals have gone on.
    func lookAtNewMappings(of all: [Compared]) throws(FollowUpRefusal) {
        for one in all {
            for live in one.live.areas where live.inode != 0 && !live.isKernels && !live.isStrange {
                let kind = live.isShared ? AreaStatus.sharedFile : AreaStatus.privateFile
                if known(live, kind, of: one) == nil { try lookAtNewMapping(live, of: one) }
            }
        }
    }

    private func lookAtNewMapping(_ live: LiveArea, of one: Compared) throws(FollowUpRefusal) {
        let refusal = one.refusal("has another file mapped: \(live.name)")
        // Whoever may write to it through the mapping may have done so.
        if live.isShared, one.live.mayWrite(through: live) { throw refusal }
        let name = Array(live.name.utf8)
        if let known = mapped[name] {
            guard known.inode == live.inode else { throw refusal }
            return
        }
        // Beside PID 1's program others' directories come and go.
        let isOurs = one.pid == 1 && areSame(live.name, one.live.program)
        guard let status = one.live.status(of: live), status.st_nlink > 0, status.st_mode & S_IFMT == S_IFREG,
            let named = one.live.status(ofPath: live.name), named.isAlike(status),
            let mount = mount(of: live.name),
            isOurs || original == nil || isAsItWas(live.name, status, in: one.live)
        else { throw refusal }
        func isOf(_ id: UInt32) -> Bool {
            guard let file = before.files[id] else { return false }
            return file.type == FD_TYPES__REG && areSame(file.name, live.name) && file.mount == mount
                && file.flags == UInt32(O_RDONLY) && file.position == 0 && file.mode == status.st_mode
                && file.size == UInt64(status.st_size)
                && (!file.hasBuildID || ClockTime(status.st_ctim) < before.written)
        }
        if let known = fileNumbers.kept.first(where: isOf) ?? fileNumbers.claim(where: isOf) {
            mapped[name] = (known, live.inode)
            return
        }
        let id = fileNumbers.take()
        var buildID = one.live.buildID(of: live)
        buildID.withUnsafeMutableBufferPointer { words in
            addFile(id, live.name, mount) { entry in
                (entry.has_mode, entry.mode) = (1, status.st_mode)
                (entry.has_size, entry.size) = (1, UInt64(status.st_size))
                (entry.n_build_id, entry.build_id) = (words.count, words.baseAddress)
            }
        }
        mapped[name] = (id, live.inode)
    }

    /// Whether neither a file nor a directory above it was touched since the instant of a twin: what was is not in its capture,
    /// or there under another name.
    private func isAsItWas(_ path: String, _ status: Glibc.stat, in live: LiveProcess) -> Bool {
        guard ClockTime(status.st_ctim) < instant.realtime else { return false }
        var directory = path[...]
        while let slash = directory.lastIndex(of: "/"), slash > directory.startIndex {
            directory = directory[..<slash]
            guard let its = live.status(ofPath: String(directory)), ClockTime(its.st_ctim) < instant.realtime
            else {
                return false
            }
        }
        return true
    }

    /// The entry of files.img for a program that is executed since: it is mapped.
    private func program(of one: Compared) throws(FollowUpRefusal) -> UInt32 {
        guard let known = mapped[Array(one.live.program.utf8)] else {
            throw one.refusal("does not have its program mapped")
        }
        return known.file
    }

    /// A restore refuses a file of another size or mode, and a program that is another one.
    private func compare(
        _ file: Predecessor.OpenFile, with live: LiveArea, of one: Compared
    ) throws(FollowUpRefusal) {
        guard let status = one.live.status(of: live), status.st_nlink > 0, file.mode == status.st_mode,
            file.size == UInt64(status.st_size)
        else { throw one.refusal("has a file mapped that changed: \(live.name)") }
        // One that was installed anew may be the same: PID 1's is with each server that starts.
        guard
            !file.hasBuildID || ClockTime(status.st_ctim) < before.written
                || before.buildID(of: file) == one.live.buildID(of: live)
        else { throw one.refusal("has a program mapped that changed: \(live.name)") }
    }

    /// What the kernel maps lies where it lay; in another program it may lie elsewhere.
    private func kernelAreas(
        _ live: [(start: UInt64, end: UInt64)], of one: Compared
    ) throws(FollowUpRefusal) -> [Predecessor.Area] {
        let kinds = AreaStatus.kernels
        let known = one.process.areas.filter { $0.status & kinds != 0 }
        var joined: [(start: UInt64, end: UInt64)] = []
        for area in known { joined.join(area.start, area.end) }
        if joined.elementsEqual(live, by: ==) { return known }
        guard one.isNew, joined.count == live.count,
            zip(joined, live).allSatisfy({ $0.end - $0.start == $1.end - $1.start })
        else { throw one.refusal("has moved what the kernel maps") }
        return known.map { area in
            let index = joined.firstIndex { $0.start <= area.start && area.end <= $0.end }!
            return area.moved(from: joined[index].start, to: live[index].start)
        }
    }

    /// mm-PID.img.
    func map(_ one: Compared, _ areas: [Predecessor.Area]) throws(FollowUpRefusal) -> ImageFile {
        let auxiliary = one.live.auxiliary
        let live = one.live
        guard let startCode = live.field(26), let endCode = live.field(27), let stack = live.field(28),
            let startData = live.field(45), let endData = live.field(46), let heap = live.field(47),
            let arguments = live.field(48), let argumentsEnd = live.field(49),
            let environment = live.field(50),
            let environmentEnd = live.field(51)
        else { throw one.refusal("does not tell where its memory is") }
        var file = one.process.map
        let told = one.note.told
        let program = one.isNew ? try program(of: one) : one.process.program
        let written: [UInt8]? = try understanding { () throws(CriuImageError) in
            try file.decodeOnly(mm_entry__unpack, mm_entry__free_unpacked) { (entry) -> [UInt8]? in
                // CRIU cuts it off where it is long: in the zeros at its end.
                let known = numbers(entry.pointee.mm_saved_auxv, entry.pointee.n_mm_saved_auxv)
                let isSame = zip(known, auxiliary).allSatisfy { $0 == $1 }
                guard known.dropFirst(auxiliary.count).allSatisfy({ $0 == 0 }),
                    auxiliary.dropFirst(known.count).allSatisfy({ $0 == 0 })
                else { return nil }
                guard isSame || one.isNew else { return nil }
                entry.pointee.exe_file_id = program
                (entry.pointee.mm_start_code, entry.pointee.mm_end_code) = (startCode, endCode)
                (entry.pointee.mm_start_data, entry.pointee.mm_end_data) = (startData, endData)
                (entry.pointee.mm_start_stack, entry.pointee.mm_start_brk) = (stack, heap)
                (entry.pointee.mm_brk, entry.pointee.mm_arg_start) = (told.brk, arguments)
                (entry.pointee.mm_arg_end, entry.pointee.mm_env_start) = (argumentsEnd, environment)
                entry.pointee.mm_env_end = environmentEnd
                (entry.pointee.has_dumpable, entry.pointee.dumpable) = (1, told.dumpable)
                (entry.pointee.has_thp_disabled, entry.pointee.thp_disabled) = (1, told.has_no_huge_pages)
                return packed(entry, areas, one.isNew ? Array(auxiliary.prefix(known.count)) : nil)
            }
        }
        guard let written else { throw one.refusal("has another auxiliary vector") }
        file.entries[0] = written
        return file
    }

    private func packed(
        _ entry: UnsafeMutablePointer<MmEntry>, _ areas: [Predecessor.Area], _ auxiliary: [UInt64]?
    ) -> [UInt8] {
        guard var auxiliary else { return packed(entry, areas) }
        let own = (entry.pointee.n_mm_saved_auxv, entry.pointee.mm_saved_auxv, entry.pointee.n_aios)
        defer {
            (entry.pointee.n_mm_saved_auxv, entry.pointee.mm_saved_auxv, entry.pointee.n_aios) = own
        }
        // Of whom it is like.
        entry.pointee.n_aios = 0
        return auxiliary.withUnsafeMutableBufferPointer { words in
            (entry.pointee.n_mm_saved_auxv, entry.pointee.mm_saved_auxv) = (words.count, words.baseAddress)
            return packed(entry, areas)
        }
    }

    private func packed(_ entry: UnsafeMutablePointer<MmEntry>, _ areas: [Predecessor.Area]) -> [UInt8] {
        let own = (entry.pointee.n_vmas, entry.pointee.vmas)
        defer { (entry.pointee.n_vmas, entry.pointee.vmas) = own }
        let room = UnsafeMutablePointer<VmaEntry>.allocate(capacity: areas.count)
        let list = UnsafeMutablePointer<UnsafeMutablePointer<VmaEntry>?>.allocate(capacity: areas.count)
        defer {
            room.deallocate()
            list.deallocate()
        }
        for (index, area) in areas.enumerated() {
            let written = room + index
            list[index] = written
            vma_entry__init(written)
            (written.pointee.start, written.pointee.end, written.pointee.pgoff) = (
                area.start, area.end, area.offset
            )
            (written.pointee.shmid, written.pointee.prot, written.pointee.flags) = (
                area.file, area.protection, area.flags
            )
            (written.pointee.status, written.pointee.fd) = (area.status, -1)
            if area.advice != 0 { (written.pointee.has_madv, written.pointee.madv) = (1, area.advice) }
            if let flags = area.descriptorFlags {
                (written.pointee.has_fdflags, written.pointee.fdflags) = (1, flags)
            }
        }
        (entry.pointee.n_vmas, entry.pointee.vmas) = (areas.count, list)
        return CriuImages.packed(entry)
    }

    /// The pages that are the process's own, which its memory has as yet.
    static func pageMap(_ one: Compared, pagesID: UInt32) throws(FollowUpRefusal) -> PageMap {
        let there = try ownPages(of: one)
        var map = PageMap("pagemap-\(one.pid).img", pagesID: pagesID)
        var next = 0
        func append(_ start: UInt64, _ end: UInt64) {
            let count = Int((end - start) / Page.size)
            map.append(PageMap.Run(start: start, count: count, flags: PageMap.Run.inParent))
        }
        for area in one.live.areas where !area.isShared && area.end <= CLINUX_USER_SPACE {
            if area.isKernels {
                // Of the vDSO every page is dumped, so that a restore can make a proxy of it; of the clocks none.
                guard area.name == "[vdso]" else { continue }
                append(area.start, area.end)
                continue
            }
            while next < there.count, there[next].end <= area.start { next += 1 }
            var index = next
            while index < there.count, there[index].start < area.end {
                let pages = there[index]
                // CRIU writes them down as mappings (criu/mem.c).
                if pages.are_guards != 0 { throw one.refusal("has guard pages within its memory") }
                append(max(pages.start, area.start), min(pages.end, area.end))
                index += 1
            }
        }
        return map
    }

    private static func ownPages(of one: Compared) throws(FollowUpRefusal) -> [clinux_pages] {
        guard let pagemap = try? Descriptor.open("/proc/\(one.note.pid)/pagemap", O_RDONLY) else {
            throw one.refusal("does not tell which pages it has")
        }
        var all: [clinux_pages] = []
        var at: UInt64 = 0
        let limit = 4096
        var found = [clinux_pages](repeating: clinux_pages(), count: limit)
        while at < CLINUX_USER_SPACE {
            let count = clinux_next_pages(pagemap.raw, &at, &found, UInt(limit))
            guard count >= 0 else { throw one.refusal("does not tell which pages it has") }
            all += found.prefix(count)
            if count < limit { break }
        }
        return all
    }
}

extension Predecessor.Area {
    fileprivate func moved(from old: UInt64, to new: UInt64) -> Self {
        Self(
            start: start - old + new, end: end - old + new, offset: offset, file: file,
            protection: protection,
            flags: flags, status: status, advice: advice, descriptorFlags: descriptorFlags)
    }
}

extension Glibc.stat {
    /// Whether it can be of the same file: of an overlay's a mapping may tell another inode.
    fileprivate func isAlike(_ other: Glibc.stat) -> Bool {
        st_mode == other.st_mode && st_size == other.st_size && st_mtim.tv_sec == other.st_mtim.tv_sec
            && st_mtim.tv_nsec == other.st_mtim.tv_nsec
    }
}

extension [(start: UInt64, end: UInt64)] {
    /// Adds a range, to the last one where it follows that.
    fileprivate mutating func join(_ start: UInt64, _ end: UInt64) {
        if last?.end == start { self[count - 1].end = end } else { append((start, end)) }
    }
}
