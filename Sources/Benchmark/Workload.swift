/// What runs in a sandbox while it is measured. All texts are for a bash: the product's session and the floor's.
struct Workload: Sendable {
    /// The first part of the names of its operations; empty for the idle bash.
    let name: String
    /// For people.
    let title: String
    /// Starts it.
    let setUp: String
    /// Comes back once it has made progress.
    let ask: String

    /// The name of an operation on it.
    func operation(_ name: String) -> String { self.name.isEmpty ? name : "\(self.name)/\(name)" }

    static let idle = Workload(name: "", title: "an idle bash", setUp: "n=1", ask: ":")

    /// Python with numpy imported, or with much of its standard library where there is no numpy.
    static func python(numpy: Bool) -> Workload {
        let modules = numpy ? "numpy" : "asyncio, ctypes, decimal, email, http.client, json, logging, xml.dom"
        return Workload(
            name: "python", title: numpy ? "Python with numpy" : "Python with its standard library",
            setUp: answering("import sys, \(modules)", "1"), ask: askAnswering)
    }

    /// A Python that holds so many MiB, a multiple of 16, no page of them zero.
    static func memory(_ mebibytes: Int, name: String) -> Workload {
        let (title, bytes) = (mebibytes == 1024 ? "1 GiB" : "\(mebibytes) MiB", mebibytes << 20)
        return Workload(
            name: name, title: "Python of \(title)",
            setUp: answering(
                "import sys, os; b = os.urandom(1 << 24) * \(mebibytes / 16)", "b[\(bytes / 2)]"),
            ask: askAnswering)
    }

    /// Each has come to be what it is for good: one that is saved on its way from fork(2) to execve(2) is another at the next
    /// save.
    static func processes(_ count: Int) -> Workload {
        Workload(
            name: "processes-\(count)", title: "\(count) processes",
            setUp: """
                for i in {1..\(count)}; do sleep 1000000 <&0 & done
                until [ "$(cat /proc/[0-9]*/comm 2>&- | grep -c '^sleep$')" = \(count) ]; do :; done
                """, ask: ":")
    }

    /// A program that answers each line on descriptor 7 of the bash with one on 8. Nothing is taken from /dev, which
    /// the floor's sandbox does not have.
    private static func answering(_ prepare: String, _ answer: String) -> String {
        """
        mkfifo /root/ask /root/answer; exec 7<>/root/ask 8<>/root/answer; python3 -c '\(prepare)
        for line in sys.stdin:
            print(\(answer), flush=True)' <&7 >&8 2>&8 & \(askAnswering)
        """
    }

    private static let askAnswering = "echo >&7; read -r -t 120 -u 8 n"
}
