import Foundation
import Glibc
import LinuxSystem
import Messages
import Server
import ServerFixture
import Testing

@testable import Client

struct LendingTests {
    @Test func termsAndDescriptorsAreHandedOver() throws {
        try TestServer.run { (server) throws in
            let borrowed = try Borrowing(root: server.root.path, sandbox: "box", session: "main")
            #expect(borrowed.terms == SessionTerms(line: ". main\n", commands: 7))
            let ends = [
                borrowed.input, borrowed.control, borrowed.output, borrowed.error, borrowed.text,
            ]
            #expect(Set(ends).count == 5)
            for end in ends {
                #expect(fcntl(end, F_GETFD) == FD_CLOEXEC)
                #expect(
                    try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\(end)")
                        == "/dev/null")
            }
            borrowed.end()
            #expect(server.engine.waits(for: "main taken back with nothing"))
        }
    }

    @Test func aCallIsHandedBack() throws {
        try TestServer.run { (server) throws in
            let borrowed = try Borrowing(root: server.root.path, sandbox: "box", session: "main")
            let refused = errorOf { () throws(ErrorMessage) in
                try borrowed.handBack(CallReturn(id: "refused", commands: 8, elapsedMs: 1))
            }
            #expect(refused?.code == .inUse)
            try borrowed.handBack(CallReturn(id: "call-1", commands: 8, elapsedMs: 1))
            #expect(server.engine.waits(for: "main taken back with call-1"))
        }
    }

    @Test func whatCannotBeLentIsAnError() throws {
        try TestServer.run { (server) throws in
            let error = errorOf { () throws(ErrorMessage) in
                _ = try Borrowing(root: server.root.path, sandbox: "nobody", session: "main")
            }
            #expect(error?.code == .unknownSandbox)
        }
    }
}
