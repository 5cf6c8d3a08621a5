import CLinux
import Glibc
import LinuxSystem

/// A path or a name as the kernel has it: bytes without the final zero, not necessarily UTF-8.
public typealias RawPath = [CChar]

/// The directories of one overlay, topmost first, read without mounting it.
///
/// What overlayfs shows is looked up by the rules of Documentation/filesystems/overlayfs.rst: a whiteout hides what is
/// below, an opaque directory too, directories merge, and nothing else does. The directories are immutable
/// layers and a base. Redirected directories do not occur: the kernel makes them only where it was told to
/// (`redirect_dir`).
public struct OverlayStack: Sendable {
    /// Absolute paths.
    public let directories: [RawPath]

    /// The overlay of these directories, topmost first.
    public init(_ directories: [String]) { self.directories = directories.map { $0.rawPath } }

    /// What a path of the overlay is.
    public enum Entry: Equatable, Sendable {
        /// Not a directory: where it lies.
        case file(RawPath)
        /// Where its contents lie, topmost first.
        case directory([RawPath])

        /// What stat(2) is asked about: of a directory the topmost place.
        public var place: RawPath {
            switch self {
            case .file(let place): place
            case .directory(let places): places[0]
            }
        }
    }

    /// What lies at a path relative to the overlay's root, taken part by part: a symbolic link is what it is. Nil where
    /// there is nothing.
    public func find(_ path: String) -> Entry? {
        var places = directories
        let parts = path.split(separator: "/")
        for (index, part) in parts.enumerated() {
            switch Self.step(String(part).rawPath, in: places) {
            case .directory(let next): places = next
            case .file(let place): return index == parts.count - 1 ? .file(place) : nil
            case nil: return nil
            }
        }
        // A volume may be a single file.
        if parts.isEmpty, places.count == 1 {
            var status = stat()
            guard lstat(places[0] + [0], &status) == 0 else { return nil }
            if status.st_mode & S_IFMT != S_IFDIR { return .file(places[0]) }
        }
        return places.isEmpty ? nil : .directory(places)
    }

    /// One part of a path, in directories that merge.
    static func step(_ name: RawPath, in directories: [RawPath]) -> Entry? {
        var merged: [RawPath] = []
        for directory in directories {
            let place = directory + [slash] + name
            var status = stat()
            guard lstat(place + [0], &status) == 0 else { continue }
            guard status.st_mode & S_IFMT == S_IFDIR else {
                // Below a directory it is hidden.
                if !merged.isEmpty || isWhiteout(status) { break }
                return .file(place)
            }
            merged.append(place)
            if isOpaque(place) { break }
        }
        return merged.isEmpty ? nil : .directory(merged)
    }

    /// A whiteout is a character device 0:0.
    private static func isWhiteout(_ status: stat) -> Bool {
        status.st_mode & S_IFMT == S_IFCHR && status.st_rdev == 0
    }

    /// Whether a directory hides what lies below it.
    private static func isOpaque(_ directory: RawPath) -> Bool {
        var value: UInt8 = 0
        return lgetxattr(directory + [0], "trusted.overlay.opaque", &value, 1) == 1
            && value == UInt8(ascii: "y")
    }

    static let slash = CChar(bitPattern: UInt8(ascii: "/"))
}

extension String {
    /// The bytes of a path.
    var rawPath: RawPath { Array(utf8CString.dropLast()) }
}

/// A path as text; bytes that are no UTF-8 are replaced.
public func displayed(_ path: RawPath) -> String {
    String(decoding: path.lazy.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}
