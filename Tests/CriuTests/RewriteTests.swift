import CCriuImages
import Glibc
import LinuxSystem
import Testing

@testable import Criu
@testable import CriuImages

/// How an entry is taken apart and put together again, with nothing changed.
private typealias Rewrite = (inout ImageFile, Int) throws -> Void

private func rewriting<Message>(_ unpack: @escaping Unpack<Message>, _ free: @escaping Free<Message>)
    -> Rewrite
{
    { file, index in try file.edit(index, unpack, free) { (_) throws(CriuImageError) in } }
}

/// The kind of a file and of its entries, by the beginning of its name; the first one that fits.
private var kinds: [(prefix: String, kind: ImageKind, head: Rewrite, rest: Rewrite?)] {
    [
        ("inventory", .inventory, rewriting(inventory_entry__unpack, inventory_entry__free_unpacked), nil),
        ("pstree", .processTree, rewriting(pstree_entry__unpack, pstree_entry__free_unpacked), nil),
        ("core-", .core, rewriting(core_entry__unpack, core_entry__free_unpacked), nil),
        ("mm-", .memoryMap, rewriting(mm_entry__unpack, mm_entry__free_unpacked), nil),
        ("files", .files, rewriting(file_entry__unpack, file_entry__free_unpacked), nil),
        ("fdinfo-", .descriptors, rewriting(fdinfo_entry__unpack, fdinfo_entry__free_unpacked), nil),
        (
            "ids-", .taskObjects, rewriting(task_kobj_ids_entry__unpack, task_kobj_ids_entry__free_unpacked),
            nil
        ),
        ("fs-", .taskDirectories, rewriting(fs_entry__unpack, fs_entry__free_unpacked), nil),
        ("seccomp", .seccomp, rewriting(seccomp_entry__unpack, seccomp_entry__free_unpacked), nil),
        ("mountpoints-", .mounts, rewriting(mnt_entry__unpack, mnt_entry__free_unpacked), nil),
        ("utsns-", .hostname, rewriting(utsns_entry__unpack, utsns_entry__free_unpacked), nil),
        ("timens-", .clocks, rewriting(timens_entry__unpack, timens_entry__free_unpacked), nil),
        ("userns-", .users, rewriting(userns_entry__unpack, userns_entry__free_unpacked), nil),
        ("cgroup", .groups, rewriting(cgroup_entry__unpack, cgroup_entry__free_unpacked), nil),
        ("tty-info", .terminals, rewriting(tty_info_entry__unpack, tty_info_entry__free_unpacked), nil),
        ("tty-data", .terminalData, rewriting(tty_data_entry__unpack, tty_data_entry__free_unpacked), nil),
        ("memfd", .memoryFiles, rewriting(memfd_inode_entry__unpack, memfd_inode_entry__free_unpacked), nil),
        (
            "remap-fpath", .remappedFiles,
            rewriting(remap_file_path_entry__unpack, remap_file_path_entry__free_unpacked), nil
        ),
        ("stats-dump", .statistics, rewriting(stats_entry__unpack, stats_entry__free_unpacked), nil),
        (
            "pagemap-", .pageMap, rewriting(pagemap_head__unpack, pagemap_head__free_unpacked),
            rewriting(pagemap_entry__unpack, pagemap_entry__free_unpacked)
        ),
    ]
}

/// Kinds that go on with bytes which are no entries.
private var heads: [(prefix: String, kind: ImageKind, head: Rewrite)] {
    [
        ("tcp-stream-", .tcpStream, rewriting(tcp_stream_entry__unpack, tcp_stream_entry__free_unpacked)),
        ("pipes-data", .pipeData, rewriting(pipe_data_entry__unpack, pipe_data_entry__free_unpacked)),
        ("sk-queues", .socketQueues, rewriting(sk_packet_entry__unpack, sk_packet_entry__free_unpacked)),
        ("ghost-file-", .deletedFile, rewriting(ghost_file_entry__unpack, ghost_file_entry__free_unpacked)),
    ]
}

/// Field 1999, which no CRIU of today has, with the text "later".
private let future: [UInt8] = [0xfa, 0x7c, 5] + Array("later".utf8)

extension CriuSuite {
    /// What CRIU wrote is written byte for byte as it was, known to ckpt or not.
    @Suite struct Rewriting {
        @Test(arguments: ["/sockets", "/terminal", "/hold mapping"])
        func everyImageOfADumpSurvives(program: String) throws {
            try inPrivateMounts { binary in
                let box = try TestSandbox(binary, program)
                try eventually("\(program) is ready") { box.file("/ready") == "ready\n" }
                let directory = box.images(try box.dump())
                var seen: Set<String> = []
                for name in try Files.names(in: directory) {
                    let bytes = try Files.read("\(directory)/\(name)")
                    if let row = kinds.first(where: { name.hasPrefix($0.prefix) }) {
                        seen.insert(row.prefix)
                        try check(name, bytes, row.kind, head: row.head, rest: row.rest ?? row.head)
                    } else if let row = heads.first(where: { name.hasPrefix($0.prefix) }), bytes.count > 8 {
                        seen.insert(row.prefix)
                        let (file, payload) = try ImageFile.head(name, row.kind, parsing: bytes)
                        try check(name, Array(bytes[..<payload]), row.kind, head: row.head, rest: row.head)
                        #expect(file.entries.count == 1)
                    }
                }
                #expect(
                    seen.count > 15
                        && seen.isSuperset(of: ["core-", "mm-", "files", "pagemap-", "mountpoints-"]))
            }
        }

        private func check(
            _ name: String, _ bytes: [UInt8], _ kind: ImageKind, head: Rewrite, rest: Rewrite
        ) throws {
            var file = try ImageFile(name, kind, parsing: bytes)
            #expect(file.bytes == bytes, "\(name) taken apart")
            for index in file.entries.indices {
                try (index == 0 ? head : rest)(&file, index)
            }
            #expect(file.bytes == bytes, "\(name) unpacked and packed")
            for index in file.entries.indices { file.entries[index] += future }
            let extended = file.bytes
            for index in file.entries.indices { try (index == 0 ? head : rest)(&file, index) }
            #expect(file.bytes == extended, "\(name) with a field of a later version")
        }
    }
}
