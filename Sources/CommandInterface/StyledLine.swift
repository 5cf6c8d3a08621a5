/// A line of text of several roles, which knows its width before it is coloured.
struct StyledLine {
    private(set) var pieces: [(text: String, role: Style.Role)] = []

    var width: Int { pieces.reduce(0) { $0 + columns(of: $1.text) } }

    mutating func append(_ text: String, _ role: Style.Role = .plain) { pieces.append((text, role)) }

    /// The line cut to `limit` columns.
    func cut(to limit: Int, ellipsis: String) -> StyledLine {
        guard width > limit else { return self }
        var line = StyledLine()
        var room = limit - columns(of: ellipsis)
        guard room > 0 else {
            line.append(beginning(of: ellipsis, columns: limit), .faint)
            return line
        }
        for piece in pieces {
            let width = columns(of: piece.text)
            guard width <= room else {
                let kept = beginning(of: piece.text, columns: room).trimmingTrailingSpaces()
                line.append(kept + ellipsis, piece.role)
                return line
            }
            line.append(piece.text, piece.role)
            room -= width
        }
        return line
    }

    func painted(_ style: Style) -> String { pieces.map { style.paint($0.text, $0.role) }.joined() }
}
