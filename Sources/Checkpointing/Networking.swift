import Criu
import Glibc
import LinuxSystem
import Messages
import SandboxRuntime

extension CheckpointManager {
    /// Sets up the network of a tree that is being restored, and hands the way out over to it once it is complete.
    ///
    /// It is set up while CRIU mounts, which does not need it; `preparing` is that, from the one moment to the other.
    func setUpNetwork(
        at notification: CriuNotification, of sandbox: LiveSandbox, _ spec: SandboxSpec,
        _ preparing: inout Meanwhile<Void, RuntimeError>?
    ) throws(ErrorMessage) {
        if notification.moment == .postSetupNamespaces {
            do throws(RuntimeError) { try preparing?.wait() } catch { throw error.message }
        }
        guard let pid = notification.pid else { return }
        switch notification.moment {
        case .setupNamespaces:
            preparing = Meanwhile { () throws(RuntimeError) in try SandboxNetwork.prepare(pid: pid, for: spec)
            }
        case .postRestore where spec.net == .nat:
            do throws(RuntimeError) { try SandboxNetwork.closeOutsideConnections(pid: pid) } catch {
                throw error.message
            }
            let process: SandboxProcess
            do throws(SystemError) { process = try SandboxProcess(pid: pid) } catch {
                throw ErrorMessage("the restored PID 1 is gone", error)
            }
            try leadOut(sandbox, to: process, spec)
        default: break
        }
    }

    /// Gives a new PID 1 the way out that its sandbox's spec wants, in the place of the one that the sandbox has.
    ///
    /// A sandbox keeps the ports it has; a fork has free ones. When it throws, the sandbox has none.
    func leadOut(
        _ sandbox: LiveSandbox, to process: SandboxProcess, _ spec: SandboxSpec
    ) throws(ErrorMessage) {
        guard spec.net == .nat else { return }
        let record = sandbox.record
        var own = record.wayOut.map(\.ports)
        closeWayOut(of: sandbox)
        do throws(RuntimeError) {
            // Between the choice of a free port and pasta's taking it another program may be faster.
            var attempts = 3
            while true {
                attempts -= 1
                do throws(RuntimeError) {
                    let ports =
                        if let own, Self.fit(own, spec.ports) {
                            try HostPorts.choose(own.map(PortForward.init))
                        } else {
                            try HostPorts.choose(spec.ports, allFree: record.isFork == true)
                        }
                    let way = try WayOut.open(process, ports: ports, in: sandbox.directory) { way in
                        sandbox.noteWayOut(way)
                    }
                    sandbox.with { state in
                        state.wayOut = way
                        state.record.wayOut = way.record
                    }
                    return
                } catch {
                    if attempts == 0 || spec.ports.isEmpty { throw error }
                    own = nil
                }
            }
        } catch { throw error.message }
    }

    /// Ends the way out of a sandbox; its ports stay written down as its own.
    func closeWayOut(of sandbox: LiveSandbox) {
        let way = sandbox.with { state in
            defer { state.wayOut = nil }
            return state.wayOut
        }
        way?.end()
    }

    /// Gives the way out back to what runs, after a restore that came to nothing.
    func leadOutAgain(
        _ sandbox: LiveSandbox, of running: LiveSandbox.Running?, _ record: SandboxRecord, had way: WayOut?
    ) {
        if sandbox.with({ $0.wayOut === way }) { return }
        closeWayOut(of: sandbox)
        guard let running, record.spec.net == .nat, running.process.isAlive else { return }
        do throws(ErrorMessage) { try leadOut(sandbox, to: running.process, record.spec) } catch {
            report("sandbox \(sandbox.name): no way out any more: \(error.description)")
        }
    }

    /// Finds the way out of a sandbox that runs on from an earlier server.
    func takeUpWayOut(of sandbox: LiveSandbox, _ record: SandboxRecord, _ process: SandboxProcess) {
        guard record.spec.net == .nat, let known = record.wayOut else { return }
        let way = WayOut.takeUp(known, of: process, in: sandbox.directory) { sandbox.noteWayOut($0) }
        sandbox.with { $0.wayOut = way }
    }

    /// Whether these ports are an answer to what was asked.
    private static func fit(_ ports: [PublishedPort], _ asked: [PortForward]) -> Bool {
        ports.map { [$0.address ?? "", "\($0.boxPort)", $0.transport.rawValue] }
            == asked.map { [$0.address ?? "", "\($0.boxPort)", $0.transport.rawValue] }
    }
}

extension LiveSandbox {
    /// Writes down another process that leads out of it.
    func noteWayOut(_ way: WayOut) {
        let isOurs = with { $0.wayOut === way }
        if isOurs { try? update { $0.wayOut = way.record } }
    }
}

extension PortForward {
    fileprivate init(_ port: PublishedPort) {
        self.init(
            address: port.address, hostPort: port.hostPort, boxPort: port.boxPort, transport: port.transport)
    }
}
