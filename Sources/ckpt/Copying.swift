import Client
import CommandInterface
import Glibc
import LinuxSystem
import LocalArchive
import Messages

/// Copies `source` of a sandbox to `target` of this machine.
func copyOut(_ call: Invocation, _ name: String, _ source: CopyPath, _ target: CopyPath) throws {
    let there = localKind(target.path)
    let count = WorkCount()
    let leftOut = try call.waiting(
        "copying from \(name)", .bytes(count, total: { nil }), interrupted: .partly
    ) {
        let path = source.mustBeDirectory ? source.path + "/." : source.path
        return try readingArchive(
            call, name, path, owners: call.words.has("archive"), counting: count
        ) { read in
            try unpackArchive(from: read, keepingOwners: call.words.has("archive")) { top in
                if source.mustBeDirectory, !top.isDirectory {
                    throw ErrorMessage(.badValue, "\(name):\(source.path) is no directory")
                }
                return try place(of: top, source, target, there)
            }
        }
    }
    noteLeftOut(leftOut, call)
}

/// Where a copy lands on this machine.
private func place(
    of top: ArchiveTop, _ source: CopyPath, _ target: CopyPath, _ there: FileKind
) throws -> ArchivePlace {
    switch there {
    case .directory:
        return source.contentsOnly && top.isDirectory
            ? ArchivePlace(contentsIn: target.path) : ArchivePlace(in: target.path, as: source.name)
    case .file:
        guard !top.isDirectory, !target.mustBeDirectory else {
            throw ErrorMessage(.badValue, "cannot copy a directory over the file \(target.path)")
        }
    case .missing:
        guard top.isDirectory || !target.mustBeDirectory else {
            throw ErrorMessage(.badValue, "there is no directory \(target.path)", hint: "make it first")
        }
    }
    guard !target.name.isEmpty else { throw ErrorMessage(.badValue, "\(target.path) can name no copy") }
    return ArchivePlace(in: target.parent, as: target.name)
}

/// Copies `source` of this machine to `target` of a sandbox.
func copyIn(_ call: Invocation, _ source: CopyPath, _ name: String, _ target: CopyPath) throws {
    let here = localKind(source.path)
    guard here != .missing else { throw ErrorMessage(.notFound, "there is no \(source.path) here") }
    if source.mustBeDirectory, here != .directory {
        throw ErrorMessage(.badValue, "\(source.path) is no directory")
    }
    let there = try kindInside(call, name, target.path)
    if there == .file, here == .directory || target.mustBeDirectory {
        throw ErrorMessage(.badValue, "cannot copy a directory over the file \(name):\(target.path)")
    }
    if there == .missing, here == .file, target.mustBeDirectory {
        throw ErrorMessage(.badValue, "there is no directory \(name):\(target.path)", hint: "make it first")
    }
    let (directory, copyName) =
        switch there {
        case .directory: (target.path, source.contentsOnly ? "" : source.name)
        case .file, .missing: (target.parent, target.name)
        }
    let count = WorkCount()
    try call.waiting(
        "copying to \(name)", .bytes(count, total: { bytesBelow(source.path) }), interrupted: .partly
    ) {
        let owners = call.words.has("archive")
        try writingArchive(call, name, directory, owners: owners, counting: count) { write in
            let path = source.mustBeDirectory ? source.path + "/." : source.path
            try packArchive(of: path, named: copyName, keepingOwners: owners, write: write)
        }
    }
}

/// Hands a tar stream of `path` to stdout.
func copyToStdout(_ call: Invocation, _ name: String, _ path: String) throws {
    if isatty(STDOUT_FILENO) == 1 {
        throw UsageError("a tar stream is nothing for a terminal: send stdout elsewhere", command: "cp")
    }
    try readingArchive(call, name, path, owners: call.words.has("archive")) { read in
        while true {
            let bytes = try read()
            if bytes.isEmpty { return }
            try bytes.withUnsafeBytes { try writeAll($0, to: STDOUT_FILENO) }
        }
    }
}

/// Unpacks the tar stream on stdin in the directory `path` of a sandbox.
func copyFromStdin(_ call: Invocation, _ name: String, _ path: String) throws {
    Interrupt.means(.partly)
    try writingArchive(call, name, path, owners: call.words.has("archive")) { write in
        while true {
            let bytes = try readPiece(of: STDIN_FILENO)
            if bytes.isEmpty { return }
            try bytes.withUnsafeBytes { try write($0) }
        }
    }
}

/// What is at a path, symbolic links followed.
private enum FileKind {
    case missing, directory, file
}

private func localKind(_ path: String) -> FileKind {
    var status = stat()
    guard stat(path, &status) == 0 else { return .missing }
    return status.st_mode & S_IFMT == S_IFDIR ? .directory : .file
}

/// What is at a path inside a sandbox, by the first entry of its tar stream; symbolic links are followed.
private func kindInside(_ call: Invocation, _ name: String, _ path: String) throws -> FileKind {
    func top(_ path: String) throws -> ArchiveTop? {
        try readingArchive(call, name, path, toEnd: false) { try archiveTop(from: $0) }
    }
    do {
        if try top(path)?.isDirectory == true { return .directory }
    } catch let error as ErrorMessage where error.code == .notFound {
        return .missing
    }
    // A link to a directory is one only with something behind it.
    return (try? top(path + "/."))?.isDirectory == true ? .directory : .file
}
