import Digests
import Glibc
import LinuxSystem

/// Writes the pages and the pagemap that are left of a dump once the parent's pages are known.
struct PageRewrite: ~Copyable {
    let map: PageMap
    let comparison: PageComparison
    let images: ImageDirectory
    private(set) var result: PageMap

    /// Of `map` into files of the number `id`.
    init(
        _ map: PageMap, _ comparison: PageComparison, to id: UInt32, in directory: borrowing ImageDirectory
    ) throws(CriuImageError) {
        self.map = map
        self.comparison = comparison
        result = PageMap(map.name, pagesID: id)
        do throws(SystemError) { images = ImageDirectory(owning: try directory.directory.duplicate()) } catch
        {
            throw CriuImageError(map.name, "cannot be opened", cause: error)
        }
    }

    /// Copies the kept pages from `file` into the new pages file, which must not exist; the digest of all it wrote.
    mutating func copyKept(from file: Int32) throws(CriuImageError) -> Digest {
        let target = result.pagesName
        let output: Descriptor
        do throws(SystemError) {
            output = try Descriptor.open(
                target, below: images.directory, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW)
        } catch {
            throw CriuImageError(target, "cannot be written", cause: error)
        }
        let size = PageComparison.block * pageSize
        let buffer = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: pageSize)
        defer { buffer.deallocate() }
        let hash = DigestStream()
        var page = 0
        for run in map.runs {
            var offset = 0
            while offset < run.count {
                let fate = comparison.fates[page + offset]
                let isShared = fate < PageComparison.zero
                var length = 1
                while offset + length < run.count {
                    let next = comparison.fates[page + offset + length]
                    guard next == fate || (isShared && next < PageComparison.zero) else { break }
                    length += 1
                }
                if fate == PageComparison.kept {
                    for first in stride(from: 0, to: length, by: PageComparison.block) {
                        let count = min(PageComparison.block, length - first)
                        try readPages(file, map.pagesName, page + offset + first, count, into: buffer)
                        let bytes = UnsafeRawBufferPointer(start: buffer, count: count * pageSize)
                        hash.update(bytes)
                        try write(bytes, to: output, target)
                    }
                }
                if fate != PageComparison.zero {
                    result.append(
                        PageMap.Run(
                            start: run.start + UInt64(offset * pageSize), count: length,
                            flags: isShared ? PageMap.Run.inParent : run.flags))
                }
                offset += length
            }
            page += run.count
        }
        return hash.digest
    }

    private func write(
        _ bytes: UnsafeRawBufferPointer, to output: borrowing Descriptor, _ target: String
    ) throws(CriuImageError) {
        var sent = 0
        let raw = output.raw
        while sent < bytes.count {
            do throws(SystemError) {
                let from = sent
                sent += try retrying("write", target) {
                    Glibc.write(raw, bytes.baseAddress! + from, bytes.count - from)
                }
            } catch {
                throw CriuImageError(target, "cannot be written", cause: error)
            }
        }
    }
}
