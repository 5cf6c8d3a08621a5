import CLinux
import Glibc
import LinuxSystem
public import Messages

extension SandboxProcess {
    /// Starts PID 1 in fresh namespaces on a new root over the base alone, sets its loopback up, and returns once it
    /// listens.
    ///
    /// When it throws no process is left of it; the root's directories are.
    public static func start(
        root: RootFilesystem, staging: String, hostname: String, walls: SandboxWalls, spec: SandboxSpec,
        groups: SandboxGroups = SandboxGroups()
    ) throws(RuntimeError) -> SandboxProcess {
        try root.prepare(hostname: hostname)
        return try start(
            root: root, over: [], clocks: nil, staging: staging, hostname: hostname, walls: walls, spec: spec,
            groups: groups)
    }

    /// The same over the layers of a snapshot, topmost first, with clocks that differ from the machine's as
    /// /proc/PID/timens_offsets says. An open `device` becomes its descriptor 5.
    public static func start(
        root: RootFilesystem, over layers: [String], clocks: String?, staging: String, hostname: String,
        walls: SandboxWalls, spec: SandboxSpec, groups: SandboxGroups, device: Int32 = -1
    ) throws(RuntimeError) -> SandboxProcess {
        let plan = try planFile(hostname: hostname, walls: walls, keepsDevice: device >= 0)
        if !layers.isEmpty { try root.prepareVolumes() }
        var ends: [Int32] = [-1, -1]
        try system { () throws(SystemError) in _ = try retrying("pipe2") { pipe2(&ends, O_CLOEXEC) } }
        let status = Descriptor(owning: ends[0])
        let pid: Int32
        do {
            let statusForChild = Descriptor(owning: ends[1])
            pid = try spawn(
                root, over: layers, clocks: clocks, staging: staging, plan: plan, status: statusForChild,
                device: device, sharesNetwork: spec.net == .host, groups: groups)
        }
        let process = try adopt(pid)
        do throws(RuntimeError) {
            try awaitReport(status)
            try SandboxNetwork.prepare(pid: pid, for: spec)
            try walls.setMemoryScore(of: pid)
            return process
        } catch {
            process.kill()
            _ = process.ended(within: 5000)
            throw error
        }
    }

    /// What PID 1 does before it listens: steps of NUL-terminated fields (Sources/SandboxInit/plan.c).
    private static func planFile(
        hostname: String, walls: SandboxWalls, keepsDevice: Bool
    ) throws(RuntimeError) -> Descriptor {
        let inert = String(MS_NOSUID | MS_NOEXEC)
        let steps =
            [
                ["clocks"],
                [
                    "mount", "devpts", "/dev/pts", "devpts", inert,
                    "newinstance,ptmxmode=0666,mode=0620,gid=5",
                ],
                ["hostname", hostname],
            ] + walls.steps + (keepsDevice ? [["device"]] : []) + [["done"]]
        let bytes: [UInt8] = steps.joined().flatMap { (field: String) -> [UInt8] in Array(field.utf8) + [0] }
        return try system { () throws(SystemError) -> Descriptor in
            let file = Descriptor(
                owning: try retrying("memfd_create") { memfd_create("plan", UInt32(MFD_CLOEXEC)) })
            try file.writeAll(bytes)
            try retrying("lseek") { lseek(file.raw, 0, SEEK_SET) }
            return file
        }
    }

    private static func spawn(
        _ root: RootFilesystem, over layers: [String], clocks: String?, staging: String,
        plan: borrowing Descriptor, status: borrowing Descriptor, device: Int32,
        sharesNetwork: Bool, groups: SandboxGroups
    ) throws(RuntimeError) -> Int32 {
        // Beside the clone, which makes the namespaces meanwhile.
        let mounts = OpenMounts(root, over: layers)
        let binds =
            [(source: root.view.sysfs, path: "sys")]
            + root.view.masks.map { (source: $0.source, path: $0.path) }
        let paths = CStrings(root.view.mounts.map(\.path))
        let (sources, targets) = (CStrings(binds.map(\.source)), CStrings(binds.map(\.path)))
        let names = CStrings([staging, "/.ckpt/init"] + (clocks.map { [$0] } ?? []))
        let nursery = sharesNetwork ? nil : NetworkNursery.shared
        var failure = clinux_spawn_failure()
        var pidfd: Int32 = -1
        let (planNumber, statusNumber) = (plan.raw, status.raw)
        let pid = groups.withOpenFiles { files in
            withExtendedLifetime(mounts) {
                files.withUnsafeBufferPointer { files in
                    var sandbox = clinux_sandbox(
                        staging: names.base[0], mount_fds: mounts.numbers, mount_paths: paths.base,
                        mounts: Int32(mounts.count),
                        fill_mounts: { Unmanaged<OpenMounts>.fromOpaque($0!).takeUnretainedValue().fill() },
                        context: Unmanaged.passUnretained(mounts).toOpaque(), bind_sources: sources.base,
                        bind_paths: targets.base,
                        binds: Int32(binds.count), init: names.base[1], plan_fd: planNumber,
                        status_fd: statusNumber, device_fd: device,
                        clocks: clocks == nil ? nil : names.base[2],
                        shares_network: sharesNetwork ? 1 : 0,
                        nursery_fd: nursery?.inside ?? -1, own_netns_fd: nursery?.outside ?? -1,
                        cgroup_procs: files.baseAddress,
                        cgroup_count: Int32(files.count))
                    return clinux_spawn_sandbox(&sandbox, &pidfd, &failure)
                }
            }
        }
        try mounts.check()
        guard pid > 0 else { throw .start(step: String(cString: failure.step), code: failure.code) }
        close(pidfd)
        return pid
    }

    /// Takes over a child that was just started, and ends it where that fails.
    static func adopt(_ pid: Int32) throws(RuntimeError) -> SandboxProcess {
        do throws(SystemError) { return try SandboxProcess(pid: pid) } catch {
            Glibc.kill(pid, SIGKILL)
            waitpid(pid, nil, 0)
            throw .system(error)
        }
    }

    /// Reads PID 1's report: `ok`, or an errno, a step and what it was about.
    private static func awaitReport(_ status: borrowing Descriptor) throws(RuntimeError) {
        let bytes: [UInt8]
        lookOut(for: status.raw)
        do throws(SystemError) { bytes = try status.read(upTo: 512) } catch { throw .system(error) }
        let text = String(decoding: bytes, as: UTF8.self).split(separator: "\n").first ?? ""
        if text == "ok" { return }
        let words = text.split(separator: " ", maxSplits: 1)
        guard words.count == 2, let code = Int32(words[0]) else {
            throw .start(step: "ckpt-init ended before it listened", code: ECHILD)
        }
        throw .start(step: String(words[1]), code: code)
    }

    /// Changes the host name that a sandbox sees.
    public static func setHostname(_ name: String, ofSandboxOf pid: Int32) throws(RuntimeError) {
        _ = try system { () throws(SystemError) in
            try retrying("sethostname", name) { clinux_set_hostname(pid, name) }
        }
    }
}

/// The mounts of a root, attached nowhere, which a thread of its own opens.
private final class OpenMounts {
    /// Their descriptors, once they are filled in; -1 for what needs none.
    let numbers: UnsafeMutablePointer<Int32>
    let count: Int
    private let opening: Meanwhile<[Int32], RuntimeError>

    init(_ root: RootFilesystem, over layers: [String]) {
        count = root.view.mounts.count
        numbers = .allocate(capacity: max(count, 1))
        numbers.initialize(repeating: -1, count: max(count, 1))
        opening = Meanwhile { () throws(RuntimeError) in
            // Descriptors are ~Copyable and cannot sit in an array: closed by hand.
            var opened: [Int32] = []
            do throws(RuntimeError) {
                try root.open(over: layers) { (mount, _) throws(SystemError) in
                    if let mount { opened.append(mount.release()) } else { opened.append(-1) }
                }
            } catch {
                for number in opened where number >= 0 { close(number) }
                throw error
            }
            return opened
        }
    }

    deinit {
        for number in (try? opening.wait()) ?? [] where number >= 0 { close(number) }
        numbers.deallocate()
    }

    /// Waits for them; an errno, and `check` tells more.
    func fill() -> Int32 {
        guard let opened = try? opening.wait() else { return ECANCELED }
        for (index, number) in opened.enumerated() { numbers[index] = number }
        return 0
    }

    /// Throws why they could not be opened.
    func check() throws(RuntimeError) { _ = try opening.wait() }
}

/// Strings for C, as long as this lives.
private final class CStrings {
    let base: UnsafeMutablePointer<UnsafePointer<CChar>?>
    private let count: Int

    init(_ strings: [String]) {
        count = strings.count
        base = .allocate(capacity: max(count, 1))
        for (index, string) in strings.enumerated() {
            (base + index).initialize(to: UnsafePointer(strdup(string)))
        }
    }

    deinit {
        for index in 0..<count { free(UnsafeMutablePointer(mutating: base[index])) }
        base.deallocate()
    }
}
