import LinuxSystem
import Messages

/// Measures what the number of snapshots costs; the last part of a run, for it leaves them there.
struct TreePart {
    static let sizes = [100, 1000, 10_000]
    /// Snapshots that are made from one place before another is drawn.
    private static let row = 10

    let run: Run
    let passes: Int
    /// How long the tree may take to grow.
    let seconds: Double

    static func operations(_ size: Int) -> [String] {
        ["list", "show", "tag", "delete"].map { "tree-\(size)/\($0)" }
    }

    func measure() throws(ErrorMessage) {
        let wanted = Self.sizes.filter { run.wants(Self.operations($0)) }
        guard let largest = wanted.last else { return }
        run.say("measuring trees of \(wanted.map(String.init).joined(separator: ", ")) snapshots")
        let subject = Subject(run.nextName("tree"), on: run.connection)
        _ = try subject.create(run.base)
        var ids = [try subject.save().1.id]
        let until = monotonicNanoseconds() + UInt64(seconds * 1e9)
        var draw = SystemRandomNumberGenerator()
        while ids.count < largest {
            try subject.restore(ids.randomElement(using: &draw)!)
            for _ in 0..<Self.row where ids.count < largest {
                try subject.say("echo \(ids.count) > /root/file")
                ids.append(try subject.save().1.id)
                if wanted.contains(ids.count) { try measure(ids) }
            }
            guard monotonicNanoseconds() < until || ids.count == largest else {
                run.note("the tree did not grow beyond \(ids.count) snapshots in \(Int(seconds)) s")
                break
            }
        }
        // The snapshots go with the whole store: the server would take minutes to empty what they leave.
        try subject.remove()
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
