import CCriuImages
import CTwin
import Glibc
public import LinuxSystem

/// How the processes of a snapshot are made anew in a fresh sandbox without CRIU: what each is to do, and what is done to it
/// from outside.
///
/// For trees that a save without CRIU can be made of (`Predecessor`), and not for all of these: what is left is CRIU's.
public final class RebuildPlan: Sendable {
    /// What only the sandbox tells that is to become the snapshot's: where the kernel mapped things for its PID 1.
    public struct Ground: Sendable {
        fileprivate let values: [UInt64]
    }

    /// A process's pid in the sandbox and its image's memory score.
    public let processes: [(pid: Int32, memoryScore: Int32)]
    public let hostname: String
    public let domainname: String
    /// What its clocks show: CLOCK_MONOTONIC and CLOCK_BOOTTIME.
    public let clocks: (monotonic: ClockTime, boottime: ClockTime)
    /// Pages that are to be copied.
    public let pageCount: Int
    /// Where the script is to lie in all of them, and how much room it wants, in bytes.
    public let place: UInt64
    public let room: UInt64
    /// Whose memory comes in behind, and what of it.
    public let late: LazyMemory?
    /// An array of struct cnote (Sources/CTwin/include/cnote.h).
    public let notes: [UInt8]
    private let script: [UInt8]
    private let gaps: [(at: Int, value: Int)]
    /// Bytes of what the kernel maps for itself.
    private let kernelSize: UInt64
    private let kernelPlaces: Set<UInt64>
    /// Of each process, in the order of `processes`.
    private let pages: [PageRuns]

    /// More pages are left to CRIU (256 MiB); what comes in behind does not count.
    static let mostPages = 65536

    /// Takes the images apart; programs and libraries must not have changed since `checked`. What is `late` comes in behind.
    ///
    /// Throws where CRIU has to restore it.
    public init(
        _ images: Predecessor, checked: ClockTime, late: LazyMemory? = nil
    ) throws(FollowUpRefusal) {
        self.late = late
        let extents = Dictionary(
            uniqueKeysWithValues: (late?.processes ?? []).map { ($0.pid, $0.extents) })
        do throws(CriuImageError) {
            let directory = try ImageDirectory(images.path)
            guard images.processes.count <= CTWIN_TOLD_PIDS else {
                throw CriuImageError("pstree.img", "has \(images.processes.count) processes")
            }
            var builder = try RebuildBuilder(images, checked: checked, late: Set(extents.keys))
            try builder.build()
            (script, gaps, place, room) = builder.finished()
            (notes, kernelSize, kernelPlaces) = (builder.notes, builder.kernelSize, builder.kernelPlaces)
            processes = builder.scores
            (hostname, domainname) = try directory.names(in: images.hostnameName)
            guard isWhole(hostname), isWhole(domainname) else {
                throw CriuImageError("utsns", "has odd names")
            }
            clocks = try directory.clocks(in: images.clocksName)
            var pages: [PageRuns] = []
            for process in images.processes {
                let kernels = process.areas.filter { $0.status & AreaStatus.vdso != 0 }
                guard let chain = try PageChain("pagemap-\(process.pid).img", in: directory),
                    let vdso = kernels.first, kernels.count == 1
                else { throw CriuImageError("pagemap", "is not of a plain process") }
                let anonymous = process.areas.filter { $0.status & AreaStatus.privateAnonymous != 0 }
                let runs = try PageRuns(
                    chain, in: images.path, vdso: vdso.start..<vdso.end,
                    anonymous: anonymous.map { $0.start..<$0.end }, late: extents[process.pid] ?? [])
                guard runs.isOfThisKernel(vdso.start..<vdso.end) else {
                    throw CriuImageError(process.map.name, "is of another kernel")
                }
                pages.append(runs)
            }
            self.pages = pages
            pageCount = pages.reduce(0) { $0 + $1.pageCount }
            guard pageCount <= Self.mostPages else {
                throw CriuImageError("pagemap", "has \(pageCount) pages")
            }
        } catch { throw FollowUpRefusal(error) }
    }

    /// Looks at a sandbox's fresh PID 1, which stands still or waits; nil where nothing can be made of it.
    public func ground(of initProcess: Int32) -> Ground? {
        guard let maps = ProcText("/proc/\(initProcess)/maps") else { return nil }
        var kernels: [LiveArea] = []
        for line in maps.bytes.split(separator: UInt8(ascii: "\n")) {
            guard let area = LiveArea(header: line) else { return nil }
            if area.end > place, area.start < place + room { return nil }
            if area.isKernels, area.name != "[vsyscall]" { kernels.append(area) }
        }
        guard let first = kernels.first, let last = kernels.last, kernels.count <= Self.mostKernelAreas,
            last.end - first.start == kernelSize,
            zip(kernels, kernels.dropFirst()).allSatisfy({ $0.end == $1.start })
        else { return nil }
        // Moved over itself it would be lost.
        guard kernelPlaces.allSatisfy({ $0 + kernelSize <= first.start || $0 >= last.end }) else {
            return nil
        }
        let lower = place < first.start
        let (one, other) =
            lower
            ? ((place, place + room), (first.start, last.end))
            : ((first.start, last.end), (place, place + room))
        var values: [UInt64] = [
            Self.lowest, one.0 - Self.lowest, one.1, other.0 - one.1, other.1, Self.highest - other.1,
        ]
        for index in 0..<Self.mostKernelAreas {
            let area = index < kernels.count ? kernels[index] : nil
            values += [
                area?.start ?? 0, area.map { $0.end - $0.start } ?? 0,
                (area?.start ?? first.start) - first.start,
            ]
        }
        return Ground(values: values)
    }

    /// [vvar], [vvar_vclock] and [vdso].
    static let mostKernelAreas = 3
    /// mmap_min_addr of most machines, and where the addresses of programs end.
    private static let lowest: UInt64 = 0x10000
    private static let highest: UInt64 = 0x7fff_ffff_f000

    /// The script for a sandbox, as it is to lie a page behind `place`.
    public func script(on ground: Ground) -> [UInt8] {
        var bytes = script
        bytes.withUnsafeMutableBytes { buffer in
            for gap in gaps {
                let value =
                    buffer.loadUnaligned(fromByteOffset: gap.at, as: UInt64.self) &+ ground.values[gap.value]
                buffer.storeBytes(of: value, toByteOffset: gap.at, as: UInt64.self)
            }
        }
        return bytes
    }

    /// Copies the memory of all processes, which stand still; `hostPids` has the host's pid of each, in the order of `processes`.
    ///
    /// Returns for each process whose memory comes in behind, in the order of `late`, a userfaultfd that is to cover it.
    public func fillMemory(
        of hostPids: [Int32]
    ) throws(CriuImageError) -> [(process: LazyProcess, userFault: UserFault)] {
        var found: [(process: LazyProcess, userFault: UserFault)] = []
        var rest = (late?.processes ?? [])[...]
        for ((pages, process), hostPid) in zip(zip(pages, processes), hostPids) {
            let userFault = try pages.copy(to: hostPid, through: RebuildBuilder.userFault)
            guard let first = rest.first, first.pid == process.pid else { continue }
            rest.removeFirst()
            guard let userFault else { throw CriuImageError("pages", "have no userfaultfd") }
            found.append((first, userFault))
        }
        guard rest.isEmpty else { throw CriuImageError("pstree.img", "has its processes in another order") }
        return found
    }
}

/// Whether a string of an image is its bytes: those that are no UTF-8 were replaced by U+FFFD.
func isWhole(_ text: String) -> Bool { !text.unicodeScalars.contains("\u{fffd}") }

extension ImageDirectory {
    fileprivate func names(in file: String?) throws(CriuImageError) -> (String, String) {
        guard let file else { throw CriuImageError("utsns", "is missing") }
        return try self.file(file, .hostname).decodeOnly(utsns_entry__unpack, utsns_entry__free_unpacked) {
            (text($0.pointee.nodename) ?? "", text($0.pointee.domainname) ?? "")
        }
    }

    fileprivate func clocks(in name: String) throws(CriuImageError) -> (ClockTime, ClockTime) {
        try file(name, .clocks).decodeOnly(timens_entry__unpack, timens_entry__free_unpacked) {
            entry throws(CriuImageError) in
            guard let monotonic = entry.pointee.monotonic, let boottime = entry.pointee.boottime else {
                throw CriuImageError(name, "has no clocks")
            }
            func time(_ entry: UnsafeMutablePointer<Timespec>) -> ClockTime {
                ClockTime(
                    seconds: Int64(truncatingIfNeeded: entry.pointee.tv_sec),
                    nanoseconds: Int64(truncatingIfNeeded: entry.pointee.tv_nsec))
            }
            return (time(monotonic), time(boottime))
        }
    }
}
