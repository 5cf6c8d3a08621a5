import Glibc

/// Whether it is an IPv4 or IPv6 address as inet_pton(3) reads it.
func isAddress(_ text: some StringProtocol) -> Bool {
    var room = in6_addr()
    let text = String(text)
    return inet_pton(AF_INET, text, &room) == 1 || inet_pton(AF_INET6, text, &room) == 1
}
