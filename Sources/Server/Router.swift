import Messages

/// An error together with the HTTP status it travels under.
struct Refusal: Error {
    let status: Int
    let message: ErrorMessage
    /// Further header fields of the answer.
    var headers: [(String, String)] = []

    init(_ message: ErrorMessage, status: Int? = nil, headers: [(String, String)] = []) {
        self.message = message
        self.status = status ?? message.httpStatus
        self.headers = headers
    }
}

/// Finds the row of the route table for a request.
struct Router: Sendable {
    let routes: [Route]

    /// The route that fits and its path parameters.
    ///
    /// Throws 404 for an unknown path, 405 for a known one with another method, 400 for a query parameter
    /// that the route does not have.
    func find(method: String, _ target: RequestTarget) throws(Refusal) -> (Route, [String: String]) {
        var allowed: [String] = []
        for route in routes {
            guard let parameters = route.match(target.segments) else { continue }
            guard route.method == method else {
                allowed.append(route.method)
                continue
            }
            for key in target.query.keys where !route.query.contains(key) {
                throw Refusal(ErrorMessage(.badRequest, "there is no query parameter \(key) here"))
            }
            return (route, parameters)
        }
        let path = "/" + target.segments.joined(separator: "/")
        guard allowed.isEmpty else {
            let list = allowed.joined(separator: ", ")
            throw Refusal(
                ErrorMessage(.badRequest, "\(path) does not take \(method)", hint: "it takes \(list)"),
                status: 405, headers: [("Allow", list)])
        }
        throw Refusal(ErrorMessage(.notFound, "there is nothing at \(path)"))
    }
}
