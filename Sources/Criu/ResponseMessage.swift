import CCriuImages
import CProtobufC

/// What a CRIU worker said, in Swift's own memory.
struct ResponseMessage {
    let type: UInt32
    let success: Bool
    let criuErrno: Int32?
    let message: String?
    /// The restored root's pid as this process sees it; CRIU gives it on some failures, too.
    let restoredPID: Int32?
    let notification: CriuNotification?
    let version: CriuVersion?
    /// Whether CRIU thinks that the kernel tells which pages changed; nil where it was not asked.
    let tracksMemory: Bool?

    /// Unpacks one packet; nil when it is not a response.
    init?(unpacking bytes: [UInt8]) {
        guard let response = criu_resp__unpack(nil, bytes.count, bytes) else { return nil }
        defer { criu_resp__free_unpacked(response, nil) }
        let said = response.pointee
        type = said.type.rawValue
        success = said.success != 0
        criuErrno = said.has_cr_errno != 0 ? said.cr_errno : nil
        message = said.cr_errmsg.map { String(cString: $0) }
        restoredPID = said.restore.flatMap { $0.pointee.pid > 0 ? $0.pointee.pid : nil }
        notification = said.notify.map { notify in
            CriuNotification(
                script: notify.pointee.script.map { String(cString: $0) } ?? "",
                pid: notify.pointee.has_pid != 0 ? notify.pointee.pid : nil)
        }
        tracksMemory = said.features.flatMap { features in
            features.pointee.has_mem_track != 0 ? features.pointee.mem_track != 0 : nil
        }
        version = said.version.map { version in
            CriuVersion(
                major: version.pointee.major_number, minor: version.pointee.minor_number,
                sublevel: version.pointee.has_sublevel != 0 ? version.pointee.sublevel : 0)
        }
    }

    /// Whether the worker still waits for an answer to this.
    var isNotification: Bool { type == CRIU_REQ_TYPE__NOTIFY.rawValue }
}
