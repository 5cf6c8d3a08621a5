public import Messages

/// One value of every message with every field filled.
public enum Sample {
    public static let timings: Timings = {
        var timings = Timings(totalMs: 12.5)
        timings.frozenMs = 5.25
        timings.criuMs = 6
        timings.filesystemMs = 0.5
        timings.memoryMs = 0.75
        timings.publishMs = 1.5
        return timings
    }()

    public static let limits: ResourceLimits = {
        var limits = ResourceLimits()
        limits.cpus = try! CPUQuota("1.5")
        limits.cpuShares = 512
        limits.cpusetCpus = try! NumberSet("0-1")
        limits.cpusetMems = try! NumberSet("0")
        limits.memory = try! ByteSize("512m")
        limits.memoryHigh = try! ByteSize("256m")
        limits.memorySwap = try! SwapLimit("1g")
        limits.pids = 100
        limits.io = [try! IOLimit("/dev/sda 10mb")]
        limits.bestEffort = true
        return limits
    }()

    public static let security: SecurityOptions = {
        var security = SecurityOptions()
        security.capAdd = [try! Capability("NET_ADMIN")]
        security.capDrop = [try! Capability("MKNOD")]
        security.seccomp = .unconfined
        security.noNewPrivileges = false
        security.maskPaths = false
        security.writable = ["/work"]
        security.readable = ["/data"]
        security.allowPorts = [443]
        return security
    }()

    public static let spec: SandboxSpec = {
        var spec = SandboxSpec(
            base: .directory("/srv/debian"), hostname: "box", env: ["KEY": "value"], workdir: "/srv")
        spec.user = "www-data"
        spec.entrypoint = ["/usr/bin/env"]
        spec.volumes = [Volume(host: "/srv/data", path: "/data", mode: .cow)]
        spec.tmpfs = [try! Tmpfs("/scratch:size=64m,mode=700,exec")]
        spec.shmSize = try! ByteSize("64m")
        spec.readOnly = true
        spec.dns = [try! NameServer("1.1.1.1")]
        spec.addHosts = [try! HostAddress("db:10.0.0.7")]
        spec.sysctls = [try! Sysctl("net.core.somaxconn=1024")]
        spec.devices = [try! Device("/dev/fuse")]
        spec.ulimits = [try! Ulimit("nofile=1024:4096")]
        spec.oomScoreAdj = 500
        spec.limits = limits
        spec.security = security
        spec.net = .nat
        spec.ports = [try! PortForward("8080:80")]
        spec.saveOnCrash = true
        return spec
    }()

    public static let sandboxInfo: SandboxInfo = {
        var info = SandboxInfo(
            name: "box", state: .running, pid: 4711, spec: spec, created: 1_700_000_000.5, snapshot: "snap0",
            processes: 3, sessions: ["main"], reason: "killed from outside", ports: [publishedPort])
        info.warnings = ["--io-max cannot be set"]
        info.oomKills = 1
        info.memoryToCome = 1 << 30
        info.usage = sandboxUsage
        return info
    }()

    public static let gcRequest: GCRequest = {
        var request = GCRequest()
        request.keepLast = 3
        request.keepTagged = true
        request.keepWithin = 86_400
        request.keepPaths = true
        request.maxBytes = try! ByteSize("10g")
        request.dryRun = true
        return request
    }()

    public static let gcResult = GCResult(
        deleted: [
            RetiredSnapshot(
                id: "snap0", sandbox: "box", tags: ["t"], created: 1_700_000_000.5, freedBytes: 4096)
        ], removed: ["layers/x"], freedBytes: 9, kept: 2, storedBytes: 1 << 20)

    public static let publishedPort = PublishedPort(
        address: "127.0.0.1", hostPort: 8080, boxPort: 80, transport: .tcp)

    public static let sandboxUsage = SandboxUsage(cpuPercent: 12.5, memoryBytes: 1 << 20, pids: 3)

    public static let pressure = Pressure(
        some: PressureAverages(avg10: 1.5, avg60: 0.5, avg300: 0.25, totalUs: 17),
        full: PressureAverages(avg10: 1.5, avg60: 0.5, avg300: 0.25, totalUs: 17))

    public static let statistics: SandboxStatistics = {
        var cpu = ProcessorStatistics(source: .cgroup, usageNs: 1_000_000, percent: 12.5)
        (cpu.limit, cpu.throttledPeriods, cpu.throttledNs) = (0.5, 3, 1000)
        var memory = MemoryStatistics(source: .cgroup, currentBytes: 1 << 20)
        (memory.peakBytes, memory.limitBytes) = (1 << 21, 1 << 22)
        (memory.swapBytes, memory.oomKills) = (4096, 1)
        var io = IOStatistics(source: .processes, readBytes: 4096, writeBytes: 8192)
        (io.readOperations, io.writeOperations) = (1, 2)
        return SandboxStatistics(
            sandbox: "box", state: .running, time: 1_700_000_000.5, cpu: cpu, memory: memory,
            pids: CountStatistics(source: .cgroup, current: 3, limit: 100), io: io,
            pressure: PressureStatistics(
                cpu: pressure, memory: pressure, io: pressure, unavailable: "psi=0"))
    }()

    public static let memory = MemoryInfo(
        totalBytes: 1 << 24, zeroBytes: 1 << 22, inheritedBytes: 1 << 23, storedBytes: 1 << 22)

    public static let diskShare = DiskShare(logicalBytes: 1 << 24, ownBytes: 1 << 20, sharedBytes: 1 << 22)
    public static let origin = OriginInfo(
        architecture: "x86_64", kernel: "6.1.0", criu: "4.2", format: 2, cpu: "AMD EPYC",
        cpuFeatures: ["avx", "avx2"])
    public static let usage = SnapshotUsage(
        id: "snap0", tags: ["good"], process: diskShare, layers: diskShare)
    public static let usageReport = UsageReport(
        snapshots: [usage], processBytes: 1 << 20, layerBytes: 1 << 16)
    public static let damage = Damage(
        path: "snapshots/snap0/process/core-1.img", problem: "is missing", snapshots: ["snap0"])
    public static let storedObject = StoredObject(
        kind: .layer, id: "0123456789ab", digest: "99aa06d3014798d86001c324468d497f", bytes: 4096)

    public static let importResult = ImportResult(
        snapshot: "aabbccddeeff", imported: ["aabbccddeeff"], known: ["0123456789ab"], newObjects: 1,
        knownObjects: 2, bytes: 4096, warnings: ["its base, the directory /srv/debian, is not here"],
        durationMs: 12.5)

    public static let verifyReport = VerifyReport(
        snapshots: ["snap0"], files: 12, bytes: 1 << 20, durationMs: 1.5, damage: [damage])

    public static let snapshotInfo: SnapshotInfo = {
        var info = SnapshotInfo(
            id: "snap0", parent: "snap", children: ["snap1"], tags: ["good"], message: "before the test",
            sandbox: "box", created: 1_700_000_000.5, spec: spec, layers: ["layer0"], processBytes: 1 << 20,
            layerBytes: 1 << 16, standing: ["box"], processes: 3, timings: timings, memory: memory)
        info.origin = origin
        info.storage = diskShare
        (info.engine, info.durable, info.engineReason) = (.twin, false, "it has several threads")
        info.warnings = ["process 14 (redis-server) loses something"]
        info.crash = crash
        return info
    }()

    public static let restoreResult: RestoreResult = {
        var result = RestoreResult(sandbox: sandboxInfo, snapshot: "snap0", timings: timings)
        result.warnings = ["the CPU affinity of process 14 (redis-server) could not be put back"]
        result.engine = .twin
        return result
    }()

    public static let saveProblem = SaveProblem(
        id: "io-uring", pid: 14, command: "redis-server",
        message: "process 14 (redis-server) holds an io_uring",
        hint: "turn it off")
    public static let checkResult = CheckResult(
        sandbox: "box", problems: [saveProblem], warnings: ["process 14 (redis-server) loses something"])

    public static let crash = CrashInfo(
        pid: 14, thread: 15, command: "app", signal: 11, code: 1, address: 4096)

    public static let debugSession = DebugSession(
        sandbox: "debug-1", snapshot: "snap0",
        processes: [DebuggedProcess(pid: 14, hostPid: 4711, command: "app -x")], crash: crash)

    public static let logRecord = LogRecord(
        time: 1_700_000_000.5, exec: "e1", stream: "stdout", text: "hello\n")

    public static let doctorReport = DoctorReport(checks: [
        DoctorCheck(name: "criu", status: .warning, detail: "an older kernel", hint: "update it")
    ])

    public static let execRequest: ExecRequest = {
        var request = ExecRequest(argv: ["make", "test"])
        request.id = "build-1"
        request.session = "main"
        request.cwd = "/srv"
        request.env = ["KEY": "value"]
        request.user = "www-data"
        request.timeout = 60
        request.stdin = "aGVsbG8="
        request.interactive = true
        request.tty = true
        request.rows = 24
        request.columns = 80
        request.stdoutOffset = 10
        request.stderrOffset = 20
        request.command = .text("make test | tail")
        request.maxOutput = 4096
        request.saveOnCrash = true
        return request
    }()

    public static let execResult: ExecResult = {
        var result = ExecResult(id: "build-1", exitCode: 130, signal: 2, timedOut: false, durationMs: 17.5)
        result.stdout = "out"
        result.stderr = "err"
        result.stdoutBase64 = "/w=="
        result.stderrBase64 = "/w=="
        return result
    }()

    public static let jobInfo: JobInfo = {
        var job = JobInfo(id: "build-1", command: "make test", state: .exited, started: 1_700_000_000.5)
        job.session = "main"
        job.pid = 7
        job.exitCode = 130
        job.signal = 2
        job.ended = 1_700_000_001.5
        return job
    }()

    public static let outputPiece = OutputPiece(offset: 10, next: 11, text: "x", base64: "/w==")

    public static let progress = ProgressInfo(
        task: 1, phase: "memory", done: 1 << 20, total: 1 << 24, unit: .bytes, elapsedMs: 500.5)

    public static let event: Event = {
        var event = Event(.crashed, id: 1_795_261_392_543_001, time: 1_700_000_000.5)
        event.sandbox = "box"
        event.snapshot = "snap0"
        event.operation = "save"
        event.durationMs = 12.5
        event.message = "process 14 (app) got signal 11"
        event.exitCode = 139
        event.signal = 11
        event.count = 1
        event.bytes = 1 << 20
        event.names = ["try-1"]
        event.timings = timings
        event.error = ErrorMessage(.badValue, "what happened", hint: "what to do", cause: "why")
        event.progress = progress
        return event
    }()

    public static let process = SandboxedProcess(
        pid: 7, parent: 1, hostPid: 4718, user: "www-data", uid: 33, state: "S", threads: 2, cpuPercent: 12.5,
        cpuSeconds: 0.25, rssBytes: 4096, started: 1_700_000_000.5, command: "nginx: worker")

    public static let fileInfo = FileInfo(
        name: "link", nameBase64: "/w==", kind: .symlink, mode: 0o777, uid: 0, gid: 0, size: 7, links: 1,
        modified: 1_700_000_000.5, target: "../there")

    /// All of them. A test holds the API's description to their fields, and a field that is nil here fails
    /// it.
    public static let all: [any Codable & Sendable] = [
        VersionInfo(version: "0.1.0", format: 1, api: "v1", pid: 1, durability: .snapshot),
        doctorReport, doctorReport.checks[0], Done(), spec, limits, security, timings,
        CreateRequest(name: "box", spec: spec), sandboxInfo, publishedPort,
        SandboxList(sandboxes: [sandboxInfo]),
        KillRequest(signal: 9), logRecord, LogList(records: [logRecord]),
        SaveRequest(
            tag: "good", message: "before the test", stop: true, durability: .always, engine: .twin),
        memory,
        snapshotInfo, crash,
        DebugRequest(snapshot: "good"), debugSession, debugSession.processes[0],
        saveProblem, checkResult, storedObject, ObjectList(objects: [storedObject]),
        ExportRequest(withAncestors: true, have: [storedObject], level: 3), importResult,
        TreeInfo(snapshots: [snapshotInfo], sandboxes: [sandboxInfo]),
        RestoreRequest(snapshot: "snap0", verify: true, suspended: true, memory: .whole, engine: .criu),
        diskShare, origin,
        usage,
        usageReport, damage,
        verifyReport, VerifyRequest(snapshots: ["snap0"]), UsageRequest(snapshots: ["snap0"]),
        restoreResult,
        ForkRequest(source: "snap0", count: 2, prefix: "try", verify: true, memory: .lazy),
        ForkResult(sandboxes: [sandboxInfo], snapshot: "snap0", timings: timings, eachMs: [1.5]),
        DeleteResult(deleted: ["snap0"], freedBytes: 7), gcRequest, gcResult,
        HandoverInfo(pid: 1, listener: 9, metricsListener: 10), ShutdownRequest(keepSocket: true),
        gcResult.deleted[0],
        jobInfo, JobList(jobs: [jobInfo]), outputPiece, JobStopRequest(signal: 15, grace: 5),
        JobOutput(job: jobInfo, stdout: outputPiece, stderr: outputPiece),
        WaitResult(ended: true, state: .dead, exitCode: 137, reason: "killed from outside"),
        sandboxUsage, statistics, statistics.cpu, statistics.memory, statistics.pids, statistics.io,
        statistics.pressure, pressure, pressure.some, ReclaimRequest(bytes: 4096),
        ReclaimResult(beforeBytes: 8192, afterBytes: 4096), UpdateRequest(limits: limits, lift: [.cpus]),
        process, ProcessTable(processes: [process]), event, progress,
        ArchiveResult(leftOut: ["dev/sda"]), fileInfo,
        DirectoryListing(entries: [fileInfo], truncated: false),
        execRequest, execResult, ExecStarted(id: "build-1", stdinOffset: 3),
        SessionTerms(line: ". text\n", commands: 7),
        CallReturn(id: "call-1", commands: 8, elapsedMs: 2.5, remainingMs: 0),
        ErrorMessage(.badValue, "what happened", hint: "what to do", cause: "why"),
        ErrorEnvelope(error: ErrorMessage(.badValue, "what happened", hint: "what to do", cause: "why")),
        inspectedDump, inspectedClocks, inspectedNamespace, inspectedIDRange, inspectedMount,
        inspectedCredentials, inspectedLimit, inspectedThread, inspectedHandler, inspectedTimer,
        inspectedHolder, inspectedPipe, inspectedSocket, inspectedWatch, inspectedTerminal,
        inspectedFile, inspectedPages, inspectedRegion, inspectedMemory, inspectedProcess,
        inspection, memoryListing, memoryPiece, memoryMatch, memoryMatches, fileState, fileChange,
        processChange, descriptorChange, memoryChange, snapshotDiff,
    ]
}
