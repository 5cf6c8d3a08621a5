/// The kinds of image files that ckpt reads, by the magic numbers they begin with (CRIU's criu/include/magic.h).
enum ImageKind: CaseIterable {
    case inventory, processTree, core, memoryMap, files, statistics
    case pageMap, descriptors, taskObjects, taskDirectories, seccomp
    case mounts, hostname, interprocess, clocks, users, processNumbers, groups
    case pipeData, fifoData, socketQueues, tcpStream, terminals, terminalData, memoryFiles, remappedFiles,
        deletedFile
    case fileLocks

    /// The 32-bit words before the first entry.
    ///
    /// Since image version 1.1 a common number comes before the kind's own; the inventory, which tells the
    /// version, goes without, and the statistics have another common one.
    var magic: [UInt32] {
        switch self {
        case .inventory: [0x5831_3116]
        case .statistics: [0x5510_5940, 0x5709_3306]
        default: [0x5456_4319, own]
        }
    }

    private var own: UInt32 {
        switch self {
        case .inventory: 0x5831_3116
        case .processTree: 0x5027_3030
        case .core: 0x5505_3847
        case .memoryMap: 0x5749_2820
        case .files: 0x5630_3138
        case .statistics: 0x5709_3306
        case .pageMap: 0x5608_4025
        case .descriptors: 0x5621_3732
        case .taskObjects: 0x5443_2030
        case .taskDirectories: 0x5140_3912
        case .seccomp: 0x6441_3049
        case .mounts: 0x5556_3928
        case .hostname: 0x5447_3203
        case .interprocess: 0x5311_5007
        case .clocks: 0x4311_4433
        case .users: 0x5547_4906
        case .processNumbers: 0x6115_7326
        case .groups: 0x5938_3330
        case .pipeData: 0x5645_3709
        case .fifoData: 0x5933_3054
        case .socketQueues: 0x5626_4026
        case .tcpStream: 0x5146_5506
        case .terminals: 0x5945_3036
        case .terminalData: 0x5941_3026
        case .memoryFiles: 0x4845_3499
        case .remappedFiles: 0x5913_3954
        case .deletedFile: 0x5258_3605
        case .fileLocks: 0x5432_3616
        }
    }
}
