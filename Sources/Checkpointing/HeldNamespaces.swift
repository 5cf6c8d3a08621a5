import LinuxSystem
import Messages
import SandboxRuntime

/// Keeps the mounts and the network of a sandbox whose processes end: whoever waits for that, or for what takes their place,
/// has the processors before the kernel takes those down, and waits for all processors at each.
final class HeldNamespaces: Sendable {
    private let mounts: Descriptor?
    private let network: Descriptor?

    init(of process: SandboxProcess, _ spec: SandboxSpec) {
        // What it has of the host is not to be busy any more when it has ended.
        mounts = spec.volumes.isEmpty ? try? process.mountNamespace() : nil
        network = spec.net == .none ? try? process.networkNamespace() : nil
    }
}
