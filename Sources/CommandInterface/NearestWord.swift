/// The word nearest to `word` among `candidates`, when it is near enough to be a slip of the fingers.
public func nearestWord(to word: String, among candidates: [String]) -> String? {
    let typed = Array(word.utf8)
    guard typed.count > 1 else { return nil }
    let limit = max(1, typed.count / 3)
    var best: (word: String, distance: Int)?
    for candidate in candidates {
        let letters = Array(candidate.utf8)
        // The beginning of exactly this candidate is as good as one slip.
        let isBeginning = typed.count >= 3 && letters.starts(with: typed)
        let distance = isBeginning ? 1 : slips(from: typed, to: letters)
        if distance <= limit, distance < best?.distance ?? .max { best = (candidate, distance) }
    }
    return best?.word
}

/// How many letters must be added, dropped, changed or swapped with their neighbour (optimal string alignment).
private func slips(from source: [UInt8], to target: [UInt8]) -> Int {
    if source.isEmpty || target.isEmpty { return max(source.count, target.count) }
    var older: [Int] = []
    var previous = Array(0...target.count)
    for row in 1...source.count {
        var current = [row]
        for column in 1...target.count {
            let change = source[row - 1] == target[column - 1] ? 0 : 1
            var least = min(previous[column] + 1, current[column - 1] + 1, previous[column - 1] + change)
            let swapped =
                row > 1 && column > 1 && source[row - 1] == target[column - 2]
                && source[row - 2] == target[column - 1]
            if swapped { least = min(least, older[column - 2] + 1) }
            current.append(least)
        }
        (older, previous) = (previous, current)
    }
    return previous[target.count]
}
