import Glibc
import LinuxSystem

extension CriuBinary {
    /// Asks the binary for its version. Throws `CriuError` with `.workerFailed`.
    public func version() throws(CriuError) -> CriuVersion {
        try CriuWorker.spawn(self).version()
    }

    /// Makes CRIU probe the kernel now and keep the answers for every worker to come, which spares each of them 20
    /// to 40 ms.
    ///
    /// CRIU keeps them only on a tmpfs at /run (criu/kerndat.c), so the caller gives itself a private one first;
    /// returns whether they were kept. The worker probes from `network`, or from this process's network namespace:
    /// the loopback device there must be up. Throws `CriuError` with `.workerFailed`.
    public func prime(network: Int32? = nil) throws(CriuError) -> Bool {
        let worker = try CriuWorker.spawn(self, in: CriuSurroundings(network: network))
        let conversation = CriuConversation(socket: worker.socket, worker: worker.process)
        _ = try conversation.ask(RequestMessage.featureCheck())
        if Mount.isTmpfs("/run") {
            // Without this file each restore makes itself a mount namespace to create it in (criu/net.c,
            // prepare_xtable_lock).
            let lock = open("/run/xtables.lock", O_CREAT | O_RDONLY | O_CLOEXEC, 0o600)
            if lock >= 0 { close(lock) }
        }
        return access("/run/criu.kdat", R_OK) == 0
    }
}
