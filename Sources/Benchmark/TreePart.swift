import LinuxSystem
import Messages

/// Measures what the number of snapshots costs; the last part of a run, for it leaves them there.
struct TreePart {
    static let sizes = [100, 1000, 10_000]
    let run: Run
    let passes: Int
    /// How long the tree may take to grow.
    let seconds: Double

    static func operations(_ size: Int) -> [String] {
        ["list", "show", "tag", "delete"].map { "tree-\(size)/\($0)" }
    }

    func measure() throws(ErrorMessage) {
        let wanted = Self.sizes.filter { run.wants(Self.operations($0)) }
        if wanted.isEmpty { return }
        run.say("measuring trees of \(wanted.map(String.init).joined(separator: ", ")) snapshots")
        let names = (0..<max(2, 2 * run.cores)).map { _ in run.nextName("tree") }
        let growth = try TreeGrowth(root: run.stage.store, names: names, base: run.base, on: run.connection)
        let until = monotonicNanoseconds() + UInt64(seconds * 1e9)
        for size in wanted {
            try growth.grow(to: size, until: until)
            let ids = growth.ids
            guard ids.count == size else {
                run.note("the tree did not grow beyond \(ids.count) snapshots in \(Int(seconds)) s")
                break
            }
            try measure(ids)
        }
        try growth.end(on: run.connection)
    }

    /// Each list comes after changes, as in life; what is deleted was made for that.
    private func measure(_ ids: [String]) throws(ErrorMessage) {
        let size = ids.count
        let victim = Subject(run.nextName("victim"), on: run.connection)
        _ = try victim.create(run.base)
        var draw = SystemRandomNumberGenerator()
        for pass in 0..<(run.passes ?? passes) {
            let made = try victim.save().1.id
            let (tagged, shown) = (ids.randomElement(using: &draw)!, ids.randomElement(using: &draw)!)
            try exchange("tree-\(size)/tag", "PUT", "/v1/snapshots/\(tagged)/tags/size-\(size)-\(pass)")
            try exchange("tree-\(size)/show", "GET", "/v1/snapshots/\(shown)")
            try victim.reset()
            try exchange("tree-\(size)/delete", "DELETE", "/v1/snapshots/\(made)")
            try exchange("tree-\(size)/list", "GET", "/v1/snapshots")
        }
        try victim.remove()
    }

    private func exchange(_ name: String, _ method: String, _ path: String) throws(ErrorMessage) {
        run.add(name, try run.connection.exchange(TightConnection.request(method, path)))
    }
}
