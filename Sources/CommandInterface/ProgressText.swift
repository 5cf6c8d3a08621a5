public import Messages

/// How far an operation has come, for a terminal: `memory ▕██████░░░░▏ 412 MB of 1.1 GB`.
public func progressText(_ progress: ProgressInfo, style: Style) -> String {
    let number = { (count: Int64) in progress.unit == .bytes ? sizeText(bytes: count) : "\(count)" }
    let unit = progress.unit == .bytes ? "" : " \(progress.unit.rawValue)"
    // A copy has but one phase.
    let phase = progress.phase.isEmpty ? "" : progress.phase + " "
    guard let total = progress.total, total > 0 else {
        return progress.done > 0 ? "\(phase)\(number(progress.done))\(unit)" : progress.phase
    }
    let bar = progressBar(Double(progress.done) / Double(total), cells: 16, unicode: style.unicode)
    return "\(phase)\(bar) \(number(progress.done)) of \(number(total))\(unit)"
}

/// A bar of so many cells, of which a share (0 to 1) is full.
func progressBar(_ share: Double, cells: Int, unicode: Bool) -> String {
    let full = Int((min(max(share.isFinite ? share : 0, 0), 1) * Double(cells)).rounded(.down))
    let (filled, empty) = unicode ? ("█", "░") : ("#", ".")
    let bar = String(repeating: filled, count: full) + String(repeating: empty, count: cells - full)
    return unicode ? "▕\(bar)▏" : "[\(bar)]"
}
