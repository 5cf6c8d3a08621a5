import CLinux
import Glibc

/// A descriptor that closes with its last reference.
final class OpenFile {
    let raw: Int32

    init(owning raw: Int32) { self.raw = raw }
    deinit { close(raw) }

    /// openat(2), close-on-exec; nil with errno set when it fails.
    static func open(_ name: [UInt8], in directory: Int32, _ flags: Int32, mode: mode_t = 0) -> OpenFile? {
        let raw = withName(name) { openat(directory, $0, flags | O_CLOEXEC, mode) }
        return raw < 0 ? nil : OpenFile(owning: raw)
    }

    /// What fstat(2) says; nil with errno set when it fails.
    var status: stat? {
        var status = stat()
        return fstat(raw, &status) == 0 ? status : nil
    }

    /// The same file, which was opened without any right (O_PATH), for real. What it is does not change any more,
    /// whatever its name leads to by now (proc(5), /proc/PID/fd).
    func reopened(_ flags: Int32) -> OpenFile? {
        let raw = Glibc.open("/proc/self/fd/\(raw)", flags | O_CLOEXEC | O_NOCTTY)
        return raw < 0 ? nil : OpenFile(owning: raw)
    }

    /// Whether it lies in a filesystem that is a view of the kernel, as /proc is.
    var isKernelView: Bool { clinux_is_kernel_view(raw) == 1 }

    /// The extended attributes that users may set, by name; those of the kernel, of overlayfs and of security
    /// modules mean something else elsewhere (xattr(7)).
    var userAttributes: [(name: String, value: [UInt8])] {
        var names = [UInt8](repeating: 0, count: 65536)
        let count = names.withUnsafeMutableBytes {
            flistxattr(raw, $0.bindMemory(to: CChar.self).baseAddress, $0.count)
        }
        guard count > 0 else { return [] }
        return names[..<count].split(separator: 0).compactMap { bytes in
            guard let name = String(validating: bytes, as: UTF8.self), name.hasPrefix("user.") else {
                return nil
            }
            var value = [UInt8](repeating: 0, count: 65536)
            let size = fgetxattr(raw, name, &value, value.count)
            return size < 0 ? nil : (name, Array(value[..<size]))
        }
    }
}

/// Calls `body` with a name as C wants it.
func withName<Result>(_ name: [UInt8], _ body: (UnsafePointer<CChar>) -> Result) -> Result {
    (name + [0]).withUnsafeBytes { body($0.bindMemory(to: CChar.self).baseAddress!) }
}

/// What errno says.
func reason(_ code: Int32 = errno) -> String { String(cString: strerror(code)) }

/// A name for people.
func shown(_ name: [UInt8]) -> String { String(decoding: name, as: UTF8.self) }
