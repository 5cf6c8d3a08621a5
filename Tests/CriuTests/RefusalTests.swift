import Glibc
import LinuxSystem
import Testing

@testable import Criu

extension CriuSuite {
    /// Each refusal is had from the real CRIU, with a program that holds the real thing.
    @Suite struct Refusals {
        static let sentences = [
            "io_uring": "process 2 (hold) holds an io_uring (fd 9), which cannot be checkpointed",
            "ring_mapping": "process 2 (hold) has an io_uring mapped, which cannot be checkpointed",
            "ghost": "process 2 (hold) holds the deleted file /ghost of 1073750016 bytes (fd 9), "
                + "more than the 1073741824 that are saved",
            "perf_event": "process 2 (hold) holds a perf event counter (fd 9), which cannot be checkpointed",
            "userfaultfd": "process 2 (hold) holds a userfaultfd (fd 9), which cannot be checkpointed",
            "packet_pipe":
                "process 2 (hold) holds a pipe in packet mode (fd 9), which cannot be checkpointed",
            "mptcp": "process 2 (hold) holds an MPTCP socket (fd 9), which cannot be checkpointed",
            "pidns": "process 3 (hold) is in a pid namespace of its own, which cannot be checkpointed",
            "userns": "process 2 (hold) is in a user namespace of its own, which cannot be checkpointed",
            "ptrace":
                "process 3 (hold) is traced by process 2 (hold), and a traced process cannot be checkpointed",
        ]

        @Test(arguments: sentences.keys.sorted())
        func namesItsCause(thing: String) throws {
            try inPrivateMounts { binary in
                let box = try TestSandbox(binary, "/hold \(thing)")
                try eventually("\(thing) is held (log: \(box.file("/log") ?? ""))") {
                    box.file("/ready") == "ready\n"
                }
                let error = try #require(throws: CriuError.self) { try box.dump() }
                #expect(error.kind == .dumpFailed)
                #expect(error.refusals.map(\.description) == [Self.sentences[thing]])
                #expect(error.description == Self.sentences[thing])
                #expect(!error.log.isEmpty)
                #expect(kill(box.pid!, 0) == 0)
            }
        }

        /// What the modes of the end-to-end tests' program must be called, by CRIU itself, which a save hardly ever gets
        /// to ask: what is found beforehand does not reach it.
        static let ids = [
            "landlock-ruleset": "landlock-ruleset", "mount-context": "mount-context",
            "vsock": "socket-family",
            "dead-leader": "dead-leader", "secret-memory": "secret-memory", "message-queue": "message-queue",
            "unaccepted": "unaccepted-connection", "corked-udp": "corked-udp", "netlink-data": "netlink-data",
            "credentials-in-queue": "control-message", "replaced-file": "replaced-file",
        ]

        @Test(arguments: ids.keys.sorted())
        func hasItsKnownName(mode: String) throws {
            try inPrivateMounts { binary in
                let box = try TestSandbox(binary, "/refusals \(mode) /ready")
                try eventually("\(mode) is held (log: \(box.file("/log") ?? ""))") {
                    box.file("/ready") == "ready\n"
                }
                let error = try #require(throws: CriuError.self) { try box.dump() }
                #expect(error.refusals.map(\.id) == [Self.ids[mode]], "\(error.log)")
                #expect(error.description.hasPrefix("process 2 (refusals) "), "\(error)")
                #expect(kill(box.pid!, 0) == 0)
            }
        }

        @Test func connectionFromOutsideIsNamed() throws {
            try inPrivateMounts { binary in
                let box = try TestSandbox(binary, "/hold outside")
                let ours = Descriptor(owning: socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0))
                var address = sockaddr_un()
                address.sun_family = sa_family_t(AF_UNIX)
                withUnsafeMutableBytes(of: &address.sun_path) {
                    $0.copyBytes(from: "\(box.root)/run/outside.sock".utf8)
                }
                try eventually("the socket takes a connection") {
                    withUnsafePointer(to: &address) {
                        let size = socklen_t(MemoryLayout<sockaddr_un>.size)
                        return connect(ours.raw, __CONST_SOCKADDR_ARG(__sockaddr_un__: $0), size) == 0
                    }
                }
                try eventually("the connection is taken") { box.file("/ready") == "ready\n" }
                let error = try #require(throws: CriuError.self) { try box.dump() }
                #expect(
                    error.description
                        == "process 2 (hold) holds a Unix socket (fd 9) connected to a process outside the sandbox",
                    "\(error.log)")
            }
        }

        @Test func damagedImageIsNamed() throws {
            try inPrivateMounts { binary in
                let box = try TestSandbox(binary, "/hold")
                try eventually("it runs") { box.file("/ready") == "ready\n" }
                let image = try box.dump()
                try shell("truncate -s 20 \(box.images(image))/core-2.img")
                let error = try #require(throws: CriuError.self) { try box.restore(image) }
                #expect(error.kind == .restoreFailed)
                #expect(!error.log.isEmpty && error.refusals.map(\.id) == ["damaged-image"], "\(error.log)")
            }
        }
    }
}
