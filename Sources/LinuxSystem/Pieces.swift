import Glibc

/// Work on a range of numbers that is done by several threads, each on pieces of its own.
public enum Pieces {
    /// More threads than this get no more out of the memory that they share.
    private static let mostThreads = 8
    /// Asked once: the answer takes three system calls.
    private static let processors = max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))))

    /// Runs `body` on each piece of `0..<count`, at the same time where there are processors, and returns when all is
    /// done; its results, in no order. A piece has `least` numbers or more, so that little work stays on this thread.
    public static func map<Result: Sendable>(
        _ count: Int, least: Int, _ body: @escaping @Sendable (Range<Int>) -> Result
    ) -> [Result] {
        let pieces = max(1, min(count / least, min(processors, mostThreads)))
        let bounds = (0...pieces).map { count * $0 / pieces }
        let results = Monitor<[Result]>([])
        for piece in 1..<pieces {
            let range = bounds[piece]..<bounds[piece + 1]
            startThread {
                let result = body(range)
                results.with(wake: true) { $0.append(result) }
            }
        }
        let first = body(bounds[0]..<bounds[1])
        results.with { $0.append(first) }
        results.wait { $0.count == pieces ? () : nil }
        return results.with { $0 }
    }
}
