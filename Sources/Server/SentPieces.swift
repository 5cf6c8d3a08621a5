import CMicroHTTPD
import Messages

/// Keeps the pieces of an answer until it is sent.
final class SentPieces {
    private let pieces: [SharedBytes]
    init(_ pieces: [SharedBytes]) { self.pieces = pieces }

    /// MHD_ContentReaderFreeCallback.
    static let release: MHD_ContentReaderFreeCallback = { owner in
        if let owner { Unmanaged<SentPieces>.fromOpaque(owner).release() }
    }
}
