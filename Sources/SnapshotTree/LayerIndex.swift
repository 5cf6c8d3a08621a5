/// Who needs which layer, and which merged layers can stand for others; kept in memory, made from the catalog and
/// `merges/`.
///
/// A chain of layers is merged like the digits of a number: eight neighbours of one level become one of the next. The
/// lowest eight go first and a snapshot's own layer not yet, so that snapshots with a common past share what is made of
/// it, and a chain of N has at most seven layers for each power of eight in N.
struct LayerIndex {
    /// How many neighbours of one level are merged.
    static let fan = 8

    private(set) var merges: [String: MergedLayer] = [:]
    /// How many snapshots list a layer.
    private var listers: [String: Int] = [:]
    /// Bytes on disk of the layers that snapshots brought.
    private var ownBytes: [String: Int64] = [:]
    /// Merged layers by their lowest and by their topmost part.
    private var byLowest: [String: [String]] = [:]
    private var byTop: [String: [String]] = [:]

    // MARK: - What is there

    mutating func add(_ manifest: Manifest) {
        add(layers: manifest.layers, own: manifest.ownLayer, bytes: manifest.layerTotalBytes)
    }

    /// A snapshot that lists `layers`, of which it brought one.
    mutating func add(layers: [String], own: String?, bytes: Int64) {
        for layer in Set(layers) { listers[layer, default: 0] += 1 }
        if let own { ownBytes[own] = bytes }
    }

    mutating func remove(_ manifest: Manifest) {
        for layer in Set(manifest.layers) {
            let count = listers[layer, default: 0] - 1
            listers[layer] = count > 0 ? count : nil
            // Others may go on listing what one of them brought.
            if count <= 0 { ownBytes[layer] = nil }
        }
    }

    mutating func add(_ merge: MergedLayer) {
        merges[merge.id] = merge
        byLowest[merge.parts[0], default: []].append(merge.id)
        byTop[merge.parts[merge.parts.count - 1], default: []].append(merge.id)
    }

    mutating func removeMerge(_ id: String) {
        guard let merge = merges.removeValue(forKey: id) else { return }
        byLowest[merge.parts[0]]?.removeAll { $0 == id }
        byTop[merge.parts[merge.parts.count - 1]]?.removeAll { $0 == id }
    }

    /// How many snapshots list a layer.
    func count(listing layer: String) -> Int { listers[layer] ?? 0 }

    /// Bytes on disk of a layer, as far as known.
    func bytes(of layer: String) -> Int64? { ownBytes[layer] ?? merges[layer]?.bytes }

    // MARK: - What stands for what

    /// The layers with merged ones in the place of their parts, lowest first; the same files.
    func merged(_ layers: [String]) -> [String] {
        var result = layers
        var at = 0
        var changed = false
        while true {
            guard at < result.count else {
                if !changed { return result }
                (at, changed) = (0, false)
                continue
            }
            let fitting = byLowest[result[at]]?.first { result[at...].starts(with: merges[$0]!.parts) }
            if let fitting {
                result.replaceSubrange(at..<(at + merges[fitting]!.parts.count), with: [fitting])
                changed = true
            }
            at += 1
        }
    }

    /// Every merged layer that is on the way from `layers` to what `merged` makes of them, and is not among them.
    func everyMerge(of layers: [String]) -> [String] {
        var found: [String] = []
        var waiting = merged(layers).filter { !layers.contains($0) }
        while let layer = waiting.popLast() {
            found.append(layer)
            waiting += merges[layer]!.parts.filter { !layers.contains($0) && merges[$0] != nil }
        }
        return found
    }

    /// The layers with the parts of merged ones in their place, all the way down, where `isThere` says so of each part.
    func unmerged(_ layers: [String], isThere: (String) -> Bool) -> [String] {
        layers.flatMap { layer -> [String] in
            guard let merge = merges[layer], merge.parts.allSatisfy(isThere) else { return [layer] }
            return unmerged(merge.parts, isThere: isThere)
        }
    }

    /// The neighbours that are to become one, lowest first, and the level of the result; nil where the chain is short.
    /// None of `except` is among them.
    func nextMerge(in layers: [String], except: Set<String> = []) -> (parts: [String], level: Int)? {
        var start = 0
        for at in layers.indices {
            if level(of: layers[at]) != level(of: layers[start]) { start = at }
            if except.contains(layers[at]) {
                start = at + 1
                if start == layers.count { return nil }
            } else if at - start + 1 == Self.fan {
                return (Array(layers[start...at]), level(of: layers[at]) + 1)
            }
        }
        return nil
    }

    private func level(of layer: String) -> Int { merges[layer]?.level ?? 0 }

    // MARK: - What is needed

    /// Whether a snapshot lists the layer, or could use it in the place of others: whoever lists its topmost part
    /// has the rest below.
    func isNeeded(_ layer: String) -> Bool {
        var layer = layer
        while true {
            if listers[layer] != nil { return true }
            guard let top = merges[layer]?.parts.last else { return false }
            layer = top
        }
    }

    /// Those of `layers` that nothing needs, and the merged ones that were good for them alone.
    func unneeded(among layers: Set<String>) -> Set<String> {
        var found: Set<String> = []
        var waiting = Array(layers)
        while let layer = waiting.popLast() {
            guard !isNeeded(layer), found.insert(layer).inserted else { continue }
            waiting += byTop[layer] ?? []
        }
        return found
    }
}
