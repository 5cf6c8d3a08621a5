/// Why CRIU 4.2 does not bring a tree to life. The lines are those of criu/files-reg.c, cr-restore.c, pie/restorer.c,
/// arch/x86/cpu.c, protobuf.c and image.c.
extension KnownRefusal {
    static let restores: [KnownRefusal] = [
        row(
            "file-size", "needs the file {path} with {expected} bytes, but it has {size} now",
            why: "a process that has a file mapped or open would go on with other content",
            hint:
                "bring the file back as it was at the save: it lies outside the snapshot, in the base or a volume",
            lines: ["File {path} has bad size {size} (expect {expected})"]),
        row(
            "file-mode", "needs the file {path} with the mode {expected}, but it has {mode} now",
            why: "the file is another one than at the save",
            hint:
                "bring the file back as it was at the save: it lies outside the snapshot, in the base or a volume",
            lines: ["File {path} has bad mode {mode} (expect {expected})"]),
        row(
            "file-build", "needs the program or library {path}, of which there is another build now",
            why: "its code is mapped, and other code lies at the same addresses now",
            hint: "install the version of the save again: it lies in the base, which a host update changed",
            lines: ["File {path} has bad build-ID"]),
        row(
            "file-missing", "needs the file {path}, which cannot be opened: {reason}",
            why: "it lies outside the snapshot, in the base or a volume",
            hint:
                "bring it back as it was at the save (an update of the host's packages may have removed it)",
            lines: ["Can't open file {path} on restore: {reason}"]),
        row(
            "pid-taken", "cannot get the process id it had",
            why: "another process of the namespace has it", hint: "restore again; tell us if it stays so",
            lines: [
                "Pid {number} do not match expected {expected}", "Can't fork for {pid}: File exists",
                "Thread pid mismatch {number}/{expected}", "Unable to create a thread: -17",
            ]),
        row(
            "cpu", "was saved on a processor that has what this one has not",
            why: "its registers, or code that it has chosen already, need those instructions",
            hint: "restore on a machine of the same kind, or save on the older one",
            lines: [
                "CPU instruction capabilities do not match run time",
                "CPU capabilities do not match run time",
                "FPU feature required by image", "CPU xfeatures has unsupported bits",
                "CPU xsave size mismatch",
                "CPU xsave max size mismatch", "FPU xsave area present",
            ]),
        row(
            "kernel", "needs what this kernel does not have",
            why: "it was saved under another kernel",
            hint: "restore under the kernel it was saved under, or a newer one",
            lines: [
                "rseq: can't restore as kernel doesn't support it", "Time namespaces are not supported",
                "Task had vdso, restorer doesn't", "Compatible mode without vdso map support",
                "Can't restore high memory region",
            ]),
        row(
            "architecture", "was saved on a machine of another architecture",
            why: "a process is made of its machine's code",
            hint: "restore on a machine of the architecture it was saved on",
            lines: ["Core march mismatch {number}"]),
        row(
            "image-format", "was saved by another CRIU",
            why: "this one does not read its images", hint: "restore with the ckpt that saved it",
            lines: ["Not supported images version {number}", "Too old image, no longer supported"]),
        row(
            "damaged-image", "has a damaged process image",
            why: "a file of the snapshot is cut short or altered",
            hint: "ckpt verify names the file; restore another snapshot",
            lines: [
                "Unexpected EOF", "Read {size} bytes while {expected} expected ", "Failed unpacking object",
                "agic doesn't match for {file}",
                "Image corrupted on pid {pid}",
                "Reached EOF unexpectedly while reading page", "Can't read mapping page", "Img trimmed",
                "Core task state data missed", "Core info data missed", "Missing {address} in parent pagemap",
            ]),
        row(
            "address-in-use", "cannot get its network address back: it is in use",
            why: "another socket of the namespace has it",
            hint: "end what listens there; with --net host that is a program of the host",
            // The second as musl has it, which the bundled CRIU is linked with.
            lines: [
                "Can't bind inet socket (id {number}): Address already in use",
                "Can't bind inet socket (id {number}): Address in use",
            ]),
        row(
            "killed", "was killed while it was restored (signal {number})",
            why: "the memory limit was reached, or somebody killed it",
            hint: "give the machine or the sandbox more memory, or restore again",
            lines: ["killed by signal {number}: "]),
    ]

    private static func row(
        _ id: String, _ what: String, why: String, hint: String, lines: [String]
    ) -> KnownRefusal {
        KnownRefusal(id, what, why: why, hint: hint, stage: .restore, lines: lines)
    }
}
