import Criu
import FoundationEssentials
import Glibc
import LinuxSystem
import Messages
import SandboxRuntime
import SnapshotTree

extension ErrorMessage {
    /// What could not be done for a system call's error, with the stable code and the remedy that go with it.
    init(_ what: String, _ error: SystemError) {
        self.init(
            RuntimeError.kind(error.code), what, hint: RuntimeError.remedy(error.code),
            cause: error.description)
    }

    /// Why a sandbox could not be saved: CRIU's refusal, or what our own part of the dump threw.
    ///
    /// `room` is what keeps files from being written to the store: CRIU's log is one of them.
    static func cannotSave(_ sandbox: String, _ error: CriuError, room: SystemError?) -> ErrorMessage {
        if let own = error.cause as? ErrorMessage { return own }
        switch error.kind {
        case .binaryMissing, .binaryWrong:
            return ErrorMessage(.notInstalled, error.message, hint: error.hint)
        default:
            break
        }
        if let lack = error.lackOfRoom(room) {
            return ErrorMessage(
                RuntimeError.kind(lack.code),
                "sandbox \(sandbox) cannot be saved: the store cannot be written to",
                hint: lack.remedy.map { "the sandbox runs on; \($0)" }, cause: lack.description)
        }
        return ErrorMessage(
            .cannotSave, "sandbox \(sandbox) cannot be saved: \(error.message)",
            hint: error.hint ?? error.binaryHint
                ?? "the sandbox runs on as before; ckpt check \(sandbox) may tell what holds it back",
            cause: error.refusals.isEmpty ? error.evidence : nil)
    }

    /// Why a snapshot could not be brought to life; `commands` are those of its processes, by their ids in the sandbox.
    static func cannotRestore(
        _ snapshot: String, _ error: CriuError, room: SystemError?, commands: () -> [Int32: String]
    ) -> ErrorMessage {
        if let own = error.cause as? ErrorMessage { return own }
        switch error.kind {
        case .binaryMissing, .binaryWrong:
            return ErrorMessage(.notInstalled, error.message, hint: error.hint)
        default: break
        }
        if let lack = error.lackOfRoom(room) {
            return ErrorMessage(
                RuntimeError.kind(lack.code),
                "snapshot \(snapshot) cannot be restored: the store cannot be written to",
                hint: lack.remedy, cause: lack.description)
        }
        guard var refusal = error.refusals.first else {
            return ErrorMessage(
                .cannotRestore, "snapshot \(snapshot) cannot be restored: \(error.message)",
                hint: error.hint ?? error.binaryHint
                    ?? "restore another snapshot; ckpt verify tells whether this one is whole",
                cause: error.evidence)
        }
        if let pid = refusal.process?.pid {
            refusal.process = CriuRefusal.Process(pid: pid, command: commands()[pid])
        }
        return ErrorMessage(
            .cannotRestore, "snapshot \(snapshot) cannot be restored: \(refusal)", hint: refusal.hint)
    }
}

extension CriuError {
    /// The errno of a disk without room that CRIU met, or that we meet when CRIU has nothing to say.
    fileprivate func lackOfRoom(_ room: SystemError?) -> SystemError? {
        for code in [ENOSPC, EDQUOT, EROFS] {
            let text = SystemError(call: "CRIU", code: code)
            if criuErrno == code || log.contains(where: { $0.contains(text.reason) }) { return text }
        }
        return refusals.isEmpty && room?.remedy != nil ? room : nil
    }

    /// What to do when it is another CRIU than ours that fails.
    var binaryHint: String? {
        guard kind == .workerFailed, let named = getenv("CKPT_CRIU").map({ String(cString: $0) }),
            !named.isEmpty
        else { return nil }
        return
            "CKPT_CRIU names \(named): unset it, for the server too (ckpt serve --stop), to use the bundled CRIU"
    }

    /// The last lines of CRIU's log, for a failure that no rule of ours explains.
    var evidence: String? {
        log.isEmpty ? nil : log.suffix(3).joined(separator: "; ")
    }
}

extension CheckpointManager {
    /// Runs work on the store and turns its errors into the API's.
    func mapping<Result>(
        _ body: () throws(SnapshotTreeError) -> Result
    ) throws(ErrorMessage) -> Result {
        do throws(SnapshotTreeError) { return try body() } catch { throw error.message }
    }

    /// Opens something the operation needs.
    func opening(_ body: () throws(SystemError) -> Descriptor) throws(ErrorMessage) -> Descriptor {
        do throws(SystemError) { return try body() } catch {
            throw ErrorMessage("a file could not be opened", error)
        }
    }

    /// The CRIU to use, checked.
    func criu() throws(CriuError) -> CriuBinary { try CriuBinary.find() }
}

/// What this machine is, as a snapshot's manifest records it.
enum Host {
    static let architecture = field { $0.machine }
    static let kernel = field { $0.release }

    private static func field<Characters>(_ choose: (utsname) -> Characters) -> String {
        var name = utsname()
        uname(&name)
        return withUnsafeBytes(of: choose(name)) { bytes in
            String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
    }
}

extension Ground {
    /// As the manifest of a snapshot keeps it.
    var encoded: String {
        guard let bytes = try? JSONEncoder().encode(self) else {
            preconditionFailure("strings always encode")
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    init(manifest: Manifest) throws(ErrorMessage) {
        guard let text = manifest.engine,
            let ground = try? JSONDecoder().decode(Ground.self, from: FoundationEssentials.Data(text.utf8))
        else {
            throw ErrorMessage(
                .cannotRestore, "the manifest of snapshot \(manifest.id) does not say what it stands on")
        }
        self = ground
    }
}
