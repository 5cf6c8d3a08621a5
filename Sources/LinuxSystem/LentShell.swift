import Glibc

/// A bash whose calls are made by who has the ends of its pipes (docs/lending.md); for one thread at a time.
///
/// The descriptors are open for as long as whoever made this says.
public struct LentShell {
    /// Bash's input, where it tells that it is back, what it prints, and the file that a call's text lies in.
    public let input, control, output, error, text: Int32
    /// What has bash read the file.
    private let line: [UInt8]
    /// How many commands bash was given so far, a call that runs not counted.
    public private(set) var commands: UInt64
    /// What the call printed that began last, as far as it has been read.
    public private(set) var stdout: [UInt8] = []
    public private(set) var stderr: [UInt8] = []
    /// Until when the call's end is looked for eagerly, in nanoseconds of CLOCK_MONOTONIC.
    private var eagerUntil: UInt64 = 0
    /// Of the control pipe, what is no whole line yet.
    private var partOfLine: [UInt8] = []

    /// With the five in the order in which they are lent.
    public init(_ descriptors: [Int32], line: String, commands: UInt64) {
        precondition(descriptors.count == 5, "five descriptors are lent")
        (input, control, output) = (descriptors[0], descriptors[1], descriptors[2])
        (error, text) = (descriptors[3], descriptors[4])
        self.line = Array(line.utf8)
        self.commands = commands
    }

    /// Has bash begin a call; false where the session was taken back. Where it throws no call runs.
    public mutating func begin(_ shell: some Collection<UInt8>) throws(SystemError) -> Bool {
        guard lock(F_WRLCK) else { return false }
        eagerUntil = monotonicNanoseconds() + eagerness
        stdout = []
        stderr = []
        // What came between two calls is none of this one's.
        for pipe in [output, error] { Self.read(pipe, upTo: Self.held(in: pipe)) { _ in } }
        do throws(SystemError) {
            var status = stat()
            try retrying("fstat") { fstat(text, &status) }
            guard status.st_mode & S_IWUSR != 0 else {
                end()
                return false
            }
            let bytes = Array(shell)
            let put = try retrying("pwrite") { pwrite(text, bytes, bytes.count, 0) }
            guard put == bytes.count else { throw SystemError(call: "pwrite", code: ENOSPC) }
            if bytes.count < status.st_size {
                try retrying("ftruncate") { ftruncate(text, off_t(bytes.count)) }
            }
            try retrying("write") { write(input, line, line.count) }
        } catch {
            end()
            throw error
        }
        return true
    }

    /// Looks for a short while for the first that a call prints, and reads it; whether there is something, and bash is not
    /// back yet.
    public mutating func hearsOutput(until deadline: UInt64) -> Bool {
        let heard = lookOut(
            forAny: [control, output, error], during: Self.time(until: min(eagerUntil, deadline)))
        guard let first = heard.first, first != 0 else { return false }
        readRest()
        return stdout.count + stderr.count > 0
    }

    /// Waits until bash is back from a call that began, and reads what it prints; its status (0 to 255).
    ///
    /// nil when `deadline` (CLOCK_MONOTONIC, nanoseconds) passes first, more than `most` bytes are there, or bash has ended.
    public mutating func awaitEnd(until deadline: UInt64, most: Int = .max) throws(SystemError) -> Int32? {
        // Most calls end before that with one line, and what was printed before bash came back is there when that is read.
        if lookOut(for: control, during: Self.time(until: min(eagerUntil, deadline))),
            let status = try readControl()
        {
            readRest()
            return status
        }
        var polled = [control, output, error].map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
        while true {
            let time = Self.time(until: deadline)
            let ready = poll(&polled, 3, time == 0 ? 0 : Int32(clamping: (time - 1) / 1_000_000 + 1))
            if ready < 0, errno != EINTR { throw .last("poll") }
            let status = polled[0].revents == 0 ? nil : try readControl()
            if status != nil { readRest() } else { readSome(&polled) }
            if let status { return status }
            if time == 0 || polled[0].revents & Int16(POLLHUP) != 0 || stdout.count + stderr.count > most {
                return nil
            }
        }
    }

    private static func time(until deadline: UInt64) -> UInt64 {
        let now = monotonicNanoseconds()
        return deadline > now ? deadline - now : 0
    }

    /// Gives away what was printed so far.
    public mutating func takeOutput() -> (stdout: [UInt8], stderr: [UInt8]) {
        defer { (stdout, stderr) = ([], []) }
        return (stdout, stderr)
    }

    /// Ends a call, or what is left of it goes on without whoever made it.
    public func end() { _ = lock(F_UNLCK) }

    /// What was printed before bash came back: what is there now, and not what a job goes on to print.
    private mutating func readRest() {
        Self.read(output, upTo: Self.held(in: output)) { stdout += $0 }
        Self.read(error, upTo: Self.held(in: error)) { stderr += $0 }
    }

    /// A piece of what is there. A pipe that bash has closed is not looked at any more.
    private mutating func readSome(_ polled: inout [pollfd]) {
        if polled[1].revents != 0 { Self.read(output, upTo: Self.piece) { stdout += $0 } }
        if polled[2].revents != 0 { Self.read(error, upTo: Self.piece) { stderr += $0 } }
        for index in 1...2 where polled[index].revents & Int16(POLLIN) == 0 && polled[index].revents != 0 {
            polled[index].fd = -1
        }
    }

    /// What a pipe holds where nobody has changed that.
    private static let piece = 65536

    private static func held(in pipe: Int32) -> Int {
        var count: Int32 = 0
        return ioctl(pipe, UInt(FIONREAD), &count) == 0 ? Int(count) : 0
    }

    /// The status that a line tells, where it tells of a call that began after the last one; others are traces.
    private mutating func readControl() throws(SystemError) -> Int32? {
        var status: Int32?
        Self.read(control, upTo: Self.piece) { partOfLine += $0 }
        while let end = partOfLine.firstIndex(of: UInt8(ascii: "\n")) {
            let words = partOfLine[..<end].split(
                separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
            if words.count == 2, let told = Self.number(words[0]), let number = Self.number(words[1]),
                number > commands
            {
                commands = number
                status = Int32(clamping: told)
            }
            partOfLine.removeFirst(end + 1)
        }
        return status
    }

    private static func number(_ digits: ArraySlice<UInt8>) -> UInt64? {
        guard (1...19).contains(digits.count) else { return nil }
        return digits.reduce(0) { value, digit in
            guard let value, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit) else { return nil }
            return 10 * value + UInt64(digit - UInt8(ascii: "0"))
        }
    }

    /// Reads what a pipe holds, so many bytes at most.
    private static func read(_ pipe: Int32, upTo most: Int, _ take: (UnsafeRawBufferPointer) -> Void) {
        if most == 0 { return }
        withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 16) { buffer in
            var left = most
            while left > 0 {
                let wanted = min(left, buffer.count)
                let got = Glibc.read(pipe, buffer.baseAddress, wanted)
                if got < 0, errno == EINTR { continue }
                guard got > 0 else { return }
                take(UnsafeRawBufferPointer(rebasing: buffer[..<got]))
                left -= got
                if got < wanted { return }
            }
        }
    }

    /// Whether the lock on the text could be taken, or given up: while a call runs, it is ours.
    private func lock(_ kind: Int32) -> Bool {
        var lock = flock()
        lock.l_type = Int16(kind)
        let operation: Int32 = 37  // F_OFD_SETLK
        return fcntl(text, operation, &lock) == 0
    }
}
