import Messages

/// Values of the messages about what snapshots hold.
extension Sample {
    static let inspectedDump = InspectedDump(
        imageVersion: 2, freezingMs: 0.5, frozenMs: 5.25, memoryDumpMs: 1.5, memoryWriteMs: 0.5,
        pagesScanned: 900, pagesWritten: 300, sharedPagesWritten: 2)

    static let inspectedClocks = InspectedClocks(
        monotonicSeconds: 100.5, boottimeSeconds: 100.5, boottimeOffsetSeconds: -3600.5)

    static let inspectedNamespace = InspectedNamespace(kind: "net", number: 9, own: true, processes: [1, 14])

    static let inspectedIDRange = InspectedIDRange(inside: 0, outside: 0, count: 65536)

    static let inspectedMount = InspectedMount(
        id: 20, parent: 1, mountPoint: "/proc", root: "/", source: "proc", type: "proc", options: "rw",
        flags: ["nosuid"], sharedGroup: 1, masterGroup: 1, external: "usr")

    static let inspectedCredentials = InspectedCredentials(
        uid: 0, effectiveUID: 0, savedUID: 0, filesystemUID: 0, gid: 0, effectiveGID: 0, savedGID: 0,
        filesystemGID: 0, groups: [27], effectiveCapabilities: "0x400", permittedCapabilities: "0x400",
        inheritableCapabilities: "0x0", boundingCapabilities: "0x400", ambientCapabilities: "0x0",
        noNewPrivileges: false)

    static let inspectedLimit = InspectedLimit(name: "nofile", soft: 1024, hard: 4096)

    static let inspectedThread = InspectedThread(
        tid: 14, name: "worker", systemCall: 202, systemCallName: "futex", nice: 0, policy: "other",
        priority: 0, seccomp: "filter", seccompFilters: 1, blockedSignals: ["SIGUSR2"],
        pendingSignals: ["SIGUSR2"], registers: ["rip": "0x401000"], floatingPoint: ["xmm0": "0x0"])

    static let inspectedHandler = InspectedHandler(signal: "SIGINT", action: "handler", address: "0x401000")

    static let inspectedTimer = InspectedTimer(
        kind: "real", id: 0, clock: "monotonic", signal: "SIGALRM", remainingSeconds: 1.5,
        intervalSeconds: 0.5, expirations: 3)

    static let inspectedHolder = InspectedHolder(pid: 15, fd: 0, command: "cat")

    static let inspectedPipe = InspectedPipe(
        id: 5, end: "write", bufferedBytes: 5, capacityBytes: 65536, otherEnd: [inspectedHolder])

    static let inspectedSocket = InspectedSocket(
        type: "stream", protocol: "tcp", state: "established", local: "127.0.0.1:80",
        remote: "127.0.0.1:4000", backlog: 128, shutdown: "write", receivedBytes: 100, unsentBytes: 0,
        otherEnd: [inspectedHolder])

    static let inspectedWatch = InspectedWatch(fd: 4, path: "/tmp", events: ["EPOLLIN"], data: "0x4")

    static let inspectedTerminal = InspectedTerminal(
        kind: "pty", index: 0, session: 14, foregroundGroup: 14, rows: 24, columns: 80,
        otherEnd: [inspectedHolder])

    static let inspectedFile = InspectedFile(
        fd: 3, kind: "file", description: 7, path: "/tmp/log", deleted: true, access: "write",
        flags: ["O_APPEND"], closeOnExec: false, offset: 12, size: 12, pipe: inspectedPipe,
        socket: inspectedSocket, watches: [inspectedWatch], counter: 7, signals: ["SIGCHLD"],
        timer: inspectedTimer, terminal: inspectedTerminal, process: 14)

    static let inspectedPages = InspectedPages(
        storedBytes: 4096, inheritedBytes: 0, zeroBytes: 0, fileBytes: 4096, notSavedBytes: 0)

    static let inspectedRegion = InspectedRegion(
        start: "0x401000", end: "0x402000", permissions: "r-xp", kind: "file", name: "/usr/bin/cat",
        offset: 4096, pages: inspectedPages)

    static let inspectedMemory = InspectedMemory(
        totalBytes: 8192, anonymousBytes: 4096, fileBytes: 4096, sharedBytes: 0, pages: inspectedPages,
        regions: [inspectedRegion])

    static let inspectedProcess = InspectedProcess(
        pid: 14, parent: 1, group: 14, session: 14, state: "alive", command: "python3",
        arguments: ["python3", "-i"], executable: "/usr/bin/python3.11", workingDirectory: "/root",
        rootDirectory: "/", umask: 18, exitStatus: 256, credentials: inspectedCredentials,
        limits: [inspectedLimit], oomScoreAdjustment: 0, threads: [inspectedThread],
        pendingSignals: ["SIGUSR1"], handlers: [inspectedHandler], timers: [inspectedTimer],
        environment: ["HOME=/root"], files: [inspectedFile], memory: inspectedMemory)

    static let inspection = Inspection(
        snapshot: "snap0", dump: inspectedDump, hostname: "box", clocks: inspectedClocks,
        namespaces: [inspectedNamespace], userMap: [inspectedIDRange], groupMap: [inspectedIDRange],
        mounts: [inspectedMount], processes: [inspectedProcess])

    static let memoryListing = MemoryListing(snapshot: "snap0", pid: 14, regions: [inspectedRegion])

    static let memoryPiece = MemoryPiece(address: "0x401000", base64: "aGVsbG8=")

    static let memoryMatch = MemoryMatch(
        address: "0x401010", length: 5, name: "[heap]", contextAddress: "0x401000", contextBase64: "aGVsbG8=")

    static let memoryMatches = MemoryMatches(matches: [memoryMatch], truncated: true, unread: ["/data/file"])

    static let fileState = FileState(type: "file", mode: 420, uid: 0, gid: 0, size: 12, target: "/etc")

    static let fileChange = FileChange(
        path: "/tmp/log", change: "modified", before: fileState, after: fileState,
        patch: "@@ -1 +1 @@\n-a\n+b\n")

    static let processChange = ProcessChange(
        change: "changed", pid: 14, command: "python3 -i", details: ["2 threads more"])

    static let descriptorChange = DescriptorChange(
        change: "changed", pid: 14, fd: 3, before: inspectedFile, after: inspectedFile)

    static let memoryChange = MemoryChange(
        change: "changed", pid: 14, start: "0x401000", end: "0x402000", permissions: "rw-p", name: "[heap]",
        pages: 10, changedPages: 2)

    static let snapshotDiff = SnapshotDiff(
        from: "snap0", to: "snap1", files: [fileChange], processes: [processChange],
        descriptors: [descriptorChange], memory: [memoryChange])

}
