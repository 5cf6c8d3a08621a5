import FoundationEssentials

/// Bytes as base64 (RFC 4648).
func encodeBase64(_ bytes: [UInt8]) -> String { FoundationEssentials.Data(bytes).base64EncodedString() }

/// The bytes that base64 stands for; nil where it is none.
func decodeBase64(_ text: String) -> [UInt8]? {
    FoundationEssentials.Data(base64Encoded: text).map { [UInt8]($0) }
}
