import Glibc
import LinuxSystem
import Testing

@testable import CriuImages

/// Protobuf by hand, so that the tests do not believe the code they test.
func varint(_ value: UInt64) -> [UInt8] {
    value < 128 ? [UInt8(value)] : [UInt8(value & 127) | 128] + varint(value >> 7)
}
func number(_ field: UInt64, _ value: UInt64) -> [UInt8] { varint(field << 3) + varint(value) }
func bytes(_ field: UInt64, _ value: [UInt8]) -> [UInt8] {
    varint(field << 3 | 2) + varint(UInt64(value.count)) + value
}

func image(_ magic: [UInt32], _ entries: [[UInt8]]) -> [UInt8] {
    func word(_ value: UInt32) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) } }
    return magic.flatMap(word) + entries.flatMap { word(UInt32($0.count)) + $0 }
}

let common: UInt32 = 0x5456_4319

/// A directory of image files that goes with the test.
final class Images {
    let path: String

    init(_ files: [String: [UInt8]]) throws {
        var template = Array("/tmp/ckpt-images.XXXXXX".utf8CString)
        path = try #require(mkdtemp(&template).map { String(cString: $0) })
        for (name, bytes) in files { try write(name, bytes) }
    }

    deinit {
        for name in (try? Files.names(in: path)) ?? [] { unlink("\(path)/\(name)") }
        rmdir(path)
    }

    func write(_ name: String, _ bytes: [UInt8]) throws {
        try Descriptor.open("\(path)/\(name)", O_WRONLY | O_CREAT | O_TRUNC).writeAll(bytes)
    }

    func read(_ name: String) throws -> [UInt8] { try Descriptor.open("\(path)/\(name)", O_RDONLY).readAll() }

    func open() throws -> ImageDirectory { try ImageDirectory(path) }
}
