import CCriuImages
import Glibc
import LinuxSystem

/// An image directory that passes for an earlier dump of some processes in which every page is there.
///
/// A dump with it as the one before (`parent_img`) writes pagemaps in which all that did not change since is inherited,
/// and no pages. CRIU looks for each of these in the earlier dump's pagemap (criu/page-xfer.c,
/// `check_pagehole_in_parent`), and at its time, which must be after the processes' start (criu/mem.c,
/// `detect_pid_reuse`). Nothing is ever restored from it.
public enum StandInParent {
    /// Makes the directory at `path`, which must not exist.
    public static func make(at path: String, for processes: some Collection<Int32>) throws(CriuImageError) {
        do throws(SystemError) { try Files.makeDirectory(path) } catch {
            throw CriuImageError(path, "cannot be made", cause: error)
        }
        let directory = try ImageDirectory(path)
        try directory.replace("inventory.img", with: inventory)
        var map = PageMap("pagemap", pagesID: 1)
        // 2^56 bytes: user space ends there with five levels of page tables.
        map.append(PageMap.Run(start: 0, count: 1 << 44, flags: PageMap.Run.present))
        let bytes = map.bytes
        try directory.replace(map.pagesName, with: [])
        try directory.replace("pagemap.img", with: bytes)
        for process in processes {
            let name = "pagemap-\(process).img"
            do throws(SystemError) {
                try retrying("linkat", name) {
                    linkat(directory.directory.raw, "pagemap.img", directory.directory.raw, name, 0)
                }
            } catch { throw CriuImageError(name, "cannot be linked", cause: error) }
        }
    }

    /// Removes what `make` made, or a part of it.
    public static func remove(_ path: String) { Files.removeFlatDirectory(path) }

    private static var inventory: [UInt8] {
        var entry = InventoryEntry()
        inventory_entry__init(&entry)
        entry.img_version = 2
        // Microseconds since boot, in an age to come.
        (entry.has_dump_uptime, entry.dump_uptime) = (1, 1 << 62)
        return ImageFile("inventory.img", .inventory, [packed(&entry)]).bytes
    }
}
