// swift-tools-version: 6.1
import PackageDescription

/// Every Swift target is compiled alike: Swift 6 mode, explicit visibility, warnings are errors.
let strict: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .unsafeFlags(["-warnings-as-errors"]),
]
let gnu: [CSetting] = [.define("_GNU_SOURCE")]

/// How a system library is linked: what ships has it inside, and of it only what is used. Each shared library
/// would cost every start of ckpt some of a millisecond, and those of TLS and compression bring a dozen more.
func linked(_ libraries: [String]) -> [LinkerSetting] {
    libraries.flatMap { name -> [LinkerSetting] in
        [
            .linkedLibrary(name, .when(configuration: .debug)),
            .linkedLibrary(":lib\(name).a", .when(configuration: .release)),
        ]
    }
}

/// How the executable has Swift's standard library: inside, which is twice as fast to start. FoundationEssentials
/// names its parts to the linker only where the whole package is built with a static standard library.
///
/// With CKPT_SANITIZE it is shared: a static one hides the sanitizer's own malloc and pthread_create from libraries.
let standardLibrary: [LinkerSetting] =
    Context.environment["CKPT_SANITIZE"] != nil
    ? []
    : [
        .unsafeFlags(["-static-stdlib"]), .linkedLibrary("_FoundationCollections"),
        .linkedLibrary("_FoundationCShims"), .linkedLibrary("swiftSynchronization"),
    ]

/// A Swift target with the settings they all share.
func module(_ name: String, _ dependencies: [Target.Dependency], libraries: [String] = []) -> Target {
    .target(
        name: name, dependencies: dependencies, cSettings: gnu, swiftSettings: strict,
        linkerSettings: linked(libraries))
}

func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .testTarget(name: name, dependencies: dependencies, cSettings: gnu)
}

let package = Package(
    name: "ckpt",
    targets: [
        // Level 0: C and system libraries.
        .target(name: "CLinux", dependencies: ["CNetlink"]),
        .systemLibrary(
            name: "CNetlink", pkgConfig: "libnl-route-3.0",
            providers: [.apt(["libnl-3-dev", "libnl-route-3-dev"])]),
        // The next seven have no pkg-config name, which would link them shared; see `linked`.
        .systemLibrary(name: "CProtobufC", providers: [.apt(["libprotobuf-c-dev"])]),
        .systemLibrary(name: "CCrypto", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(name: "CXXHash", providers: [.apt(["libxxhash-dev"])]),
        .systemLibrary(name: "CSQLite", providers: [.apt(["libsqlite3-dev"])]),
        .systemLibrary(
            name: "CArchive", providers: [.apt(["libarchive-dev", "libacl1-dev", "libzstd-dev"])]),
        .systemLibrary(name: "CSeccomp", providers: [.apt(["libseccomp-dev"])]),
        .systemLibrary(name: "CMicroHTTPD", providers: [.apt(["libmicrohttpd-dev"])]),
        .target(
            name: "CWithoutTLS",
            cSettings: [.define("CKPT_STATIC_LIBRARIES", .when(configuration: .release))]),
        .target(
            name: "CCriuImages", dependencies: ["CProtobufC"], linkerSettings: linked(["protobuf-c"])),
        .target(name: "CFloor"),
        .target(name: "CTwin", cSettings: gnu),
        // Level 1
        module("LinuxSystem", ["CLinux"]),
        module("Messages", []),
        module("Digests", ["CXXHash"], libraries: ["xxhash"]),
        module("LocalArchive", ["CArchive", "CLinux"], libraries: ["archive", "acl", "zstd"]),
        // Level 2
        module("CommandInterface", ["Messages"]),
        module("Telemetry", ["LinuxSystem", "Messages"]),
        module("SandboxRuntime", ["LinuxSystem", "Messages", "CLinux", "CSeccomp"], libraries: ["seccomp"]),
        module(
            "CriuImages",
            ["LinuxSystem", "Messages", "Digests", "CLinux", "CTwin", "CCriuImages", "CProtobufC"]),
        module(
            "Criu", ["LinuxSystem", "CLinux", "CTwin", "CCriuImages", "CProtobufC", "CCrypto"],
            libraries: ["crypto"]),
        module(
            "SnapshotTree", ["LinuxSystem", "Messages", "Digests", "LocalArchive", "CLinux", "CSQLite"],
            libraries: ["sqlite3"]),
        module("Twins", ["LinuxSystem", "CLinux", "CTwin"]),
        // Level 3
        module(
            "Checkpointing",
            [
                "LinuxSystem", "Messages", "Digests", "CLinux", "CTwin", "SandboxRuntime", "SnapshotTree",
                "Criu",
                "CriuImages", "LocalArchive", "Telemetry", "Twins",
            ]),
        // Level 4
        module(
            "Server", ["LinuxSystem", "Messages", "Telemetry", "CLinux", "CMicroHTTPD", "CWithoutTLS"],
            libraries: ["microhttpd"]),
        module("Client", ["LinuxSystem", "Messages", "CLinux"]),
        // Level 5
        module(
            "Benchmark",
            ["Client", "Checkpointing", "Criu", "CriuImages", "LinuxSystem", "Messages", "CLinux", "CFloor"]),
        // Level 6
        .executableTarget(
            name: "ckpt",
            dependencies: [
                "Client", "CommandInterface", "LocalArchive", "LinuxSystem", "Messages", "CLinux", "Server",
                "Checkpointing", "Telemetry", "Benchmark", "CTwin",
            ],
            cSettings: gnu, swiftSettings: strict,
            linkerSettings: standardLibrary),
        // Tests
        tests(
            "CriuImagesTests", ["CriuImages", "LinuxSystem", "Digests", "CCriuImages", "CProtobufC", "CTwin"]),
        tests(
            "SandboxRuntimeTests",
            ["SandboxRuntime", "Criu", "CriuImages", "LinuxSystem", "Messages", "CLinux"]),
        .testTarget(
            name: "CriuTests",
            dependencies: ["Criu", "CriuImages", "CCriuImages", "CProtobufC", "LinuxSystem", "CLinux"],
            exclude: ["Programs"],
            cSettings: gnu),
        tests(
            "SnapshotTreeTests",
            ["SnapshotTree", "LinuxSystem", "Messages", "Digests", "LocalArchive", "CLinux"]),
        tests("ScriptTests", []),
        tests("BenchmarkTests", ["Benchmark"]),
        // Reads what /metrics tells, strictly.
        .target(name: "MetricsText", path: "Tests/MetricsText", swiftSettings: strict),
        tests("TelemetryTests", ["Telemetry", "LinuxSystem", "Messages", "MetricsText"]),
        tests("CommandLineTests", ["CommandInterface", "LocalArchive", "Messages"]),
        // Reads mutated images under AddressSanitizer; scripts/build-image-fuzzer builds it, a test runs it.
        .executableTarget(
            name: "ImageFuzzer", dependencies: ["CriuImages", "LinuxSystem", "Messages"],
            path: "Tests/ImageFuzzer", cSettings: gnu, swiftSettings: strict),
        // End to end: the real binary, the real kernel, the real CRIU.
        .testTarget(
            name: "EndToEndTests", dependencies: ["Messages", "Digests", "MetricsText"],
            resources: [.copy("Programs")],
            cSettings: gnu),
        .target(
            name: "ServerFixture", dependencies: ["LinuxSystem", "Messages"], path: "Tests/ServerFixture",
            cSettings: gnu, swiftSettings: strict),
        .executableTarget(
            name: "ServerFixtureProgram", dependencies: ["Server", "Client", "ServerFixture", "Messages"],
            path: "Tests/ServerFixtureProgram", cSettings: gnu),
        tests(
            "ServerTests",
            [
                "Server", "Client", "ServerFixture", "ServerFixtureProgram", "LinuxSystem", "Messages",
                "Telemetry",
            ]),
    ],
    swiftLanguageModes: [.v6]
)
