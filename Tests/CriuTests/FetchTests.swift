import Glibc
import Testing

@testable import Criu

/// `scripts/fetch-criu` with the real pip, a wheel made here and pins of its own; nothing comes from a network.
@Suite struct FetchTests {
    /// A checkout with nothing but the script, its pins and a directory of wheels.
    private final class Checkout {
        let directory: String
        let binaryDigest: String
        let wheelDigest: String

        init() throws {
            directory = String(try shell("mktemp -d /tmp/ckpt-fetch-test.XXXXXX").dropLast())
            try shell(
                """
                cd \(directory) && mkdir scripts criu-images wheels && cp \(repository)/scripts/fetch-criu scripts
                python3 - <<'EOF'
                import zipfile
                with zipfile.ZipFile("wheels/ckpt_test_criu-1.0-py3-none-any.whl", "w") as wheel:
                    about = "ckpt_test_criu-1.0.dist-info/"
                    wheel.writestr("vendor/criu", "not really")
                    wheel.writestr(about + "METADATA", "Metadata-Version: 2.1\\nName: ckpt-test-criu\\nVersion: 1.0\\n")
                    wheel.writestr(about + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
                    wheel.writestr(about + "RECORD", "")
                EOF
                """)
            binaryDigest = String(try shell("printf 'not really' | sha256sum").prefix(64))
            wheelDigest = String(try shell("sha256sum \(directory)/wheels/*").prefix(64))
        }

        deinit { _ = try? shell("rm -rf '\(directory)'") }

        /// Runs the script with these pins; returns its output and whether it succeeded.
        func fetch(binary: String, wheel: String) throws -> (String, Bool) {
            let pins = """
                version 1.0
                binary-sha256 \(binary)
                wheel ckpt-test-criu==1.0
                wheel-python 3.12
                wheel-member vendor/criu
                wheel-sha256 \(wheel)
                """
            try shell("cat > \(directory)/criu-images/PIN <<'EOF'\n\(pins)\nEOF")
            let run = "PIP_NO_INDEX=1 PIP_FIND_LINKS=\(directory)/wheels \(directory)/scripts/fetch-criu"
            let output = try shell("if \(run); then echo succeeded; else echo failed; fi")
            return (output, output.hasSuffix("succeeded\n"))
        }

        var installed: String { "\(directory)/.build/libexec/ckpt/criu" }
        var leftovers: String {
            get throws { try shell("ls -A \(directory)/.build/libexec/ckpt 2>/dev/null; true") }
        }
    }

    private let wrong = String(repeating: "0", count: 64)

    @Test func installsWhatIsPinnedAndIsQuickTheSecondTime() throws {
        let checkout = try Checkout()
        let (output, success) = try checkout.fetch(binary: checkout.binaryDigest, wheel: checkout.wheelDigest)
        #expect(success, "\(output)")
        #expect(text(of: checkout.installed) == "not really")
        #expect(access(checkout.installed, X_OK) == 0)
        #expect(try checkout.leftovers == "criu\n")
        // With the wheel gone only a script that does not fetch again can succeed.
        try shell("rm \(checkout.directory)/wheels/*")
        #expect(try checkout.fetch(binary: checkout.binaryDigest, wheel: checkout.wheelDigest).1)
    }

    @Test func wrongWheelInstallsNothing() throws {
        let checkout = try Checkout()
        let (output, success) = try checkout.fetch(binary: checkout.binaryDigest, wheel: wrong)
        #expect(
            !success
                && output.contains("the wheel ckpt-test-criu==1.0 has the SHA-256 \(checkout.wheelDigest)"))
        #expect(try checkout.leftovers == "")
    }

    @Test func wrongBinaryInstallsNothing() throws {
        let checkout = try Checkout()
        let (output, success) = try checkout.fetch(binary: wrong, wheel: checkout.wheelDigest)
        #expect(!success && output.contains("the CRIU in it has the SHA-256 \(checkout.binaryDigest)"))
        #expect(try checkout.leftovers == "")
    }
}
