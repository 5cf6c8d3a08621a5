import CCriuImages
import Glibc
import Messages

extension OpenFiles {
    /// What is known of a socket; nothing happens where the entry is none.
    mutating func describeSocket(_ entry: FileEntry, _ file: inout InspectedFile) {
        if let socket = entry.usk?.pointee {
            file.kind = "unix"
            file.opened(socket.flags)
            file.socket = unixSocket(entry.id, socket)
            file.path = file.socket?.local
        } else if let socket = entry.isk?.pointee {
            file.kind = "inet"
            file.opened(socket.flags)
            file.socket = internetSocket(entry.id, socket)
        } else if let socket = entry.nlsk?.pointee {
            file.kind = "netlink"
            file.opened(socket.flags)
            file.socket = InspectedSocket(
                type: "raw", protocol: Names.netlinkProtocol(socket.protocol), local: "\(socket.portid)",
                remote: socket.dst_portid == 0 ? nil : "\(socket.dst_portid)", otherEnd: [])
        } else if let socket = entry.psk?.pointee {
            file.kind = "packet"
            file.opened(socket.flags)
            file.socket = InspectedSocket(
                type: Names.socketType(socket.type), protocol: hexadecimal(UInt64(socket.protocol)),
                local: "interface \(socket.ifindex)", otherEnd: [])
        }
    }

    private mutating func unixSocket(_ id: UInt32, _ socket: UnixSkEntry) -> InspectedSocket {
        ends.addUnixSocket(id, inode: socket.ino, peer: socket.peer)
        let isConnected = socket.state == 1
        return InspectedSocket(
            type: Names.socketType(socket.type),
            state: socket.state == 10 ? "listening" : isConnected ? "connected" : "unconnected",
            local: Self.unixName(socket), remote: socket.peer == 0 ? nil : details.unixNames[socket.peer],
            backlog: socket.state == 10 ? Int(socket.backlog) : nil,
            shutdown: socket.has_shutdown != 0 ? Names.shutdown(socket.shutdown.rawValue) : nil,
            receivedBytes: details.queued[id] ?? 0, otherEnd: [])
    }

    /// A path, or `@NAME` for an abstract name; nil for a socket without one.
    static func unixName(_ socket: UnixSkEntry) -> String? {
        var bytes = socket.name.bytes
        guard !bytes.isEmpty else { return nil }
        if bytes[0] == 0 { return "@" + String(decoding: bytes.dropFirst(), as: UTF8.self) }
        while bytes.last == 0 { bytes.removeLast() }
        let name = String(decoding: bytes, as: UTF8.self)
        guard !name.hasPrefix("/"), let directory = text(socket.name_dir) else { return name }
        return directory + (directory.hasSuffix("/") ? "" : "/") + name
    }

    private mutating func internetSocket(_ id: UInt32, _ socket: InetSkEntry) -> InspectedSocket {
        let local = Self.address(numbers(socket.src_addr, socket.n_src_addr), socket.src_port, socket.family)
        let remote = Self.address(numbers(socket.dst_addr, socket.n_dst_addr), socket.dst_port, socket.family)
        let hasRemote = socket.dst_port != 0
        let name = Names.internetProtocol(socket.proto)
        if hasRemote { ends.addConnection(id, local: "\(name) \(local)", remote: "\(name) \(remote)") }
        let stream = details.streams[socket.ino]
        let isTCP = socket.proto == UInt32(IPPROTO_TCP)
        return InspectedSocket(
            type: Names.socketType(socket.type), protocol: name,
            state: isTCP ? Names.connectionState(socket.state) : hasRemote ? "connected" : "unconnected",
            local: local, remote: hasRemote ? remote : nil,
            backlog: isTCP && socket.state == 10 ? Int(socket.backlog) : nil,
            shutdown: socket.has_shutdown != 0 ? Names.shutdown(socket.shutdown.rawValue) : nil,
            receivedBytes: stream?.received, unsentBytes: stream?.unsent, otherEnd: [])
    }

    /// `ADDRESS:PORT`; IPv6 addresses stand in brackets. CRIU keeps the words of an address as they lie in memory.
    static func address(_ words: [UInt32], _ port: UInt32, _ family: UInt32) -> String {
        let bytes = words.flatMap { word in withUnsafeBytes(of: word) { Array($0) } }
        if family == UInt32(AF_INET), bytes.count >= 4 {
            return bytes.prefix(4).map { String($0) }.joined(separator: ".") + ":\(port)"
        }
        guard bytes.count == 16 else { return "?:\(port)" }
        var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        _ = bytes.withUnsafeBytes { inet_ntop(AF_INET6, $0.baseAddress, &text, socklen_t(text.count)) }
        let address = String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return "[\(address)]:\(port)"
    }

    /// What is known of a descriptor that tells of events.
    mutating func describeEvents(_ entry: FileEntry, _ file: inout InspectedFile) {
        if let event = entry.efd?.pointee {
            file.kind = "eventfd"
            file.opened(event.flags)
            file.counter = event.counter
        } else if let poll = entry.epfd?.pointee {
            file.kind = "eventpoll"
            file.opened(poll.flags)
            file.watches = messages(poll.tfd, poll.n_tfd).map { watch in
                let watch = watch.pointee
                return InspectedWatch(
                    fd: Int(watch.tfd), events: Names.pollEvents(watch.events), data: hexadecimal(watch.data))
            }
        } else if let signals = entry.sgfd?.pointee {
            file.kind = "signalfd"
            file.opened(signals.flags)
            file.signals = Names.signals(signals.sigmask)
        } else if let timer = entry.tfd?.pointee {
            file.kind = "timerfd"
            file.opened(timer.flags)
            file.timer = InspectedTimer(
                kind: "descriptor", clock: Names.clock(timer.clockid),
                remainingSeconds: seconds(timer.vsec, nanoseconds: timer.vnsec),
                intervalSeconds: seconds(timer.isec, nanoseconds: timer.insec),
                expirations: Int64(clamping: timer.ticks))
        } else if let watches = entry.ify?.pointee {
            file.kind = "inotify"
            file.opened(watches.flags)
            file.watches = messages(watches.wd, watches.n_wd).map { watch in
                InspectedWatch(
                    path: Self.path(of: watch.pointee.f_handle), events: Names.fileEvents(watch.pointee.mask))
            }
        } else if let watches = entry.ffy?.pointee {
            file.kind = "fanotify"
            file.opened(watches.flags)
            file.watches = messages(watches.mark, watches.n_mark).map { mark in
                let path =
                    Self.path(of: mark.pointee.ie?.pointee.f_handle) ?? text(mark.pointee.me?.pointee.path)
                return InspectedWatch(path: path, events: Names.fanotifyEvents(mark.pointee.mask))
            }
        }
    }

    /// CRIU finds a path relative to the root of the mount.
    private static func path(of handle: UnsafeMutablePointer<FhEntry>?) -> String? {
        guard let path = text(handle?.pointee.path), !path.isEmpty else { return nil }
        return path.hasPrefix("/") ? path : "/" + path
    }
}

/// A time of two numbers, in seconds.
func seconds(_ seconds: UInt64, nanoseconds: UInt64) -> Double {
    Double(seconds) + Double(nanoseconds) / 1e9
}
