public import Messages
import Glibc

/// Stands in for archives of snapshots; the tests of the store and the end-to-end tests have the real ones.
extension FixtureEngine {
    public func objects(snapshot reference: String?, withAncestors: Bool) throws(ErrorMessage) -> ObjectList {
        var object = Sample.storedObject
        if let reference { object.id = try snapshot(reference).id }
        if withAncestors { object.bytes = 0 }
        return ObjectList(objects: [object])
    }

    /// As many bytes of the pattern as the level says, in KiB.
    public func exportSnapshot(
        _ reference: String, _ request: ExportRequest, to descriptor: Int32
    ) throws(ErrorMessage) {
        _ = try snapshot(reference)
        note("export of \(reference) without \(request.have?.count ?? 0)")
        let bytes = Pattern.bytes(at: 0, (request.level ?? 1) << 10)
        _ = write(descriptor, bytes, bytes.count)
    }

    public func importSnapshots(
        tag: String?, mostBytes: Int64?, from descriptor: Int32
    ) throws(ErrorMessage) -> ImportResult {
        var total = 0
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = read(descriptor, &buffer, buffer.count)
            if count <= 0 { break }
            total += count
            if let mostBytes, total > mostBytes { throw ErrorMessage(.badValue, "the archive is refused") }
        }
        var result = Sample.importResult
        (result.bytes, result.snapshot) = (Int64(total), tag ?? result.snapshot)
        return result
    }
}
