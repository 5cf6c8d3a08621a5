import Glibc

/// A system call that failed: its name, the errno it left and what it was about.
public struct SystemError: Error, Equatable, Sendable {
    /// The system call or library function, as its man page spells it.
    public let call: String
    /// The errno it left (see errno(3)).
    public let code: Int32
    /// The path or object it was called on, where there is one.
    public let subject: String?

    /// Describes a failed `call` with the given errno.
    public init(call: String, code: Int32, subject: String? = nil) {
        self.call = call
        self.code = code
        self.subject = subject
    }

    /// Describes a failed `call` with the errno of this thread.
    public static func last(_ call: String, _ subject: String? = nil) -> SystemError {
        SystemError(call: call, code: errno, subject: subject)
    }

    /// The errno's text, for example `No such file or directory`.
    public var reason: String { String(cString: strerror(code)) }
}

extension SystemError: CustomStringConvertible {
    public var description: String {
        let on = subject.map { " \($0)" } ?? ""
        return "\(call)\(on): \(reason)"
    }
}

/// Calls `body` until it does not fail with EINTR, and returns its result; -1 is thrown as a `SystemError`.
@discardableResult
public func retrying<Result: FixedWidthInteger>(
    _ call: String, _ subject: @autoclosure () -> String? = nil, _ body: () -> Result
) throws(SystemError) -> Result {
    while true {
        let result = body()
        if result != -1 { return result }
        if errno == EINTR { continue }
        precondition(errno != EFAULT, "\(call) was handed a bad address")
        throw SystemError.last(call, subject())
    }
}
