import Messages
import Testing

@testable import CommandInterface

/// Bars as a terminal shows them.
struct ProgressTextTests {
    private func progress(_ phase: String, _ done: Int64, _ total: Int64?, _ unit: ProgressUnit)
        -> ProgressInfo
    {
        ProgressInfo(task: 1, phase: phase, done: done, total: total, unit: unit, elapsedMs: 500)
    }

    @Test func whatIsKnownIsShown() {
        let (plain, ascii) = (Style(), Style(unicode: false))
        #expect(
            progressText(progress("memory", 50_000_000, 100_000_000, .bytes), style: plain)
                == "memory ▕████████░░░░░░░░▏ 50 MB of 100 MB")
        #expect(
            progressText(progress("restoring", 1, 4, .sandboxes), style: ascii)
                == "restoring [####............] 1 of 4 sandboxes")
        #expect(progressText(progress("", 50_000_000, nil, .bytes), style: plain) == "50 MB")
        #expect(progressText(progress("publishing", 0, nil, .items), style: plain) == "publishing")
        #expect(progressText(progress("removing", 0, 0, .items), style: plain) == "removing")
    }

    @Test(arguments: [(0.0, 0), (0.499, 3), (1.0, 8), (1.7, 8), (-1.0, 0), (Double.nan, 0)])
    func aBarIsNeverTooLong(share: Double, full: Int) {
        let bar = progressBar(share, cells: 8, unicode: false)
        #expect(bar.utf8.count == 10 && bar.count { $0 == "#" } == full)
    }
}
