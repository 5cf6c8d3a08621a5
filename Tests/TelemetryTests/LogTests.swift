import Foundation
import Glibc
import LinuxSystem
import Testing

@testable import Telemetry

/// What lines look like and where they go.
struct LogTests {
    /// Keeps what is written.
    private final class Kept: LogSink {
        let lines = Monitor<[String]>([])
        func write(_ line: LogLine, _ formatted: String) { lines.with { $0.append(formatted) } }
    }

    private var line: LogLine {
        var line = LogLine(.error, "the disk is \"full\"\nor so")
        (line.operation, line.sandbox, line.snapshot) = ("save", "main", "3f9a")
        (line.milliseconds, line.code, line.cause) = (12.3456, "no_space", "write: No space left on device")
        return line
    }

    @Test func textIsOneLineOfWords() {
        let time = timespec(tv_sec: 1_700_000_000, tv_nsec: 7_000_000)
        let text = line.formatted(.text, time: time)
        #expect(
            text == "time=2023-11-14T22:13:20.007Z level=error operation=save sandbox=main snapshot=3f9a "
                + "ms=12.346 code=no_space cause=\"write: No space left on device\" "
                + "msg=\"the disk is \\\"full\\\"\\nor so\"\n")
        #expect(LogLine(.info, "ok").formatted(.text, time: time).hasSuffix(" level=info msg=ok\n"))
        #expect(LogLine(.info, "").formatted(.text, time: time).hasSuffix(" msg=\"\"\n"))
        let escape = LogLine(.info, "\u{1B}[2J\u{9B}x").formatted(.text, time: time)
        #expect(escape.hasSuffix(" msg=\"\\u001b[2J\\u009bx\"\n"), "a terminal's commands do not get through")
    }

    @Test func jsonIsAnObjectALine() throws {
        let text = line.formatted(.json, time: timespec(tv_sec: 1_700_000_000, tv_nsec: 0))
        #expect(text.hasSuffix("}\n") && text.split(separator: "\n").count == 1)
        let object = try #require(JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
        #expect(object["ms"] as? Double == 12.346 && object["sandbox"] as? String == "main")
        #expect(object["msg"] as? String == "the disk is \"full\"\nor so")
        #expect(object.count == 9, "\(object.keys)")
    }

    @Test func linesBelowTheLevelAreLeftOut() {
        let kept = Kept()
        let log = Log(to: kept, level: .warning)
        for level in LogLevel.allCases { log.write(level, level.rawValue) }
        #expect(kept.lines.with { $0.count } == 2)
        #expect(!log.writes(.info) && log.writes(.warning) && log.writes(.error))
        #expect(LogLevel.allCases.sorted() == [.debug, .info, .warning, .error])
    }

    /// As many threads as write, each line is whole and the files are no larger than they may be.
    @Test func aFileDoesNotGrowWithoutBound() throws {
        var template = Array("/tmp/ckpt-log-XXXXXX".utf8CString)
        try #require(mkdtemp(&template) != nil)
        let path = String(decoding: template.dropLast().map(UInt8.init), as: UTF8.self)
        defer { try? FileManager.default.removeItem(atPath: path) }
        let directory = try Descriptor.open(path, O_RDONLY | O_DIRECTORY)
        let limit: Int64 = 10_000
        let log = Log(to: try FileSink("server.log", in: directory, limit: limit))
        let left = Monitor(4)
        for number in 0..<4 {
            startThread {
                for _ in 0..<200 { log.write(.info, "thread \(number) " + String(repeating: "x", count: 50)) }
                left.with(wake: true) { $0 -= 1 }
            }
        }
        left.wait { $0 == 0 ? () : nil }
        for name in ["server.log", "server.log.old"] {
            let bytes = try Files.read("\(path)/\(name)")
            #expect(bytes.count <= limit && bytes.count > limit / 10, "\(name) has \(bytes.count)")
            let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n")
            #expect(lines.allSatisfy { $0.hasPrefix("time=") && $0.hasSuffix("xx\"") })
            #expect(try FileStatus("\(path)/\(name)").mode & 0o777 == 0o600)
        }
        #expect(try Files.names(in: path).sorted() == ["server.log", "server.log.old"])
    }

    @Test func theJournalGetsFields() throws {
        var template = Array("/tmp/ckpt-journal-XXXXXX".utf8CString)
        try #require(mkdtemp(&template) != nil)
        let path = String(decoding: template.dropLast().map(UInt8.init), as: UTF8.self)
        defer { try? FileManager.default.removeItem(atPath: path) }
        #expect(throws: SystemError.self) { _ = try JournalSink(path: "\(path)/socket") }
        let listening = Descriptor(owning: socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0))
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array("\(path)/socket".utf8)) }
        let bound = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(
                    listening.raw, __CONST_SOCKADDR_ARG(__sockaddr__: $0),
                    socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        try #require(bound == 0)
        Log(to: try JournalSink(path: "\(path)/socket")).write(line)
        let got = try listening.read(upTo: 65_536)
        let message = Array("the disk is \"full\"\nor so".utf8)
        var expected = Array("MESSAGE\n".utf8) + [UInt8(message.count), 0, 0, 0, 0, 0, 0, 0] + message
        expected += Array(
            """

            PRIORITY=3
            SYSLOG_IDENTIFIER=ckpt
            CKPT_OPERATION=save
            CKPT_SANDBOX=main
            CKPT_SNAPSHOT=3f9a
            CKPT_MS=12.346
            CKPT_CODE=no_space
            CKPT_CAUSE=write: No space left on device

            """.utf8)
        #expect(got == expected, "\(String(decoding: got, as: UTF8.self))")
    }
}
