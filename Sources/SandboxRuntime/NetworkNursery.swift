import CLinux
import Glibc
import LinuxSystem

/// A network namespace in which nothing runs and in which the sandboxes' own are made.
///
/// A namespace made there has small tables of its own for TCP connections and UDP sockets in place of a share in the
/// machine's, which have a bucket for each 100 KiB of memory or so: whoever asks for a namespace's sockets, as CRIU does
/// twice a dump, has the kernel go through every bucket, and so does the namespace's end. With 24 GiB that is 0.8 ms of
/// each save in which everything stands still.
public final class NetworkNursery: Sendable {
    /// The one of this process; nil where it cannot be made, for it only saves time.
    public static let shared = NetworkNursery()

    /// Buckets for TCP connections; half as many may be in TIME_WAIT (tcp_max_tw_buckets).
    private static let tcpBuckets = 16384
    /// Buckets for UDP sockets.
    private static let udpBuckets = 1024

    /// The namespace, open as long as this process lives.
    public let inside: Int32
    /// The namespace of this process.
    let outside: Int32

    private init?() {
        // The thread stays in the new namespace to its end, and this one where it is.
        let made = Meanwhile { () throws(Never) in
            var failure = clinux_spawn_failure()
            return clinux_enter_nursery("\(Self.tcpBuckets)", "\(Self.udpBuckets)", &failure)
        }
        let inside = made.wait()
        guard inside >= 0 else { return nil }
        let outside = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)
        guard outside >= 0 else {
            close(inside)
            return nil
        }
        (self.inside, self.outside) = (inside, outside)
    }
}
