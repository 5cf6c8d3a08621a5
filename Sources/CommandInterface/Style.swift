public import Messages

/// How a page may look on the terminal it goes to.
public struct Style: Sendable, Equatable {
    /// Whether colours may be used.
    public var colour: Bool
    /// Whether the terminal can show more than ASCII.
    public var unicode: Bool
    /// The terminal's width in columns; nil when the page goes to a file or a pipe, which has no width.
    public var width: Int?

    /// A style.
    public init(colour: Bool = false, unicode: Bool = true, width: Int? = nil) {
        self.colour = colour
        self.unicode = unicode
        self.width = width
    }

    /// The style for a stream, by the environment: NO_COLOR, TERM, and the locale of LC_ALL, LC_CTYPE or LANG.
    ///
    /// - Parameter width: the terminal's width, nil when the stream is no terminal.
    public init(width: Int?, environment: [String: String]) {
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].lazy.compactMap { environment[$0] }.first { !$0.isEmpty }
        let encoding = (locale ?? "").lowercased()
        unicode = encoding.contains("utf-8") || encoding.contains("utf8")
        let refused = environment["NO_COLOR"].map { !$0.isEmpty } ?? false
        colour = width != nil && !refused && environment["TERM"] != "dumb" && environment["TERM"] != nil
        self.width = width
    }

    /// What a piece of text is, which decides its colour.
    public enum Role: Sendable {
        case plain, id, tag, message, faint, running, stopped, dead, heading, good, warning, bad

        /// The parameter of the SGR sequence (ECMA-48); nil for none.
        var code: String? {
            switch self {
            case .plain, .message: nil
            case .id: "33"
            case .tag: "1;36"
            case .faint, .stopped: "2"
            case .running, .good: "32"
            case .warning: "33"
            case .dead, .bad: "31"
            case .heading: "1"
            }
        }
    }

    /// `text` in the colour of its role.
    public func paint(_ text: String, _ role: Role) -> String {
        guard colour, let code = role.code, !text.isEmpty else { return text }
        return "\u{1B}[\(code)m\(text)\u{1B}[0m"
    }

    /// `text` without anything harmful to this terminal.
    public func clean(_ text: String) -> String { harmless(text, unicode: unicode) }

    /// What stands for text that was cut.
    public var ellipsis: String { unicode ? "…" : "..." }

    /// The sign of a sandbox's state: `●` running, `○` stopped, `✗` dead.
    public func sign(_ state: SandboxState) -> String {
        switch state {
        case .running: unicode ? "●" : "*"
        case .paused: unicode ? "◍" : "="
        case .stopped: unicode ? "○" : "o"
        case .dead: unicode ? "✗" : "x"
        }
    }

    /// The role of text about a sandbox in that state.
    public func role(_ state: SandboxState) -> Role {
        switch state {
        case .running: .running
        case .paused: .warning
        case .stopped: .stopped
        case .dead: .dead
        }
    }
}
