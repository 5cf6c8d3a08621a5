import Glibc
import LinuxSystem
import Testing

@testable import Criu

extension CriuSuite {
    @Suite struct Binary {
        /// Scripts and program must mean the same CRIU.
        @Test func pinsAgree() throws {
            let lines = try #require(text(of: repository + "/criu-images/PIN")).split(separator: "\n")
            #expect(lines.contains("version \(CriuPin.version)"))
            #expect(lines.contains("binary-sha256 \(CriuPin.sha256)"))
        }

        @Test func pinnedBinaryIsTakenAndIsWhatItSays() throws {
            let binary = try CriuBinary(checking: pinnedBinary)
            #expect(binary.isPinned)
            #expect(try binary.version() == CriuPin.version)
        }

        @Test func otherBinaryIsRefused() throws {
            let error = try #require(throws: CriuError.self) { try CriuBinary(checking: "/bin/sh") }
            #expect(error.kind == .binaryWrong)
            #expect(error.hint == "run scripts/fetch-criu")
        }

        @Test func missingBinaryIsRefused() throws {
            let error = try #require(throws: CriuError.self) { try CriuBinary(checking: "/nonexistent/criu") }
            #expect(error.kind == .binaryMissing)
        }

        @Test func changedBinaryIsReadAgain() throws {
            let copy = String(try shell("mktemp /tmp/ckpt-criu-copy.XXXXXX").dropLast())
            defer { unlink(copy) }
            try shell("cp \(pinnedBinary) \(copy) && chmod 755 \(copy)")
            _ = try CriuBinary(checking: copy)
            try shell("printf x >> \(copy)")
            #expect(throws: CriuError.self) { try CriuBinary(checking: copy) }
        }

        @Test func environmentNamesAnotherOne() throws {
            setenv("CKPT_CRIU", "/bin/true", 1)
            defer { unsetenv("CKPT_CRIU") }
            #expect(try CriuBinary.find().isPinned == false)
            setenv("CKPT_CRIU", "/nonexistent/criu", 1)
            let error = try #require(throws: CriuError.self) { try CriuBinary.find() }
            #expect(error.kind == .binaryMissing)
        }

        @Test func bundledOneIsFoundFromTheBuildDirectory() throws {
            unsetenv("CKPT_CRIU")
            #expect(try CriuBinary.find() == CriuBinary(checking: pinnedBinary))
        }
    }
}
