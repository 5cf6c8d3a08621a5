import CLinux
import Glibc
import LinuxSystem
import Testing

@testable import SandboxRuntime

private func socket(_ kind: __socket_type = SOCK_DGRAM) throws -> Descriptor {
    let number = Glibc.socket(AF_INET, Int32(kind.rawValue | SOCK_CLOEXEC.rawValue), 0)
    try #require(number >= 0)
    return Descriptor(owning: number)
}

@Suite struct SocketOptionTests {
    @Test func freshSocketsAreUsual() throws {
        var reader = SocketOptionReader()
        for kind in [SOCK_DGRAM, SOCK_STREAM] {
            // Held: the number of one that is closed may be another test's by then.
            let fresh = try socket(kind)
            #expect(reader.unusual(of: fresh.raw, in: getpid()) == [])
        }
    }

    @Test func whatIsSetIsReadAndSetElsewhere() throws {
        let one = try socket()
        // IP_RECVTTL, and SO_TIMESTAMPING with its eight bytes.
        var on: Int32 = 1
        #expect(setsockopt(one.raw, 0, 12, &on, 4) == 0)
        var stamps: [Int32] = [0x12, 0]
        #expect(setsockopt(one.raw, SOL_SOCKET, 37, &stamps, 8) == 0)
        var reader = SocketOptionReader()
        let unusual = reader.unusual(of: one.raw, in: getpid())
        #expect(unusual.map { [$0.level, $0.name] } == [[SOL_SOCKET, 37], [0, 12]])
        #expect(unusual.first?.value == [0x12, 0, 0, 0, 0, 0, 0, 0])
        let other = try socket()
        for option in unusual { try option.set(on: other.raw) }
        #expect(reader.unusual(of: other.raw, in: getpid()) == unusual)
    }

    /// What a snapshot from elsewhere says is set by root: a sandbox must not get by it what it could not set itself.
    @Test func otherOptionsAreRefused() throws {
        let one = try socket()
        let priority = try #require(SocketOption(SOL_SOCKET, SO_PRIORITY, of: one.raw))
        for name in [SO_MARK, SO_PRIORITY, SO_BINDTODEVICE, SO_ATTACH_FILTER] {
            var forged = SocketOption(level: SOL_SOCKET, name: name, value: [5, 0, 0, 0])
            #expect { try forged.set(on: one.raw) } throws: { ($0 as? SystemError)?.code == EPERM }
            forged.value = []
            #expect { try forged.set(on: one.raw) } throws: { ($0 as? SystemError)?.code == EPERM }
        }
        #expect(SocketOption(SOL_SOCKET, SO_PRIORITY, of: one.raw) == priority)
    }

    /// The sandbox could not choose them itself.
    @Test func restrictedCongestionControlIsRefused() throws {
        let one = try socket(SOCK_STREAM)
        let forged = SocketOption(level: 6, name: 13, value: Array("nosuch".utf8) + [0])
        #expect { try forged.set(on: one.raw) } throws: { ($0 as? SystemError)?.code == EPERM }
        try SocketOption(level: 6, name: 13, value: Array("reno".utf8) + [0, 0]).set(on: one.raw)
    }

    @Test func noSuchDescriptorHasNoOptions() throws {
        var reader = SocketOptionReader()
        #expect(reader.unusual(of: 99_999, in: getpid()) == [])
        let file = try Descriptor.open("/dev/null", O_RDONLY)
        #expect(reader.unusual(of: file.raw, in: getpid()) == [])
    }

    /// Nothing makes the write wait, which would never end: the process that could read stands still.
    @Test func countersGetNoMoreThanTheirUpperHalf() throws {
        let counter = Descriptor(owning: eventfd(7, 0))
        try EventCounter.add(5 << 40, to: counter.raw)
        #expect { try EventCounter.add(1 << 32, to: counter.raw) } throws: {
            ($0 as? SystemError)?.code == EINVAL
        }
        var count: UInt64 = 0
        #expect(read(counter.raw, &count, 8) == 8 && count == 5 << 40 + 7)
        #expect { try EventCounter.add(1, to: counter.raw) } throws: { ($0 as? SystemError)?.code == EINVAL }
        // The kernel alone can make it this much (fs/eventfd.c, eventfd_signal).
        let full = Descriptor(owning: eventfd(UInt32.max, 0))
        try EventCounter.add(UInt64(UInt32.max) << 32, to: full.raw)
        #expect(read(full.raw, &count, 8) == 8 && count == .max - 1)
        let file = try Descriptor.open("/dev/null", O_WRONLY)
        #expect { try EventCounter.add(1 << 32, to: file.raw) } throws: {
            ($0 as? SystemError)?.code == EINVAL
        }
    }
}
