import Glibc
public import LinuxSystem

/// systemd's journal, by its native protocol: a datagram of fields for each line.
///
/// Source: systemd's documentation "Native Journal Protocol". Fields besides MESSAGE and PRIORITY are called
/// `CKPT_OPERATION`, `CKPT_SANDBOX`, `CKPT_SNAPSHOT`, `CKPT_MS`, `CKPT_CODE` and `CKPT_CAUSE`.
public struct JournalSink: LogSink {
    /// Where the journal listens.
    public static let defaultPath = "/run/systemd/journal/socket"

    private let socket: Int32

    /// Connects to the journal's socket, which stays open to the process's end. Throws where there is none.
    public init(path: String = JournalSink.defaultPath) throws(SystemError) {
        let number = try retrying("socket") {
            Glibc.socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        }
        let socket = Descriptor(owning: number)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else {
            throw SystemError(call: "connect", code: ENAMETOOLONG, subject: path)
        }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        try retrying("connect", path) {
            withUnsafePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    connect(
                        number, __CONST_SOCKADDR_ARG(__sockaddr__: $0),
                        socklen_t(MemoryLayout<sockaddr_un>.size))
                }
            }
        }
        self.socket = socket.release()
    }

    public func write(_ line: LogLine, _ formatted: String) {
        let bytes = Self.datagram(line)
        // Where the journal does not keep up a line is lost, and the server does not wait.
        _ = send(socket, bytes, bytes.count, Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL))
    }

    /// The fields, each `NAME=VALUE\n`, or with its length where the value has more than one line.
    static func datagram(_ line: LogLine) -> [UInt8] {
        var bytes: [UInt8] = []
        let own = line.fields.map { ("CKPT_\($0.name.uppercased())", $0.value) }
        let all = [
            ("MESSAGE", line.message), ("PRIORITY", "\(line.level.priority)"), ("SYSLOG_IDENTIFIER", "ckpt"),
        ]
        for (name, value) in all + own {
            bytes += Array(name.utf8)
            let value = Array(value.utf8)
            if value.contains(UInt8(ascii: "\n")) {
                bytes.append(UInt8(ascii: "\n"))
                withUnsafeBytes(of: UInt64(value.count).littleEndian) { bytes += Array($0) }
            } else {
                bytes.append(UInt8(ascii: "="))
            }
            bytes += value
            bytes.append(UInt8(ascii: "\n"))
        }
        return bytes
    }

    /// Whether stderr leads to the journal: systemd says which file that is (systemd.exec(5), JOURNAL_STREAM).
    public static var hasStderr: Bool {
        guard let text = getenv("JOURNAL_STREAM").map({ String(cString: $0) }) else { return false }
        var status = stat()
        return fstat(STDERR_FILENO, &status) == 0 && text == "\(status.st_dev):\(status.st_ino)"
    }
}
