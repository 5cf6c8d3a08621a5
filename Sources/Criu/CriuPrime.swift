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
        return access(Self.answers, R_OK) == 0
    }

    /// Has CRIU believe that the kernel tells which pages changed, so that a dump can leave memory where it is
    /// (`DumpRequest.leftTo`); whether it does.
    ///
    /// Where the kernel does not (CONFIG_MEM_SOFT_DIRTY), each page looks unchanged, and CRIU would refuse to go by
    /// that. It reads the answer from what it keeps of its questions: workers get a copy, at `copy`, that says
    /// otherwise. To be called after `prime`, and in a mount namespace of one's own: no other user of CRIU may see that.
    public func letMemoryBeLeft(copy: String) throws(CriuError) -> Bool {
        if try tracksMemory() { return true }
        guard try version() == CriuPin.version, var answers = try? Files.read(Self.answers),
            answers.count > Self.trackingAnswer, answers[Self.trackingAnswer] == 0
        else { return false }
        answers[Self.trackingAnswer] = 1
        do throws(SystemError) {
            try Files.write(copy, answers)
            try Mount.bind(copy, at: Self.answers)
        } catch { return false }
        if (try? tracksMemory()) == true { return true }
        try? Mount.detach(Self.answers)
        return false
    }

    private func tracksMemory() throws(CriuError) -> Bool {
        let worker = try CriuWorker.spawn(self)
        let conversation = CriuConversation(socket: worker.socket, worker: worker.process)
        return try conversation.ask(RequestMessage.featureCheck()).tracksMemory == true
    }

    /// Where CRIU keeps what the kernel answered (criu/kerndat.c).
    private static let answers = "/run/criu.kdat"
    /// The place of `has_dirty_track` in it, in bytes (CRIU 4.2, criu/include/kerndat.h, `struct kerndat_s`).
    private static let trackingAnswer = 32
}
