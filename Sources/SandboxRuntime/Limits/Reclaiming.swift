import CLinux
import Glibc
import LinuxSystem
import Messages

extension SandboxGroups {
    /// Has the kernel take back memory of the groups that was not used lately, `bytes` at most.
    ///
    /// On v2 by memory.reclaim; on v1 by memory.force_empty, which knows no amount. Returns false where neither is there.
    func reclaim(_ bytes: Int64) -> Bool {
        guard let (directory, isUnified) = directory(of: .memory) else { return false }
        do throws(SystemError) {
            if isUnified {
                try Files.put("\(bytes)", to: "\(directory)/memory.reclaim")
            } else {
                try Files.put("0", to: "\(directory)/memory.force_empty")
            }
            return true
        } catch {
            // Less than asked for, or some is held: what could be had was taken.
            return error.code == EAGAIN || error.code == EBUSY
        }
    }
}

extension SandboxProcess {
    /// Gives memory of the sandbox's processes back to the machine, about `bytes` of it or all that can be had.
    ///
    /// With a group the kernel chooses what was not used lately. In any case, and without one, file pages and, where
    /// there is swap, the processes' own are written out (madvise(2), MADV_PAGEOUT): nothing is lost, it is read again
    /// when it is used.
    public func reclaim(_ bytes: Int64?, in groups: SandboxGroups) {
        let wanted = bytes ?? max(ResourceSample(of: self, in: groups).memory.currentBytes, 1)
        if groups.reclaim(wanted), bytes != nil { return }
        var left = bytes ?? .max
        for pid in hostPids() where left > 0 { left -= Self.pageOut(pid, upTo: left) }
    }

    private static func pageOut(_ pid: Int32, upTo limit: Int64) -> Int64 {
        let number = clinux_pidfd_open(pid)
        guard number >= 0 else { return 0 }
        let handle = Descriptor(owning: number)
        guard let maps = try? Files.read("/proc/\(pid)/maps") else { return 0 }
        var ranges: [UInt64] = []
        var done: Int64 = 0
        let flush = { (ranges: [UInt64]) -> Int64 in
            // One that may not be paged out (locked, of a device) ends the call: the rest is tried after it.
            var rest = ranges[...]
            var sum: Int64 = 0
            while !rest.isEmpty {
                let result = Array(rest).withUnsafeBufferPointer {
                    clinux_page_out(handle.raw, $0.baseAddress, Int32($0.count / 2))
                }
                var got = max(result, 0)
                sum += Int64(got)
                while !rest.isEmpty, got >= rest[rest.startIndex + 1] {
                    got -= Int(rest[rest.startIndex + 1])
                    rest = rest.dropFirst(2)
                }
                rest = rest.dropFirst(2)
            }
            return sum
        }
        for line in String(decoding: maps, as: UTF8.self).split(separator: "\n") {
            guard done < limit, let range = line.split(separator: " ").first, !line.hasSuffix("[vsyscall]")
            else { continue }
            let ends = range.split(separator: "-").compactMap { UInt64($0, radix: 16) }
            guard ends.count == 2, ends[0] < ends[1] else { continue }
            ranges += [ends[0], ends[1] - ends[0]]
            if ranges.count == 512 {
                done += flush(ranges)
                ranges = []
            }
        }
        if !ranges.isEmpty { done += flush(ranges) }
        return done
    }
}
