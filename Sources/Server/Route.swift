import Messages
import Telemetry

/// What a handler gets to work with.
struct Call {
    let engine: any EngineOperations
    let telemetry: Telemetry
    let control: any ServerControl
    /// The `{name}` segments of the route's path, decoded.
    let parameters: [String: String]
    let query: [String: String]
    let cancelled: Cancellation

    /// A path parameter; the router has made sure of it.
    subscript(_ parameter: String) -> String { parameters[parameter]! }

    /// A query parameter that says yes or no; absent is no, present without a value is yes.
    func flag(_ name: String) throws(ErrorMessage) -> Bool {
        switch query[name] {
        case nil, "false", "0": return false
        case "", "true", "1": return true
        case .some(let value):
            throw ErrorMessage(.badValue, "query parameter \(name) is \(value)", hint: "use true or false")
        }
    }

    /// A query parameter that is a number; nil where it is missing.
    func number<Number: LosslessStringConvertible>(
        _ name: String, _ type: Number.Type = Number.self
    ) throws(ErrorMessage) -> Number? {
        guard let text = query[name] else { return nil }
        guard let number = Number(text) else {
            throw ErrorMessage(.badValue, "query parameter \(name) is \(text)", hint: "it is a number")
        }
        return number
    }

    /// A query parameter that must be there.
    func required(_ name: String) throws(ErrorMessage) -> String {
        guard let value = query[name], !value.isEmpty else {
            throw ErrorMessage(.badRequest, "query parameter \(name) is missing")
        }
        return value
    }
}

/// What a handler can ask of the server itself.
protocol ServerControl: Sendable {
    /// Begins a clean shutdown and returns at once; the socket's file stays for another server where that was asked for.
    func requestStop(keepingSocket: Bool)
    /// The descriptor of the socket that it listens on.
    var listener: Int32 { get }
    /// The same of the TCP socket for the numbers; nil where there is none.
    var metricsListener: Int32? { get }
}

/// One row of the route table.
struct Route: Sendable {
    /// What is done with a request that fits.
    enum Action: Sendable {
        /// Read a JSON body, call the engine, answer with JSON.
        case answer(@Sendable (Call, [UInt8]) throws(ErrorMessage) -> (value: any Sendable, json: [UInt8]))
        /// Answer with JSON that lies in pieces.
        case pieces(@Sendable (Call) throws(ErrorMessage) -> [SharedBytes])
        /// Answer with text of that media type.
        case text(type: String, @Sendable (Call) throws(ErrorMessage) -> String)
        /// Answer with events, a line of JSON each, for as long as the client likes.
        case events(@Sendable (Call) throws(ErrorMessage) -> EventReader)
        /// Answer with a stream of bytes of that media type, which a call of the engine writes into a pipe.
        case download(type: String, @Sendable (Call) throws(ErrorMessage) -> Writer)
        /// Read a JSON body, answer with a stream.
        case produce(type: String, @Sendable (Call, [UInt8]) throws(ErrorMessage) -> Writer)
        /// Read a stream, which a call of the engine reads from a pipe.
        case upload(@Sendable (Call) throws(ErrorMessage) -> Reader)
        /// Answer with the bytes of a file.
        case readFile
        /// Read the bytes of a file.
        case writeFile
        /// Become an exec stream.
        case attach
        /// Become a connection on which a session is lent.
        case lend
    }

    /// Writes a stream to a pipe's end, which it borrows.
    typealias Writer = @Sendable (Int32) throws(ErrorMessage) -> Void

    /// Reads a stream from a pipe's end, which it borrows; returns the answer.
    typealias Reader = @Sendable (Int32) throws(ErrorMessage) -> [UInt8]

    /// Whether the body is a stream of any length.
    var takesStream: Bool {
        switch action {
        case .upload, .writeFile: true
        case .answer, .pieces, .text, .events, .download, .produce, .readFile, .attach, .lend: false
        }
    }

    /// Calls that follow something for as long as it takes, and that can be made again elsewhere without harm.
    private static let waits: Set<String> = ["exec", "waitForSandbox", "hold", "getJob", "watchEvents"]

    /// Whether it waits for what others do, and does nothing itself that must come to its end.
    var isWait: Bool { Self.waits.contains(operation) }

    let method: String
    let template: String
    /// The call's name, as in the OpenAPI description.
    let operation: String
    let query: [String]
    /// The names of the messages that go in and come out, where they are JSON.
    let takes: String?
    let gives: String?
    let action: Action
    let pattern: [Segment]

    enum Segment: Equatable, Sendable {
        case literal(String)
        case parameter(String)
    }

    private init(
        _ method: String, _ template: String, _ operation: String, query: [String], takes: String?,
        gives: String?, action: Action
    ) {
        self.method = method
        self.template = template
        self.operation = operation
        self.query = query
        self.takes = takes
        self.gives = gives
        self.action = action
        pattern = template.split(separator: "/").map { part in
            part.hasPrefix("{") ? .parameter(String(part.dropFirst().dropLast())) : .literal(String(part))
        }
    }

    /// A route without a body.
    static func plain<Answer: Encodable & Sendable>(
        _ method: String, _ template: String, _ operation: String, query: [String] = [],
        gives: Answer.Type, _ body: @escaping @Sendable (Call) throws(ErrorMessage) -> Answer
    ) -> Route {
        let action = Action.answer { (call, _) throws(ErrorMessage) in
            let answer = try body(call)
            return (answer, JSONBody.encode(answer))
        }
        return Route(
            method, template, operation, query: query, takes: nil, gives: "\(Answer.self)", action: action)
    }

    /// A route without a body whose answer comes as JSON; `gives` is what it reads as.
    static func encoded<Answer: Encodable>(
        _ method: String, _ template: String, _ operation: String, gives: Answer.Type,
        _ body: @escaping @Sendable (Call) throws(ErrorMessage) -> [SharedBytes]
    ) -> Route {
        Route(
            method, template, operation, query: [], takes: nil, gives: "\(Answer.self)",
            action: .pieces(body))
    }

    /// A POST with a JSON body.
    static func post<
        Request: Decodable & SendableMetatype, Answer: Encodable & Sendable
    >(
        _ template: String, _ operation: String, takes: Request.Type, gives: Answer.Type,
        _ body: @escaping @Sendable (Call, Request) throws(ErrorMessage) -> Answer
    ) -> Route {
        let action = Action.answer { (call, bytes) throws(ErrorMessage) in
            let answer = try body(call, try JSONBody.decode(Request.self, from: bytes))
            return (answer, JSONBody.encode(answer))
        }
        return Route(
            "POST", template, operation, query: [], takes: "\(Request.self)", gives: "\(Answer.self)",
            action: action)
    }

    /// A route whose bytes are a stream of their own.
    static func stream(
        _ method: String, _ template: String, _ operation: String, query: [String] = [],
        takes: String? = nil, gives: String? = nil, _ action: Action
    ) -> Route {
        Route(method, template, operation, query: query, takes: takes, gives: gives, action: action)
    }

    /// The parameters when the path fits.
    func match(_ segments: [String]) -> [String: String]? {
        guard segments.count == pattern.count else { return nil }
        var parameters: [String: String] = [:]
        for (segment, part) in zip(segments, pattern) {
            switch part {
            case .literal(let text): guard text == segment else { return nil }
            case .parameter(let name):
                guard !segment.isEmpty else { return nil }
                parameters[name] = segment
            }
        }
        return parameters
    }
}
