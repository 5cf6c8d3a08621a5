import Client
import FoundationEssentials
import Glibc
import LinuxSystem
import Messages

/// Runs a command to its end, with all of stdin when `interactive`.
func bufferedExec(
    _ client: Client, _ name: String, _ request: ExecRequest, interactive: Bool
) throws -> ExecResult {
    var request = request
    if interactive { request.stdin = Data(try allOfStandardInput()).base64EncodedString() }
    return try client.exec(name, request)
}

/// All of stdin as text.
func readStandardInput() throws -> String { String(decoding: try allOfStandardInput(), as: UTF8.self) }

/// At most 64 KiB of a descriptor; nothing at the end of the file.
func readPiece(of descriptor: Int32) throws(SystemError) -> [UInt8] {
    var failure: SystemError?
    let piece = [UInt8](unsafeUninitializedCapacity: 65536) { buffer, count in
        do throws(SystemError) {
            count = try retrying("read") { read(descriptor, buffer.baseAddress, buffer.count) }
        } catch {
            failure = error
        }
    }
    if let failure { throw failure }
    return piece
}

private func allOfStandardInput() throws(SystemError) -> [UInt8] {
    var all: [UInt8] = []
    while true {
        let piece = try readPiece(of: STDIN_FILENO)
        if piece.isEmpty { return all }
        all += piece
    }
}
