/// Sockets that CRIU 4.2 cannot save. The lines are those of criu/sockets.c and criu/sk-*.c.
extension KnownRefusal {
    static let sockets: [KnownRefusal] = [
        KnownRefusal(
            "mptcp", "holds an MPTCP socket{place}, which cannot be checkpointed",
            why: "CRIU knows no multipath connections; Go listens with them where the kernel has them",
            hint: "set net.mptcp.enabled=0 in the sandbox, or GODEBUG=multipathtcp=0 for a Go program",
            beforehand: true, lines: ["Unsupported proto 262 for socket {inode}"]),
        KnownRefusal(
            "internet-protocol", "holds a socket of protocol {protocol}{place}, which cannot be checkpointed",
            why: "CRIU knows TCP, UDP, UDP-Lite, ICMP and raw sockets", hint: "close it before the save",
            beforehand: true, lines: ["Unsupported proto {protocol} for socket {inode}"]),
        KnownRefusal(
            "internet-type", "holds an internet socket of type {type}{place}, which cannot be checkpointed",
            why: "CRIU knows stream, datagram and raw sockets", hint: "close it before the save",
            lines: ["Can't dump {type} inet socket {inode}. "]),
        KnownRefusal(
            "unaccepted-connection", "has not accepted a connection yet on its listening socket{place}",
            why: "a connection that is nobody's descriptor yet cannot be saved",
            hint: "save again in a moment; a server that hangs has to accept first", beforehand: true,
            lines: ["In-flight connection (l) for {inode}"]),
        KnownRefusal(
            "corked-udp", "holds a half-written datagram in its UDP socket{place}",
            why: "what UDP_CORK or MSG_MORE holds back cannot be read back",
            hint: "save when the datagram is sent", lines: ["Can't dump corked dgram socket {inode}"]),
        KnownRefusal(
            "socket-family", "holds a socket of the family {family}{place}, which cannot be checkpointed",
            why: "CRIU knows Unix, internet, netlink and packet sockets", hint: "close it before the save",
            beforehand: true,
            lines: [
                "BUG! Unknown socket collected (family {family})",
                "Sockets (family {family} proto {protocol}) are not collected",
            ]),
        KnownRefusal(
            "netlink-data", "has not read yet what waits in its netlink socket{place}",
            why: "the kernel's messages cannot be put into a queue again",
            hint: "save again in a moment; a program that never reads has to close it", beforehand: true,
            lines: ["netlink: The socket has data to read"]),
        KnownRefusal(
            "netlink-groups", "holds a netlink socket{place} with more groups than CRIU knows",
            why: "CRIU knows the first 32 groups of a socket that is bound", hint: "close it before the save",
            lines: [
                "The netlink socket 0x{inode} has more than 32 groups",
                "The netlink socket 0x{inode} is bound to groups but not to portid",
            ]),
        KnownRefusal(
            "outside-connection", "holds a Unix socket{place} connected to a process outside the sandbox",
            why: "the other end would not be there after a restore",
            hint: "close the connection; what runs inside should be spoken to through ckpt exec",
            lines: [
                "External socket is used", "Unix socket {number} not found",
                "Can't dump half of stream unix connection", "Can't dump name-less external socket",
            ]),
        KnownRefusal(
            "control-message", "holds a Unix socket{place} in which a message with credentials waits",
            why: "who sent a message cannot be put into a queue again",
            hint: "save again in a moment; a program that never reads has to close it",
            lines: ["Control messages in queue, not supported"]),
    ]
}
