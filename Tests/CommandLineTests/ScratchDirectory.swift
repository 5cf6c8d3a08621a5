import Foundation

/// A directory that goes when its owner does.
final class ScratchDirectory: Sendable {
    let path: String

    init() throws {
        var template = Array("/tmp/ckpt-cli-test-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw POSIXError(.init(rawValue: errno) ?? .EIO) }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func write(_ text: String, to name: String) throws {
        try Data(text.utf8).write(to: URL(fileURLWithPath: "\(path)/\(name)"))
    }

    func text(of name: String) throws -> String {
        String(decoding: try Data(contentsOf: URL(fileURLWithPath: "\(path)/\(name)")), as: UTF8.self)
    }

    func exists(_ name: String) -> Bool {
        var status = stat()
        return lstat("\(path)/\(name)", &status) == 0
    }

    func status(of name: String) throws -> stat {
        var status = stat()
        guard lstat("\(path)/\(name)", &status) == 0 else { throw POSIXError(.init(rawValue: errno) ?? .EIO) }
        return status
    }
}
