import CCriuImages
import CProtobufC
import Glibc

/// Builds, packs and frees one request to a CRIU worker.
enum RequestMessage {
    /// A request of `type` without options.
    static func plain(_ type: CriuReqType) -> [UInt8] { pack(type) { _ in } }

    /// A question for the features of this CRIU and kernel, which makes CRIU probe the kernel.
    static func featureCheck() -> [UInt8] {
        pack(CRIU_REQ_TYPE__FEATURE_CHECK) { request in
            let features: UnsafeMutablePointer<CriuFeatures> = allocate()
            criu_features__init(features)
            features.pointee.has_lazy_pages = 1
            features.pointee.lazy_pages = 1
            features.pointee.has_mem_track = 1
            features.pointee.mem_track = 1
            request.pointee.features = features
        }
    }

    /// The answer to a notification.
    static func notificationAnswer(success: Bool) -> [UInt8] {
        pack(CRIU_REQ_TYPE__NOTIFY) { request in
            request.pointee.has_notify_success = 1
            request.pointee.notify_success = success ? 1 : 0
        }
    }

    /// A request of `type` with options; `fill` allocates strings with `cString` and `cStrings` only.
    static func withOptions(
        _ type: CriuReqType, _ fill: (inout CriuOpts) -> Void
    ) -> [UInt8] {
        pack(type) { request in
            let options: UnsafeMutablePointer<CriuOpts> = allocate()
            criu_opts__init(options)
            fill(&options.pointee)
            request.pointee.opts = options
        }
    }

    /// Every part is allocated with malloc, so that protobuf-c frees the whole of it in one go.
    private static func pack(_ type: CriuReqType, _ fill: (UnsafeMutablePointer<CriuReq>) -> Void) -> [UInt8]
    {
        let request: UnsafeMutablePointer<CriuReq> = allocate()
        criu_req__init(request)
        defer { criu_req__free_unpacked(request, nil) }
        request.pointee.type = type
        fill(request)
        return [UInt8](unsafeUninitializedCapacity: criu_req__get_packed_size(request)) { buffer, count in
            count = criu_req__pack(request, buffer.baseAddress)
        }
    }
}

private func allocate<Value>() -> UnsafeMutablePointer<Value> {
    guard let memory = malloc(MemoryLayout<Value>.size) else { fatalError("out of memory") }
    return memory.bindMemory(to: Value.self, capacity: 1)
}

/// A copy of `text` that belongs to the message it is put into.
func cString(_ text: String) -> UnsafeMutablePointer<CChar>? { strdup(text) }

/// A copy of `texts` that belongs to the message it is put into.
func cStrings(_ texts: [String]) -> UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? {
    guard !texts.isEmpty else { return nil }
    let size = texts.count * MemoryLayout<UnsafeMutablePointer<CChar>?>.stride
    guard let memory = malloc(size) else { fatalError("out of memory") }
    let array = memory.bindMemory(to: UnsafeMutablePointer<CChar>?.self, capacity: texts.count)
    for (index, text) in texts.enumerated() { array[index] = strdup(text) }
    return array
}
