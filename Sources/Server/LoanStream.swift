import CLinux
import FoundationEssentials
import Glibc
import LinuxSystem
import Messages

/// A connection on which a session is lent: it tells the terms and hands the descriptors over, and then carries what becomes of
/// the loan. Its end ends that.
struct LoanStream {
    private let service: Service
    private let socket: Int32

    init(_ service: Service, _ socket: Int32) {
        self.service = service
        self.socket = socket
    }

    /// Carries the loan to its end.
    func run(sandbox: String, session: String) {
        let observation = Observation(operation: "lendSession", sandbox: sandbox)
        let loan: any SessionLoan
        do throws(ErrorMessage) {
            loan = try service.engine.lend(sandbox, session: session)
        } catch {
            observation.end(service.telemetry, error)
            say(ErrorEnvelope(error: error))
            return
        }
        observation.end(service.telemetry)
        var isLent = handOver(loan)
        while isLent, attend(loan), let request = readLine() {
            do throws(ErrorMessage) {
                try loan.takeBack(try JSONBody.decode(CallReturn.self, from: request))
                isLent = false
                say(LoanOver())
            } catch { say(ErrorEnvelope(error: error)) }
        }
        if isLent { try? loan.takeBack(nil) }
    }

    private func handOver(_ loan: any SessionLoan) -> Bool {
        let terms = JSONBody.encode(loan.terms) + [UInt8(ascii: "\n")]
        return loan.handOver { descriptors in
            clinux_send_descriptors(socket, terms, Int32(terms.count), descriptors, Int32(descriptors.count))
                == 0
        }
    }

    /// Between two looks whether calls are made, in milliseconds.
    private static let (soonest, latest): (Int32, Int32) = (10, 200)

    /// Waits until the client says something or is gone; meanwhile the processors stay awake while it makes calls.
    private func attend(_ loan: any SessionLoan) -> Bool {
        var (last, pause) = (loan.lastUse, Self.soonest)
        while true {
            var poller = pollfd(fd: socket, events: Int16(POLLIN), revents: 0)
            let ready = poll(&poller, 1, service.wakefulness == nil ? -1 : pause)
            if ready > 0 { return true }
            if ready < 0, errno != EINTR { return false }
            let use = loan.lastUse
            pause = use == last ? min(pause * 2, Self.latest) : Self.soonest
            if use != last { service.wakefulness?.stir() }
            last = use
        }
    }

    private func say(_ answer: some Encodable) {
        let line = JSONBody.encode(answer) + [UInt8(ascii: "\n")]
        _ = clinux_send_descriptors(socket, line, Int32(line.count), nil, 0)
    }

    /// One line of the client's, which are short; nil at the end.
    private func readLine() -> [UInt8]? {
        var line: [UInt8] = []
        var byte: UInt8 = 0
        while line.count < 4096 {
            let got = recv(socket, &byte, 1, 0)
            if got < 0, errno == EINTR { continue }
            guard got == 1 else { return nil }
            if byte == UInt8(ascii: "\n") { return line }
            line.append(byte)
        }
        return nil
    }

    private struct LoanOver: Encodable {}
}
