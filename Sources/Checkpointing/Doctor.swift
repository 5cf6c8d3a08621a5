import Criu
import Glibc
import LinuxSystem
public import Messages
import SandboxRuntime
import SnapshotTree

extension CheckpointManager {
    public func version() throws(ErrorMessage) -> VersionInfo {
        VersionInfo(
            version: Product.version, format: Product.storeFormat, api: Product.api, pid: getpid(),
            durability: store.durability)
    }

    /// Looks at what ckpt needs of this machine; with `selfTest` a sandbox is made, saved, restored and forked too.
    public func doctor(selfTest: Bool) throws(ErrorMessage) -> DoctorReport {
        var checks = [MachineCheckup.criu(), initCheck()] + MachineCheckup.kernelAndLimits()
        checks += [groupCheck()] + StoreCheckup(root: root, durability: store.durability).checks()
        checks.append(putRight.with { $0.check })
        if selfTest { checks += selfTests() }
        return DoctorReport(checks: checks)
    }

    private func initCheck() -> DoctorCheck {
        DoctorCheck(name: "ckpt-init", status: .ok, detail: "version \(initProgram.currentID)")
    }

    /// Which limits of sandboxes the kernel can hold.
    private func groupCheck() -> DoctorCheck {
        let places = control.places()
        let missing = places.filter { $0.problem != nil }.map(\.controller)
        let found = places.compactMap { place in
            place.problem == nil ? "\(place.controller) on v\(place.isUnified ? 2 : 1)" : nil
        }
        let pressure = ControlGroups.countsPressure ? "pressure is counted" : "pressure is not counted"
        guard let first = places.first(where: { $0.problem != nil }) else {
            return DoctorCheck(
                name: "cgroups", status: .ok, detail: (found + [pressure]).joined(separator: ", "))
        }
        return DoctorCheck(
            name: "cgroups", status: .warning,
            detail: "not usable: \(missing.joined(separator: ", ")) (\(first.problem!)); "
                + (found + [pressure]).joined(separator: ", "),
            hint: "limits that need them are refused, or left out with --best-effort; in a container, mount "
                + "/sys/fs/cgroup writable, and under systemd set Delegate=yes")
    }
}
