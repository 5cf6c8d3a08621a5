import Glibc

extension LogLine {
    /// The line as text or JSON, with its newline; `time` is seconds since 1970.
    func formatted(_ format: LogFormat, time: timespec) -> String {
        let head = [("time", Self.timestamp(time)), ("level", level.rawValue)]
        let all = head + fields + [("msg", message)]
        switch format {
        case .text: return all.map { "\($0)=\(Self.quotedIfNeeded($1))" }.joined(separator: " ") + "\n"
        case .json:
            let members = all.map { name, value in
                name == "ms" ? "\"ms\":\(value)" : "\"\(name)\":\(Self.quoted(value))"
            }
            return "{" + members.joined(separator: ",") + "}\n"
        }
    }

    /// RFC 3339, UTC, with milliseconds.
    static func timestamp(_ time: timespec) -> String {
        var parts = tm()
        var seconds = time.tv_sec
        gmtime_r(&seconds, &parts)
        let text = [UInt8](unsafeUninitializedCapacity: 32) { buffer, count in
            let start = UnsafeMutableRawPointer(buffer.baseAddress!).assumingMemoryBound(to: CChar.self)
            count = strftime(start, 32, "%Y-%m-%dT%H:%M:%S", &parts)
        }
        return String(decoding: text, as: UTF8.self)
            + ".\(String(time.tv_nsec / 1_000_000 + 1000).dropFirst())Z"
    }

    /// logfmt: a value with a blank, a quote, `=` or a control character is quoted.
    private static func quotedIfNeeded(_ value: String) -> String {
        let isPlain =
            !value.isEmpty
            && value.unicodeScalars.allSatisfy { scalar in
                scalar.value > 0x20 && scalar != "\"" && scalar != "=" && scalar != "\\"
                    && !(0x7f...0x9f).contains(scalar.value)
            }
        return isPlain ? value : quoted(value)
    }

    /// A JSON string (RFC 8259, 7); control characters cannot break a line or a terminal.
    static func quoted(_ value: String) -> String {
        var text = "\""
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case "\t": text += "\\t"
            default:
                if scalar.value < 0x20 || (0x7f...0x9f).contains(scalar.value) {
                    let digits = String(scalar.value, radix: 16)
                    text += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
                } else {
                    text.unicodeScalars.append(scalar)
                }
            }
        }
        return text + "\""
    }
}
