/// The signals by name, as signal(7) numbers them on x86-64 and arm64.
public let signalNumbers: [(name: String, number: Int32)] = [
    ("HUP", 1), ("INT", 2), ("QUIT", 3), ("ILL", 4), ("TRAP", 5), ("ABRT", 6), ("BUS", 7), ("FPE", 8),
    ("KILL", 9), ("USR1", 10), ("SEGV", 11), ("USR2", 12), ("PIPE", 13), ("ALRM", 14), ("TERM", 15),
    ("STKFLT", 16), ("CHLD", 17), ("CONT", 18), ("STOP", 19), ("TSTP", 20), ("TTIN", 21), ("TTOU", 22),
    ("URG", 23), ("XCPU", 24), ("XFSZ", 25), ("VTALRM", 26), ("PROF", 27), ("WINCH", 28), ("IO", 29),
    ("PWR", 30), ("SYS", 31),
]

/// The number of a signal given as `TERM`, `SIGTERM`, `sigterm` or `15` (1 to 64); nil when it is none.
public func signalNumber(_ word: String) -> Int32? {
    if let number = Int32(word) { return (1...64).contains(number) ? number : nil }
    var name = word.uppercased()
    if name.hasPrefix("SIG") { name.removeFirst(3) }
    return signalNumbers.first { $0.name == name }?.number
}
