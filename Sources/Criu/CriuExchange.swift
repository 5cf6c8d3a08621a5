import LinuxSystem

/// One dump or restore as it is talked over with the worker, up to its end or the deadline.
struct CriuExchange {
    var conversation: CriuConversation
    /// The worker's pid.
    let worker: Int32
    /// Nanoseconds of CLOCK_MONOTONIC; nil waits for ever.
    var deadline: UInt64?
    /// Whether the root process is a child of ours, for whose end we look.
    var ownsRoot = false
    /// What the caller's handler threw; every notification after that is refused.
    var stopped: (any Error)?
    /// Whether the deadline has passed; every notification after that is refused.
    var isExpired = false
    /// The root process of a restore, once CRIU has told its pid.
    var root: Int32?

    /// How it ended.
    enum Outcome {
        case success(ResponseMessage)
        case failure(ResponseMessage)
        /// The deadline passed while CRIU said nothing.
        case silence
        /// The worker is gone without an answer.
        case end
    }

    init(_ conversation: CriuConversation, worker: Int32, deadline: UInt64?) {
        self.conversation = conversation
        self.worker = worker
        self.deadline = deadline
    }

    /// Sends the request and answers notifications until there is a response; `meanwhile` is called when one has been
    /// answered and CRIU works on.
    mutating func run(
        _ packet: [UInt8], _ notify: (CriuNotification) throws -> Void,
        meanwhile: (CriuNotification) -> Void = { _ in }
    ) throws(CriuError) -> Outcome {
        guard try conversation.send(packet) else { return .end }
        return try goOn(notify, meanwhile: meanwhile)
    }

    /// Answers notifications until there is a response or the deadline passes.
    mutating func goOn(
        _ notify: (CriuNotification) throws -> Void, meanwhile: (CriuNotification) -> Void = { _ in }
    ) throws(CriuError) -> Outcome {
        while true {
            switch try conversation.next(until: deadline) {
            case .silence:
                isExpired = true
                return .silence
            case .end:
                return .end
            case .message(let message) where message.isNotification:
                let answer = answer(to: message.notification, notify)
                guard try conversation.send(RequestMessage.notificationAnswer(success: answer)) else {
                    return .end
                }
                if answer, let notification = message.notification { meanwhile(notification) }
            case .message(let message):
                return message.success ? .success(message) : .failure(message)
            }
        }
    }

    private mutating func answer(
        to notification: CriuNotification?, _ notify: (CriuNotification) throws -> Void
    ) -> Bool {
        guard stopped == nil, !isExpired else { return false }
        guard var notification, notification.moment != .other else { return true }
        notification.worker = worker
        root = notification.pid ?? root
        if ownsRoot { conversation.root = root }
        do {
            try notify(notification)
        } catch {
            stopped = error
            return false
        }
        if let deadline, monotonicNanoseconds() >= deadline { isExpired = true }
        return !isExpired
    }
}
