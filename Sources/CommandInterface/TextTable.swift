/// A table with aligned columns and a heading, as `ps` prints it.
public struct TextTable: Sendable {
    /// A cell: its text and what it is.
    public struct Cell: Sendable, ExpressibleByStringLiteral {
        let text: String
        let role: Style.Role

        /// A cell.
        public init(_ text: String, _ role: Style.Role = .plain) {
            self.text = text
            self.role = role
        }

        /// A plain cell.
        public init(stringLiteral text: String) { self.init(text) }
    }

    private let headings: [String]
    private var rows: [[Cell]] = []

    /// An empty table; every row will have as many cells as there are headings.
    public init(_ headings: [String]) { self.headings = headings }

    /// Adds a row.
    public mutating func add(_ row: [Cell]) {
        precondition(row.count == headings.count, "a row has a cell for every heading")
        rows.append(row)
    }

    /// The table's lines. Columns that are empty in every row are left out; lines too long are cut.
    public func lines(_ style: Style) -> [String] {
        let shown = headings.indices.filter { column in rows.contains { !$0[column].text.isEmpty } }
        let all = [headings.map { Cell($0, .heading) }] + rows
        let widths = headings.indices.map { column in all.map { columns(of: $0[column].text) }.max() ?? 0 }
        return all.map { row in
            var line = StyledLine()
            for column in shown {
                let cell = row[column]
                line.append(cell.text, cell.role)
                guard column != shown.last else { continue }
                line.append(String(repeating: " ", count: widths[column] - columns(of: cell.text) + 2))
            }
            let fitting = style.width.map { line.cut(to: $0, ellipsis: style.ellipsis) } ?? line
            return fitting.painted(style).trimmingTrailingSpaces()
        }
    }
}
