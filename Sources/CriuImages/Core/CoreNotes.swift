/// The signal a process was about to die of.
public struct FatalSignal: Hashable, Sendable {
    /// Its number, signal(7).
    public let number: Int32
    /// `si_code` of sigaction(2).
    public let code: Int32
    /// The thread that got it, by its id in the sandbox.
    public let thread: Int32
    /// `si_addr`, for those that tell of an address.
    public let address: UInt64

    public init(number: Int32, code: Int32, thread: Int32, address: UInt64) {
        self.number = number
        self.code = code
        self.thread = thread
        self.address = address
    }
}

/// The notes of a core file, as Linux writes them (fs/binfmt_elf.c, fill_note_info; elf.h).
struct CoreNotes {
    private enum Kind: UInt32 {
        case status = 1
        case floatingPoint = 2
        case process = 3
        case auxiliary = 6
        case signal = 0x5349_4749
        case files = 0x4649_4c45
        case extendedState = 0x202
    }

    private(set) var bytes = Bytes()

    private mutating func add(_ kind: Kind, _ content: [UInt8]) {
        // The register sets beyond the first belong to LINUX, the rest to CORE.
        let owner = kind == .extendedState ? "LINUX" : "CORE"
        bytes.put(UInt32(owner.utf8.count + 1))
        bytes.put(UInt32(content.count))
        bytes.put(kind.rawValue)
        bytes.put(owner.utf8, length: owner.utf8.count + 1)
        bytes.align(4)
        bytes.put(content)
        bytes.align(4)
    }

    mutating func add(thread: CoreThread, of process: ImageProcess, signal: FatalSignal?) {
        var status = Bytes()
        status.put(signal?.number ?? 0)
        status.put(signal?.code ?? 0)
        status.put(Int32(0))
        status.put(Int16(truncatingIfNeeded: signal?.number ?? 0))
        status.align(8)
        status.put(UInt64(0))
        status.put(thread.blocked)
        for id in [thread.id, process.parent, process.group, process.session] { status.put(id) }
        status.pad(to: 112)
        for register in thread.registers { status.put(register) }
        status.put(Int32(1))
        status.align(8)
        add(.status, status.bytes)
    }

    mutating func add(registersOf thread: CoreThread) {
        add(.floatingPoint, thread.fxsave)
        add(.extendedState, thread.xsave)
    }

    mutating func add(process: ImageProcess, user: (uid: UInt32, gid: UInt32), arguments: [UInt8]) {
        var information = Bytes()
        // State, its letter, whether it is a zombie, and nice.
        information.put([0, UInt8(ascii: process.state == .stopped ? "T" : "S"), 0, 0])
        information.align(8)
        information.put(UInt64(0))
        information.put(user.uid)
        information.put(user.gid)
        for id in [process.pid, process.parent, process.group, process.session] { information.put(id) }
        information.put(process.command.utf8, length: 16)
        information.put(arguments.map { $0 == 0 ? UInt8(ascii: " ") : $0 }, length: 80)
        add(.process, information.bytes)
    }

    mutating func add(signal: FatalSignal?) {
        var information = Bytes()
        information.put(signal?.number ?? 0)
        information.put(Int32(0))
        information.put(signal?.code ?? 0)
        information.align(8)
        information.put(signal?.address ?? 0)
        information.pad(to: 128)
        add(.signal, information.bytes)
    }

    mutating func add(auxiliary: [(type: UInt64, value: UInt64)]) {
        var vector = Bytes()
        for pair in auxiliary + [(type: 0, value: 0)] {
            vector.put(pair.type)
            vector.put(pair.value)
        }
        add(.auxiliary, vector.bytes)
    }

    mutating func add(files: [(range: Range<UInt64>, offset: UInt64, name: String)]) {
        var table = Bytes()
        table.put(UInt64(files.count))
        table.put(Page.size)
        for file in files {
            table.put(file.range.lowerBound)
            table.put(file.range.upperBound)
            table.put(file.offset / Page.size)
        }
        for file in files { table.put(Array(file.name.utf8) + [0]) }
        add(.files, table.bytes)
    }
}
