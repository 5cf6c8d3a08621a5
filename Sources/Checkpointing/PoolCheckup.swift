import Glibc
import LinuxSystem
import Messages

extension StorePool {
    /// The pool that a store lies in; nil for one that lies in none.
    init?(holding store: String) {
        let suffix = "/\(Self.directoryName)"
        guard store.hasSuffix(suffix) else { return nil }
        root = String(store.dropLast(suffix.count))
        guard Files.exists(image) else { return nil }
    }

    /// How large the pool is, and whether what it has yet to take is there.
    func checks() -> [DoctorCheck] {
        var file = stat(), below = statvfs(), inside = statvfs()
        guard stat(image, &file) == 0, statvfs(root, &below) == 0, statvfs(directory, &inside) == 0 else {
            return [
                DoctorCheck(
                    name: "pool", status: .failed, detail: SystemError.last("stat", image).description,
                    hint: "see whether \(image) is there")
            ]
        }
        let taken = Int64(file.st_blocks) * 512
        let free = Int64(below.f_bavail) * Int64(below.f_frsize)
        let detail =
            "\(image), \(file.st_size >> 20) MiB, of which \(taken >> 20) MiB are taken; "
            + "\(free >> 20) MiB are free below it"
        return [
            free < Int64(file.st_size) - taken
                ? DoctorCheck(
                    name: "pool", status: .warning, detail: detail,
                    hint:
                        "a pool that finds no room below it fails, whatever room it shows: free some on the "
                        + "filesystem of \(root)")
                : DoctorCheck(name: "pool", status: .ok, detail: detail)
        ]
    }
}
