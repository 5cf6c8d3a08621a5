import Foundation
import Testing

/// A line of the table of flags in docs/docker.md.
struct DockerFlag: Sendable, CustomTestStringConvertible {
    let spellings: [String]
    let verdict: String
    /// An example where it is accepted, else what to do instead.
    let third: String
    let notes: String

    var testDescription: String { spellings.joined(separator: " ") }

    static let all: [DockerFlag] = {
        let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appendingPathComponent("docs/docker.md")
        let page = (try? String(contentsOf: file, encoding: .utf8)) ?? ""
        return page.split(separator: "\n").compactMap { line in
            let cells = line.replacingOccurrences(of: "\\|", with: "\u{1}").split(
                separator: "|", omittingEmptySubsequences: false
            ).map { $0.replacingOccurrences(of: "\u{1}", with: "|").trimmingCharacters(in: .whitespaces) }
            guard cells.count == 6, cells[1].hasPrefix("`-") else { return nil }
            let spellings = cells[1].split(separator: ",").map {
                $0.trimmingCharacters(in: CharacterSet(charactersIn: " `"))
            }
            return DockerFlag(spellings: spellings, verdict: cells[2], third: cells[3], notes: cells[4])
        }
    }()
}

@Suite("The page for users of Docker")
struct DockerPageTests {
    /// The flags of `docker run`, from its reference.
    static let official = """
        add-host annotation attach blkio-weight blkio-weight-device cap-add cap-drop cgroup-parent cgroupns cidfile
        cpu-count cpu-percent cpu-period cpu-quota cpu-rt-period cpu-rt-runtime cpu-shares cpus cpuset-cpus
        cpuset-mems detach detach-keys device device-cgroup-rule device-read-bps device-read-iops device-write-bps
        device-write-iops disable-content-trust dns dns-option dns-search domainname entrypoint env env-file expose
        gpus group-add health-cmd health-interval health-retries health-start-interval health-start-period
        health-timeout help hostname init interactive io-maxbandwidth io-maxiops ip ip6 ipc isolation kernel-memory
        label label-file link link-local-ip log-driver log-opt mac-address memory memory-reservation memory-swap
        memory-swappiness mount name network network-alias no-healthcheck oom-kill-disable oom-score-adj pid
        pids-limit platform privileged publish publish-all pull quiet read-only restart rm runtime security-opt
        shm-size sig-proxy stop-signal stop-timeout storage-opt sysctl tmpfs tty ulimit use-api-socket user userns
        uts volume volume-driver volumes-from workdir
        """.split(whereSeparator: \.isWhitespace).map { "--\($0)" }

    @Test("Every flag has one line")
    func everyFlag() {
        let named = DockerFlag.all.flatMap(\.spellings)
        #expect(Set(Self.official).subtracting(named).isEmpty)
        #expect(named.count == Set(named).count)
    }

    @Test(
        "What the page says is accepted is accepted", arguments: DockerFlag.all.filter { $0.verdict != "no" })
    func accepted(flag: DockerFlag) throws {
        #expect(["yes", "no effect"].contains(flag.verdict))
        let words = flag.third.trimmingCharacters(in: CharacterSet(charactersIn: "`")).split(
            separator: " ", maxSplits: 1
        ).map(String.init)
        #expect(flag.spellings.contains(words[0]))
        for spelling in flag.spellings {
            let outcome = try CkptProgram.run(
                CkptProgram.path, ["run", spelling] + words.dropFirst() + ["--help"])
            #expect(outcome.code == 0, "\(spelling): \(outcome.errors)")
        }
    }

    @Test(
        "What the page says there is not is refused, with what to do instead",
        arguments: DockerFlag.all.filter { $0.verdict == "no" })
    func refused(flag: DockerFlag) throws {
        for spelling in flag.spellings {
            for command in ["run", "create"] {
                let outcome = try CkptProgram.run(CkptProgram.path, [command, spelling, "value", "name"])
                #expect(outcome.code == 2, "\(spelling): \(outcome.output)")
                #expect(outcome.errors.contains(": \(flag.third) (hint:"), "\(spelling): \(outcome.errors)")
            }
        }
        let notes = flag.notes.split(separator: "`").map(String.init)
        for value in notes.indices.filter({ $0 % 2 == 1 }).map({ notes[$0] }) {
            let outcome = try CkptProgram.run(
                CkptProgram.path, ["run", "\(flag.spellings.last!)=\(value)", "--help"])
            #expect(outcome.code == 0, "\(flag.spellings.last!)=\(value): \(outcome.errors)")
        }
    }

    @Test("Flags take =true and =false as Docker's do")
    func explicitFlags() throws {
        for word in ["--rm=true", "--init=true", "--privileged=false", "--sig-proxy=false"] {
            #expect(try CkptProgram.run(CkptProgram.path, ["run", word, "--help"]).code == 0, "\(word)")
        }
        #expect(try CkptProgram.run(CkptProgram.path, ["run", "--rm=maybe", "--help"]).code == 2)
    }
}
