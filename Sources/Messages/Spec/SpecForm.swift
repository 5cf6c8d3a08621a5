/// The kinds of value a spec has, for whoever checks words before a request is made.
public enum SpecForm: String, Sendable, CaseIterable {
    case size, swap, volume, tmpfs, device, cpus, numbers, ioLimit, network, port, host, nameServer, ulimit
    case capability, sysctl

    private var type: any SpelledValue.Type {
        switch self {
        case .size: ByteSize.self
        case .swap: SwapLimit.self
        case .volume: Volume.self
        case .tmpfs: Tmpfs.self
        case .device: Device.self
        case .cpus: CPUQuota.self
        case .numbers: NumberSet.self
        case .ioLimit: IOLimit.self
        case .network: Network.self
        case .port: PortForward.self
        case .host: HostAddress.self
        case .nameServer: NameServer.self
        case .ulimit: Ulimit.self
        case .capability: Capability.self
        case .sysctl: Sysctl.self
        }
    }

    /// The spellings that are accepted.
    public var forms: String { type.forms }

    /// Why `word` is no spelling; nil where it is one.
    public func objection(to word: String) -> String? { type.objection(to: word) }
}
