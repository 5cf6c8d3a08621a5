import Glibc
import LinuxSystem
import Messages
import ServerFixture
import Testing

@testable import Client

struct ArchiveTests {
    private func file(_ server: TestServer, _ bytes: [UInt8] = []) throws -> Descriptor {
        let file = try Descriptor.open("\(server.root.path)/archive", O_RDWR | O_CREAT | O_TRUNC)
        try file.writeAll(bytes)
        lseek(file.raw, 0, SEEK_SET)
        return file
    }

    @Test(arguments: [0, 1, 65_536, 40_000_001])
    func download(size: Int) throws {
        try TestServer.run { (server) throws in
            let file = try file(server)
            let client = server.client
            try client.readArchive("box", path: "/pattern/\(size)", to: file)
            lseek(file.raw, 0, SEEK_SET)
            #expect(try file.readAll() == Pattern.bytes(at: 0, size))
            #expect(try client.version().api == "v1")
        }
    }

    @Test(arguments: [0, 1, 65_536, 40_000_001])
    func upload(size: Int) throws {
        try TestServer.run { (server) throws in
            let file = try file(server, Pattern.bytes(at: 0, size))
            let client = server.client
            try client.writeArchive("box", path: "/in/ä?&", from: file)
            #expect(server.engine.waits(for: "archive of \(size) bytes in /in/ä?&"))
            #expect(try client.version().api == "v1")
        }
    }

    @Test func anErrorBeforeTheFirstByteIsAnAnswer() throws {
        try TestServer.run { (server) throws in
            let file = try file(server)
            let error = errorOf { () throws(ErrorMessage) in
                try server.client.readArchive("box", path: "/nothing", to: file)
            }
            #expect(error == ErrorMessage(.notFound, "there is no /nothing in box"))
            let sandbox = errorOf { () throws(ErrorMessage) in
                try server.client.writeArchive("nobody", path: "/", from: file)
            }
            #expect(sandbox?.code == .unknownSandbox)
        }
    }

    @Test func aDownloadThatBreaksOffIsNoSuccess() throws {
        try TestServer.run { (server) throws in
            let file = try file(server)
            let error = errorOf { () throws(ErrorMessage) in
                try server.client.readArchive("box", path: "/late/10000000", to: file)
            }
            #expect(error?.code == .internal)
        }
    }

    @Test func aRefusedUploadTellsWhy() throws {
        try TestServer.run { (server) throws in
            let file = try file(server, Pattern.bytes(at: 0, 30_000_000))
            let error = errorOf { () throws(ErrorMessage) in
                try server.client.writeArchive("box", path: "/refuse", from: file)
            }
            #expect(error == ErrorMessage(.noSpace, "the disk is full"))
        }
    }

    @Test func anUploadThatBreaksOffEndsTheEnginesStream() throws {
        try TestServer.run { (server) throws in
            do {
                let socket = try server.connect()
                try socket.send(
                    "PUT /v1/sandboxes/box/archive?path=/cut HTTP/1.1\r\nHost: x\r\n"
                        + "Content-Length: 1000\r\n\r\n")
                try socket.sendAll(Pattern.bytes(at: 0, 10))
                #expect(server.engine.waits(for: "archive for /cut begins"))
            }
            #expect(server.engine.waits(for: "archive of 10 bytes in /cut"))
        }
    }

    @Test func aDownloadThatNobodyReadsStopsTheEngine() throws {
        try TestServer.run { (server) throws in
            do {
                let socket = try server.connect()
                try socket.send(
                    "GET /v1/sandboxes/box/archive?path=/pattern/1000000000 HTTP/1.1\r\nHost: x\r\n\r\n")
                _ = try socket.read(upTo: 1000)
            }
            #expect(server.engine.waits(for: "the archive's reader left"))
        }
    }
}
