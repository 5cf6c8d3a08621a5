# Generated from docs/openapi.yaml by scripts/generate-python; never edited.
"""What the server answers, one class a schema of the API.

Times are seconds since 1970 (float), durations milliseconds, sizes bytes unless a field says otherwise. A
field that an answer does not have is `None`, or empty where it is a list or a mapping.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from ._decoding import Message

__all__ = [
    "ArchiveResult",
    "CheckResult",
    "CountStatistics",
    "CrashInfo",
    "Damage",
    "DebugSession",
    "DebuggedProcess",
    "DeleteResult",
    "DescriptorChange",
    "DirectoryListing",
    "DiskShare",
    "DoctorCheck",
    "DoctorReport",
    "ErrorMessage",
    "Event",
    "FileChange",
    "FileInfo",
    "FileState",
    "ForkResult",
    "GCResult",
    "HandoverInfo",
    "IOStatistics",
    "ImportResult",
    "InspectedClocks",
    "InspectedCredentials",
    "InspectedDump",
    "InspectedFile",
    "InspectedHandler",
    "InspectedHolder",
    "InspectedIDRange",
    "InspectedLimit",
    "InspectedMemory",
    "InspectedMount",
    "InspectedNamespace",
    "InspectedPages",
    "InspectedPipe",
    "InspectedProcess",
    "InspectedRegion",
    "InspectedSocket",
    "InspectedTerminal",
    "InspectedThread",
    "InspectedTimer",
    "InspectedWatch",
    "Inspection",
    "JobInfo",
    "JobList",
    "JobOutput",
    "LogList",
    "LogRecord",
    "MemoryChange",
    "MemoryInfo",
    "MemoryListing",
    "MemoryMatch",
    "MemoryMatches",
    "MemoryPiece",
    "MemoryStatistics",
    "ObjectList",
    "OriginInfo",
    "OutputPiece",
    "Pressure",
    "PressureAverages",
    "PressureStatistics",
    "ProcessChange",
    "ProcessTable",
    "ProcessorStatistics",
    "ProgressInfo",
    "PublishedPort",
    "ReclaimResult",
    "ResourceLimits",
    "RestoreResult",
    "RetiredSnapshot",
    "SandboxInfo",
    "SandboxList",
    "SandboxSpec",
    "SandboxStatistics",
    "SandboxUsage",
    "SandboxedProcess",
    "SaveProblem",
    "SecurityOptions",
    "SnapshotDiff",
    "SnapshotInfo",
    "SnapshotUsage",
    "StoredObject",
    "Timings",
    "TreeInfo",
    "UsageReport",
    "VerifyReport",
    "VersionInfo",
    "WaitResult",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveResult(Message):
    """`ArchiveResult` of the API."""

    left_out: list[str]
    """Entries that were not made: device nodes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult(Message):
    """`CheckResult` of the API."""

    sandbox: str
    """Its name."""

    savable: bool
    """Whether nothing was found that keeps it from being saved now."""

    problems: list[SaveProblem]

    warnings: list[str]
    """What a save would lose, one sentence each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CountStatistics(Message):
    """`CountStatistics` of the API."""

    source: Literal["cgroup", "processes"]

    current: int
    """Processes and threads."""

    limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashInfo(Message):
    """What made a snapshot that nobody asked for; a process was dying of a signal."""

    pid: int
    """Inside the sandbox."""

    thread: int
    """The one that got the signal."""

    command: str

    signal: int

    code: int
    """Si_code of sigaction(2)."""

    address: int
    """Si_addr."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage(Message):
    """`Damage` of the API."""

    path: str
    """Below the store's directory."""

    problem: str

    snapshots: list[str]
    """The snapshots that need it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DebugSession(Message):
    """A fresh sandbox in which every process of a snapshot but PID 1 stands still."""

    sandbox: str
    """Removing it ends the session."""

    snapshot: str

    processes: list[DebuggedProcess]

    crash: CrashInfo | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DebuggedProcess(Message):
    """`DebuggedProcess` of the API."""

    pid: int
    """Inside the sandbox."""

    host_pid: int
    """On the host."""

    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteResult(Message):
    """`DeleteResult` of the API."""

    deleted: list[str]

    freed_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DescriptorChange(Message):
    """A descriptor that is not the same in both snapshots."""

    change: Literal["opened", "closed", "changed"]
    """What happened to it."""

    pid: int
    """The process."""

    fd: int
    """Its number."""

    before: InspectedFile | None = None

    after: InspectedFile | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryListing(Message):
    """`DirectoryListing` of the API."""

    entries: list[FileInfo]

    truncated: bool
    """Whether there are more than the 100,000 that are listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskShare(Message):
    """Bytes on disk."""

    logical_bytes: int
    """If nothing were shared and no memory left out."""

    own_bytes: int
    """What no other snapshot has."""

    shared_bytes: int
    """What it has in common with others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorCheck(Message):
    """`DoctorCheck` of the API."""

    name: str

    status: Literal["ok", "warning", "failed"]

    detail: str
    """What was found."""

    hint: str | None = None
    """What to do about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorReport(Message):
    """`DoctorReport` of the API."""

    checks: list[DoctorCheck]


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorMessage(Message):
    """`ErrorMessage` of the API."""

    code: Literal[
        "bad_request", "bad_value", "unknown_sandbox", "unknown_snapshot", "not_found", "ambiguous",
        "name_taken", "in_use", "wrong_state", "cannot_save", "cannot_restore", "no_space",
        "not_permitted", "not_installed", "cancelled", "version_mismatch", "internal"
    ]

    message: str
    """What happened and why."""

    hint: str | None = None
    """What to do about it."""

    cause: str | None = None
    """The error underneath, in its own words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(Message):
    """One thing that happened."""

    id: int
    """Larger than that of every earlier event of this root."""

    time: float
    """Seconds since 1970."""

    kind: Literal[
        "created", "saved", "restored", "forked", "reset", "removed", "deleted", "exited", "died",
        "oom", "crashed", "paused", "unpaused", "compaction", "gc", "recovered", "progress", "failed",
        "started", "stopping", "missed"
    ]
    """`exited`: every process ended because that was asked for (kill, save --stop). `died`: PID 1 ended
    without that. `oom`: the kernel killed `count` processes for want of memory. `crashed`: a process got
    a deadly signal and was saved just before, in `snapshot`. `recovered`: a server that started put
    something right or took a sandbox up. `failed`: an operation ended with `error`. `missed`: this reader
    missed `count` events."""

    sandbox: str | None = None
    """The one it is about."""

    snapshot: str | None = None
    """The id of the one it is about."""

    operation: str | None = None
    """What did it or failed, as an operationId, where the kind does not say."""

    duration_ms: float | None = None

    message: str | None = None
    """One sentence for people."""

    exit_code: int | None = None
    """128 + N for signal N."""

    signal: int | None = None

    count: int | None = None
    """Of processes, items or events, as the kind says."""

    bytes: int | None = None
    """Of disk: what a save stored, what a deletion or gc gave back."""

    names: list[str] = field(default_factory=list)
    """Of the forks, or the ids of what was deleted."""

    timings: Timings | None = None

    error: ErrorMessage | None = None

    progress: ProgressInfo | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange(Message):
    """A file that is not the same in both snapshots."""

    path: str
    """Its path in the sandbox; bytes that are no UTF-8 are replaced."""

    change: Literal["added", "modified", "deleted", "metadata"]
    """What happened to it: `metadata` when its contents are the same."""

    before: FileState | None = None

    after: FileState | None = None

    patch: str | None = None
    """The difference of a text file, as diff -u shows it, where that was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileInfo(Message):
    """`FileInfo` of the API."""

    kind: Literal["file", "directory", "symlink", "fifo", "socket", "character-device", "block-device"]

    mode: int
    """Permission bits, set-uid, set-gid and sticky included."""

    uid: int

    gid: int

    size: int

    links: int

    modified: float

    name: str | None = None
    """The last part of its path; missing when it is no UTF-8."""

    name_base64: str | None = None
    """Only when it is no UTF-8."""

    target: str | None = None
    """Where a symbolic link leads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileState(Message):
    """What a file is."""

    type: Literal[
        "file", "directory", "symlink", "fifo", "socket", "character device", "block device", "unknown"
    ]
    """Its type."""

    mode: int
    """Its permission bits."""

    uid: int
    """Its owner."""

    gid: int
    """Its group."""

    size: int
    """Its size in bytes."""

    target: str | None = None
    """Where a symbolic link leads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkResult(Message):
    """`ForkResult` of the API."""

    sandboxes: list[SandboxInfo]

    snapshot: str

    timings: Timings

    each_ms: list[float]
    """From start to first answer of each sandbox."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GCResult(Message):
    """`GCResult` of the API."""

    deleted: list[RetiredSnapshot]
    """Snapshots that a rule or the limit let go, in the order they go."""

    removed: list[str]
    """Layers, process images, digest lists and staging directories, by name."""

    freed_bytes: int
    """Bytes on disk that are free now, all in all."""

    kept: int
    """How many snapshots remain."""

    stored_bytes: int | None = None
    """Bytes on disk of all that remains; only where a rule or a limit was given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandoverInfo(Message):
    """`HandoverInfo` of the API."""

    pid: int
    """The server's pid."""

    listener: int
    """The number of its listening socket's descriptor, for pidfd_getfd(2)."""

    metrics_listener: int | None = None
    """The same of the TCP socket of `--metrics-listen`, where it has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IOStatistics(Message):
    """`IOStatistics` of the API."""

    source: Literal["cgroup", "processes"]

    read_bytes: int

    write_bytes: int

    read_operations: int | None = None

    write_operations: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportResult(Message):
    """`ImportResult` of the API."""

    snapshot: str
    """The snapshot that was exported, whether it came or was here."""

    imported: list[str]
    """Ids of the snapshots that came, parents first."""

    known: list[str]
    """Ids of those that were here before."""

    new_objects: int
    """Layers and process images that came."""

    known_objects: int
    """Those that were here before."""

    bytes: int
    """Of the archive, as they came."""

    duration_ms: float

    warnings: list[str] = field(default_factory=list)
    """What may be in the way of restoring it here, one sentence each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedClocks(Message):
    """The clocks of a sandbox's time namespace at the instant of the dump, in seconds."""

    monotonic_seconds: float
    """CLOCK_MONOTONIC."""

    boottime_seconds: float
    """CLOCK_BOOTTIME."""

    boottime_offset_seconds: float | None = None
    """How much CLOCK_BOOTTIME was ahead of the host's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedCredentials(Message):
    """Whose rights a process has (credentials(7), capabilities(7))."""

    JSON_NAMES = {
        "effective_uid": "effectiveUID",
        "saved_uid": "savedUID",
        "filesystem_uid": "filesystemUID",
        "effective_gid": "effectiveGID",
        "saved_gid": "savedGID",
        "filesystem_gid": "filesystemGID",
    }

    uid: int
    """The real user id."""

    effective_uid: int
    """The effective one."""

    saved_uid: int
    """The saved one."""

    filesystem_uid: int
    """The one for files."""

    gid: int
    """The real group id."""

    effective_gid: int
    """The effective one."""

    saved_gid: int
    """The saved one."""

    filesystem_gid: int
    """The one for files."""

    groups: list[int]
    """Its supplementary groups."""

    effective_capabilities: str
    """Effective capabilities, a mask, hexadecimal, with 0x."""

    permitted_capabilities: str
    """Permitted capabilities, a mask."""

    inheritable_capabilities: str
    """Inheritable capabilities, a mask."""

    bounding_capabilities: str
    """The bounding set, a mask."""

    ambient_capabilities: str
    """The ambient set, a mask."""

    no_new_privileges: bool
    """Whether execve(2) can no longer give it rights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedDump(Message):
    """CRIU's own account of a dump; missing where the sandbox was stopped by it."""

    image_version: int
    """CRIU's number of the image format."""

    freezing_ms: float
    """From the first process stopped to the last one."""

    frozen_ms: float
    """How long the tree stood still."""

    memory_dump_ms: float
    """Collecting memory."""

    memory_write_ms: float
    """Of these, writing it."""

    pages_scanned: int
    """Pages of private memory that were looked at, 4,096 bytes each."""

    pages_written: int
    """Of these, pages that went into the images."""

    shared_pages_written: int
    """Pages of shared memory that went into the images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedFile(Message):
    """An open descriptor of a process."""

    fd: int
    """Its number."""

    kind: Literal[
        "file", "directory", "device", "pipe", "fifo", "unix", "inet", "netlink", "packet", "eventfd",
        "eventpoll", "inotify", "fanotify", "signalfd", "timerfd", "tty", "memfd", "namespace", "tun",
        "bpfmap", "pidfd", "external", "unknown"
    ]
    """What it is."""

    description: int
    """The number of its open file description: descriptors that share offset and flags have the same."""

    flags: list[str]
    """Further flags of open(2)."""

    close_on_exec: bool
    """Whether execve(2) closes it."""

    path: str | None = None
    """The path, or a name of its own."""

    deleted: bool | None = None
    """Whether that path was gone."""

    access: Literal["read", "write", "read-write", "path"] | None = None
    """What it was opened for."""

    offset: int | None = None
    """Where it reads and writes next, in bytes."""

    size: int | None = None
    """The file's size when it was saved, in bytes."""

    pipe: InspectedPipe | None = None

    socket: InspectedSocket | None = None

    watches: list[InspectedWatch] = field(default_factory=list)
    """Of an epoll, inotify or fanotify descriptor."""

    counter: int | None = None
    """Of an eventfd."""

    signals: list[str] = field(default_factory=list)
    """Of a signalfd."""

    timer: InspectedTimer | None = None

    terminal: InspectedTerminal | None = None

    process: int | None = None
    """The pid of a pidfd; -1 where that process is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedHandler(Message):
    """What a process does about a signal."""

    signal: str
    """The signal."""

    action: Literal["ignore", "handler"]
    """What happens."""

    address: str | None = None
    """The handler's address, hexadecimal, with 0x."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedHolder(Message):
    """A descriptor of a process that holds the other end of something."""

    pid: int
    """The process."""

    fd: int
    """Its descriptor."""

    command: str
    """Its command name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedIDRange(Message):
    """A line of a user namespace's map (user_namespaces(7))."""

    inside: int
    """The first id inside."""

    outside: int
    """The id outside that it is."""

    count: int
    """How many ids follow one another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedLimit(Message):
    """One limit of getrlimit(2)."""

    name: str
    """Its name, as prlimit(1) calls it."""

    soft: int | None = None
    """What holds; missing where there is no limit."""

    hard: int | None = None
    """What it can be raised to; missing where there is no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedMemory(Message):
    """The memory of a process, in bytes."""

    total_bytes: int
    """Everything that is mapped."""

    anonymous_bytes: int
    """Mapped without a file and not shared."""

    file_bytes: int
    """Mapped from files."""

    shared_bytes: int
    """Mapped so that other processes see changes."""

    pages: InspectedPages

    regions: list[InspectedRegion] = field(default_factory=list)
    """Each mapping, by address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedMount(Message):
    """A mount of a snapshot (proc_pid_mountinfo(5))."""

    id: int
    """Its number."""

    parent: int
    """The number of the mount it lies on."""

    mount_point: str
    """Where it is."""

    root: str
    """What of its filesystem is mounted."""

    source: str
    """What is mounted, as the filesystem calls it."""

    type: str
    """The filesystem's type."""

    options: str
    """The filesystem's own options."""

    flags: list[str]
    """The options of mount(8) that are set."""

    shared_group: int | None = None
    """The peer group it sends mounts to."""

    master_group: int | None = None
    """The peer group it receives mounts from."""

    external: str | None = None
    """The name under which ckpt brings it back, where CRIU does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedNamespace(Message):
    """A namespace that processes of a snapshot are in."""

    kind: Literal["pid", "net", "ipc", "uts", "mnt", "user", "cgroup", "time"]
    """Its kind, as /proc/PID/ns calls it."""

    number: int
    """CRIU's number of it, different for each namespace."""

    own: bool
    """Whether a restore makes a new one of it."""

    processes: list[int]
    """The pids of the processes in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedPages(Message):
    """Where the pages of some memory are, in bytes."""

    stored_bytes: int
    """In the snapshot's own images."""

    inherited_bytes: int
    """In those of its ancestors."""

    zero_bytes: int
    """Zeros, stored nowhere."""

    file_bytes: int
    """Unchanged contents of mapped files."""

    not_saved_bytes: int
    """What the kernel provides anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedPipe(Message):
    """An end of a pipe or FIFO."""

    id: int
    """The pipe's number; both ends have the same."""

    end: Literal["read", "write", "both"]
    """Which end."""

    buffered_bytes: int
    """Bytes that were written and not yet read."""

    other_end: list[InspectedHolder]
    """Who holds the other end; empty when nobody does."""

    capacity_bytes: int | None = None
    """What it can hold, where that is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedProcess(Message):
    """One process of a snapshot, by the ids it has inside the sandbox."""

    pid: int
    """Its process id."""

    parent: int
    """Its parent's; 0 for the root of the tree."""

    group: int
    """Its process group."""

    session: int
    """Its session."""

    state: Literal["alive", "zombie", "stopped", "unknown"]
    """What it was doing."""

    command: str
    """Its command name, at most 15 bytes."""

    limits: list[InspectedLimit]
    """Its resource limits."""

    threads: list[InspectedThread]
    """Its threads, the one of its pid first."""

    pending_signals: list[str]
    """Signals that wait for the process as a whole."""

    handlers: list[InspectedHandler]
    """Signals that do not do what they do by default."""

    timers: list[InspectedTimer]
    """Its interval timers and POSIX timers that are armed or exist."""

    arguments: list[str] = field(default_factory=list)
    """Its command line, read from its memory; missing for a zombie."""

    executable: str | None = None
    """The program's path."""

    working_directory: str | None = None
    """Its working directory."""

    root_directory: str | None = None
    """Its root directory."""

    umask: int | None = None
    """The mode bits it takes from new files."""

    exit_status: int | None = None
    """A zombie's status as wait(2) tells it."""

    credentials: InspectedCredentials | None = None

    oom_score_adjustment: int | None = None
    """How much the kernel prefers it when memory runs out, -1000 to 1000."""

    environment: list[str] = field(default_factory=list)
    """Its environment as it is now, read from its memory."""

    files: list[InspectedFile] = field(default_factory=list)
    """Its open descriptors."""

    memory: InspectedMemory | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedRegion(Message):
    """One mapping of a process."""

    start: str
    """Its first address, hexadecimal, with 0x."""

    end: str
    """The first address after it."""

    permissions: str
    """Its permissions as /proc/PID/maps shows them."""

    kind: Literal["anonymous", "file", "shared", "kernel"]
    """What is mapped."""

    pages: InspectedPages

    name: str | None = None
    """The file's path, or `[heap]`, `[stack]`, `[vdso]`."""

    offset: int | None = None
    """Where in the file it begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedSocket(Message):
    """A socket."""

    type: Literal["stream", "dgram", "raw", "rdm", "seqpacket", "packet", "unknown"]
    """Its type."""

    other_end: list[InspectedHolder]
    """Who in the sandbox holds the other end."""

    protocol: str | None = None
    """Its protocol."""

    state: str | None = None
    """The state of its connection."""

    local: str | None = None
    """Its own address: `ADDRESS:PORT`, a path, or `@NAME` for an abstract one."""

    remote: str | None = None
    """The other end's address."""

    backlog: int | None = None
    """How many connections may wait, of a listening one."""

    shutdown: Literal["read", "write", "both"] | None = None
    """What shutdown(2) has closed."""

    received_bytes: int | None = None
    """Bytes that arrived and were not yet read, where CRIU stores them."""

    unsent_bytes: int | None = None
    """Bytes that were written and not yet acknowledged, of a TCP connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedTerminal(Message):
    """A terminal."""

    kind: Literal["pty", "controller", "current", "console", "virtual", "serial", "external", "unknown"]
    """Its kind; `controller` is the end that a terminal emulator holds."""

    other_end: list[InspectedHolder]
    """Who holds the other end of the pair."""

    index: int | None = None
    """The N of /dev/pts/N."""

    session: int | None = None
    """The session it controls."""

    foreground_group: int | None = None
    """The process group in the foreground."""

    rows: int | None = None
    """Its height in characters."""

    columns: int | None = None
    """Its width in characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedThread(Message):
    """One thread of a process."""

    tid: int
    """Its thread id."""

    name: str
    """Its name, at most 15 bytes."""

    nice: int
    """Its nice value."""

    policy: Literal["other", "fifo", "rr", "batch", "idle", "deadline", "unknown"]
    """Its scheduling policy."""

    priority: int
    """Its real-time priority; 0 without one."""

    seccomp: Literal["disabled", "strict", "filter"]
    """Its seccomp mode."""

    seccomp_filters: int
    """How many filters it has."""

    blocked_signals: list[str]
    """Signals it blocks."""

    pending_signals: list[str]
    """Signals that wait for it alone."""

    system_call: int | None = None
    """The number of the system call it was in; missing where it was in none."""

    system_call_name: str | None = None
    """That system call's name, where ckpt knows it."""

    registers: dict[str, str] = field(default_factory=dict)
    """General registers, hexadecimal, with 0x."""

    floating_point: dict[str, str] = field(default_factory=dict)
    """Floating point and vector registers, hexadecimal, with 0x."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedTimer(Message):
    """A timer."""

    kind: Literal["real", "virtual", "profiling", "posix", "descriptor"]
    """Where it comes from: ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF, timer_create(2), timerfd_create(2)."""

    remaining_seconds: float
    """The time left; 0 when it is not armed."""

    interval_seconds: float
    """How often it comes again; 0 for once."""

    id: int | None = None
    """Its number, of timer_create(2)."""

    clock: str | None = None
    """Its clock."""

    signal: str | None = None
    """The signal it sends."""

    expirations: int | None = None
    """How often it has fired without being read, of timerfd_create(2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectedWatch(Message):
    """Something that an epoll, inotify or fanotify descriptor waits for."""

    events: list[str]
    """What for."""

    fd: int | None = None
    """The watched descriptor, of epoll."""

    path: str | None = None
    """The watched path, where CRIU knows it."""

    data: str | None = None
    """The data given to epoll_ctl(2), hexadecimal, with 0x."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection(Message):
    """What a snapshot's process image holds. What was not asked for is missing."""

    snapshot: str
    """The snapshot's full id."""

    namespaces: list[InspectedNamespace]
    """The namespaces of its processes."""

    user_map: list[InspectedIDRange]
    """How user ids inside are mapped to those outside; empty without a user namespace."""

    group_map: list[InspectedIDRange]
    """The same of group ids."""

    mounts: list[InspectedMount]
    """The mount table, in the order of the mounts."""

    processes: list[InspectedProcess]
    """The processes, parents before their children."""

    dump: InspectedDump | None = None

    hostname: str | None = None
    """The sandbox's host name."""

    clocks: InspectedClocks | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobInfo(Message):
    """`JobInfo` of the API."""

    id: str

    command: str
    """The command line, cut after 255 bytes."""

    state: Literal["running", "exited"]

    timed_out: bool

    started: float

    stdout_bytes: int
    """Printed so far."""

    stderr_bytes: int
    """Printed so far."""

    truncated: bool
    """Whether not all output is kept; of each stream the first 32 MiB are, and the last 31 at least."""

    session: str | None = None
    """The session whose bash runs it."""

    pid: int | None = None
    """Inside the sandbox, while it runs."""

    exit_code: int | None = None
    """As in ExecResult; missing while it runs."""

    signal: int | None = None
    """The signal that killed it."""

    ended: float | None = None
    """Missing while it runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobList(Message):
    """`JobList` of the API."""

    jobs: list[JobInfo]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOutput(Message):
    """`JobOutput` of the API."""

    job: JobInfo

    stdout: OutputPiece

    stderr: OutputPiece


@dataclass(frozen=True, slots=True, kw_only=True)
class LogList(Message):
    """`LogList` of the API."""

    records: list[LogRecord]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRecord(Message):
    """`LogRecord` of the API."""

    time: float

    exec: str
    """The command's id."""

    stream: Literal["stdout", "stderr"]

    text: str
    """What is no UTF-8 is replaced by U+FFFD."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryChange(Message):
    """A mapping that is not the same in both snapshots."""

    change: Literal["mapped", "unmapped", "resized", "changed"]
    """What happened to it."""

    pid: int
    """The process."""

    start: str
    """Its first address, hexadecimal, with 0x."""

    end: str
    """The first address after it."""

    permissions: str
    """Its permissions as /proc/PID/maps shows them."""

    pages: int
    """How many pages it has, 4,096 bytes each."""

    changed_pages: int
    """How many of them differ, or came or went with it."""

    name: str | None = None
    """The file's path, or `[heap]`, `[stack]`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryInfo(Message):
    """What became of the memory of a snapshot's processes, in bytes."""

    total_bytes: int
    """All of it, as CRIU dumped it."""

    zero_bytes: int
    """Pages of zeros, which are not stored."""

    inherited_bytes: int
    """In the files of an ancestor, which it shares."""

    stored_bytes: int
    """In files of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryListing(Message):
    """The mappings of one process."""

    snapshot: str
    """The snapshot's full id."""

    pid: int
    """The process."""

    regions: list[InspectedRegion]
    """Its mappings, by address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryMatch(Message):
    """A place in a process's memory."""

    address: str
    """Its first address, hexadecimal, with 0x."""

    length: int
    """How many bytes match."""

    context_address: str
    """Where the context begins."""

    context_base64: str
    """Bytes around it."""

    name: str | None = None
    """The name of the mapping it lies in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryMatches(Message):
    """Where something is in a process's memory."""

    matches: list[MemoryMatch]
    """By address."""

    truncated: bool
    """Whether there are more than were asked for."""

    unread: list[str]
    """Mappings that were left out because their file could not be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPiece(Message):
    """A piece of a process's memory."""

    address: str
    """Its first address, hexadecimal, with 0x."""

    base64: str
    """The bytes, at most 4 MiB; fewer than were asked for where that is the bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryStatistics(Message):
    """`MemoryStatistics` of the API."""

    source: Literal["cgroup", "processes"]

    current_bytes: int
    """By a cgroup with the page cache; of processes what is resident, shared pages once for each."""

    peak_bytes: int | None = None

    limit_bytes: int | None = None

    swap_bytes: int | None = None

    oom_kills: int | None = None
    """Processes killed because the limit was reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectList(Message):
    """`ObjectList` of the API."""

    objects: list[StoredObject]


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginInfo(Message):
    """Where a snapshot was made: a process image may need the same."""

    architecture: str
    """As uname(2) calls the machine."""

    kernel: str
    """The release."""

    criu: str
    """The version that wrote the process image."""

    format: int
    """The version of the manifest's form."""

    cpu: str
    """The processor's model."""

    cpu_features: list[str]
    """What programs can use, as /proc/cpuinfo calls it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputPiece(Message):
    """`OutputPiece` of the API."""

    offset: int
    """Of its first byte; beyond the one asked for where what lies between is not kept."""

    next: int
    """Of the byte after it."""

    text: str | None = None
    """Missing when it is no UTF-8."""

    base64: str | None = None
    """Only when it is no UTF-8."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pressure(Message):
    """`Pressure` of the API."""

    some: PressureAverages

    full: PressureAverages | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PressureAverages(Message):
    """Percent of the last 10, 60 and 300 seconds, and all of it."""

    avg10: float

    avg60: float

    avg300: float

    total_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PressureStatistics(Message):
    """How long processes waited for want of something."""

    cpu: Pressure | None = None

    memory: Pressure | None = None

    io: Pressure | None = None

    unavailable: str | None = None
    """Why there are no numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessChange(Message):
    """A process that is not the same in both snapshots. A process is the same where it has the same pid,
    and its parent or its address space is the same."""

    change: Literal["born", "gone", "changed"]
    """What happened to it."""

    pid: int
    """Its process id."""

    command: str
    """Its command line, or its command name where it has none."""

    details: list[str]
    """What changed, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessTable(Message):
    """`ProcessTable` of the API."""

    processes: list[SandboxedProcess]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessorStatistics(Message):
    """`ProcessorStatistics` of the API."""

    source: Literal["cgroup", "processes"]

    usage_ns: int
    """Since it was started or restored."""

    percent: float
    """Of one CPU."""

    limit: float | None = None
    """CPUs that it may use."""

    throttled_periods: int | None = None
    """Periods in which its quota ended too early."""

    throttled_ns: int | None = None
    """How long it stood still for that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressInfo(Message):
    """How far a long operation has come."""

    task: int
    """The same in every event of one operation."""

    phase: str
    """What it does now, for example memory or files."""

    done: int
    """How much of this phase is done."""

    unit: Literal["bytes", "snapshots", "sandboxes", "items"]

    elapsed_ms: float
    """Since the operation began."""

    ended: bool
    """Whether this is the operation's last event."""

    total: int | None = None
    """How much there is to do in this phase, where that is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedPort(Message):
    """`PublishedPort` of the API."""

    host_port: int
    """A free one was chosen where the spec names none; each fork has its own."""

    box_port: int

    transport: Literal["tcp", "udp"]

    address: str | None = None
    """The host's address it listens on; every one when missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReclaimResult(Message):
    """`ReclaimResult` of the API."""

    before_bytes: int

    after_bytes: int

    reclaimed_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceLimits(Message):
    """How much of the machine a sandbox may use; what is missing is not limited."""

    cpus: str | None = None
    """`0.5`, `2`, `50%` or `QUOTA PERIOD` in microseconds; a number too."""

    cpu_shares: int | None = None
    """2 to 262144; 1024 is usual."""

    cpuset_cpus: str | None = None
    """Numbers and ranges, as `0-3,7`."""

    cpuset_mems: str | None = None
    """Numbers and ranges, as `0-3,7`."""

    memory: int | None = None
    """Bytes, or a string like `512m`."""

    memory_high: int | None = None
    """Bytes, or a string like `512m`; slowed down above it, not killed."""

    memory_swap: int | None = None
    """Memory and swap together; -1 for no limit of swap."""

    pids: int | None = None
    """Processes and threads."""

    io: list[str] = field(default_factory=list)
    """`DEVICE SIZE`, or `DEVICE rbps=… wbps=… riops=… wiops=…` with some of the four."""

    best_effort: bool | None = None
    """A limit that cannot be set is a warning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreResult(Message):
    """`RestoreResult` of the API."""

    sandbox: SandboxInfo

    timings: Timings

    snapshot: str | None = None
    """The full id; missing after a reset."""

    warnings: list[str] = field(default_factory=list)
    """What could not be put back into its processes, one sentence each."""

    engine: Literal["criu", "twin"] | None = None
    """What made the snapshot, where that was not CRIU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetiredSnapshot(Message):
    """`RetiredSnapshot` of the API."""

    id: str

    sandbox: str
    """The sandbox it was saved from."""

    tags: list[str]

    created: float
    """Seconds since 1970."""

    freed_bytes: int
    """Bytes on disk that come free when it goes, after those listed before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxInfo(Message):
    """`SandboxInfo` of the API."""

    name: str

    state: Literal["running", "paused", "stopped", "dead"]
    """`paused` by pause; `stopped` on request, by kill or save; `dead` when its PID 1 ended by itself or
    was killed from outside."""

    spec: SandboxSpec

    created: float

    processes: int
    """PID 1 included."""

    sessions: list[str]

    warnings: list[str]
    """What was asked for and is not so: with `bestEffort`, limits that cannot be set here."""

    pid: int | None = None
    """Of its PID 1 on the host while it runs."""

    snapshot: str | None = None
    """The id of the snapshot it stands on; missing at the base."""

    reason: str | None = None
    """Why it is dead."""

    ports: list[PublishedPort] = field(default_factory=list)
    """The ports of the host that lead into it while it runs, with `nat`; missing without any."""

    oom_kills: int | None = None
    """Processes killed because the limit of memory was reached."""

    memory_to_come: int | None = None
    """Bytes of its memory that are still to come after a restore; missing where all is there."""

    usage: SandboxUsage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxList(Message):
    """`SandboxList` of the API."""

    sandboxes: list[SandboxInfo]


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSpec(Message):
    """What a sandbox is made of."""

    base: str | None = None
    """`host` for the host's own root with its data masked, or a directory's absolute path."""

    hostname: str | None = None
    """The sandbox's name when missing."""

    env: dict[str, str] = field(default_factory=dict)
    """Environment of every command, over the built-in PATH, HOME and LC_CTYPE."""

    workdir: str | None = None
    """`/root` when missing, `/` where that is missing too."""

    user: str | None = None
    """Who commands run as that name nobody: `name`, `uid`, `name:group` or `uid:gid`; root when missing."""

    entrypoint: list[str] = field(default_factory=list)
    """Words before the command that `run` is given."""

    volumes: list[str] = field(default_factory=list)
    """`HOST:BOX[:ro|rw|cow]`, rw when not said."""

    tmpfs: list[str] = field(default_factory=list)
    """`PATH[:size=S,mode=M,exec]`."""

    shm_size: int | None = None
    """Bytes, or a string like `64m`; /dev/shm is in memory then."""

    read_only: bool | None = None

    dns: list[str] = field(default_factory=list)
    """Addresses."""

    add_hosts: list[str] = field(default_factory=list)
    """`NAME:ADDRESS`."""

    sysctls: list[str] = field(default_factory=list)
    """`net.NAME=VALUE`; not with `net: host`."""

    devices: list[str] = field(default_factory=list)
    """`HOST[:BOX][:rwm]`."""

    ulimits: list[str] = field(default_factory=list)
    """`NAME=SOFT[:HARD]`, -1 for no limit."""

    oom_score_adj: int | None = None
    """-1000 to 1000."""

    limits: ResourceLimits | None = None

    security: SecurityOptions | None = None

    net: Literal["none", "host", "nat"] | None = None

    ports: list[str] = field(default_factory=list)
    """`[ADDRESS:][HOST:]BOX[/tcp|/udp]`; only with nat."""

    save_on_crash: bool | None = None
    """Saves the instant a process dies of a fatal signal, tagged `crash-…`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxStatistics(Message):
    """`SandboxStatistics` of the API."""

    sandbox: str

    state: Literal["running", "paused"]

    time: float
    """Seconds since 1970."""

    cpu: ProcessorStatistics

    memory: MemoryStatistics

    pids: CountStatistics

    io: IOStatistics

    pressure: PressureStatistics


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxUsage(Message):
    """What it uses, in short; told by the list of sandboxes and for one that runs."""

    cpu_percent: float
    """Of one CPU, since the last look of a second ago, else the start."""

    memory_bytes: int

    pids: int
    """Processes and threads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxedProcess(Message):
    """`SandboxedProcess` of the API."""

    pid: int
    """Inside the sandbox."""

    parent: int
    """Inside the sandbox; 0 for none there."""

    host_pid: int

    user: str
    """By the sandbox's own /etc/passwd; else the number."""

    uid: int
    """Inside the sandbox."""

    state: str
    """As in /proc/PID/stat: R, S, D, T, t, Z …."""

    threads: int

    cpu_percent: float
    """Of one CPU."""

    cpu_seconds: float

    rss_bytes: int

    started: float

    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveProblem(Message):
    """`SaveProblem` of the API."""

    id: str
    """Which of docs/refusals.md it is."""

    message: str
    """What is the matter, one sentence."""

    hint: str
    """What to do about it."""

    pid: int | None = None
    """The process's pid inside the sandbox, where it is one's."""

    command: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityOptions(Message):
    """What the processes of a sandbox are kept from, beyond its namespaces; every wall is up by default."""

    cap_add: list[str] = field(default_factory=list)
    """Beyond Docker's default set; `ALL` for every one."""

    cap_drop: list[str] = field(default_factory=list)
    """`ALL` leaves just those added."""

    seccomp: str | None = None
    """`default`, `unconfined`, or the text of a profile in Docker's JSON format."""

    no_new_privileges: bool | None = None
    """Set-uid programs give nothing."""

    mask_paths: bool | None = None
    """Parts of /proc and /sys are hidden or read-only."""

    writable: list[str] = field(default_factory=list)
    """The only places that may be written."""

    readable: list[str] = field(default_factory=list)
    """The only places that may be read."""

    allow_ports: list[int] = field(default_factory=list)
    """The only ports that may be connected to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotDiff(Message):
    """What is different in one snapshot from another."""

    from_: str
    """The full id of the snapshot that is compared with."""

    to: str
    """The full id of the other."""

    files: list[FileChange]
    """Files, by path."""

    processes: list[ProcessChange]
    """Processes, by pid."""

    descriptors: list[DescriptorChange]
    """Descriptors of processes that are in both, by pid and number."""

    memory: list[MemoryChange]
    """Mappings of processes that are in both, by pid and address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotInfo(Message):
    """`SnapshotInfo` of the API."""

    id: str

    children: list[str]

    tags: list[str]

    sandbox: str
    """The name of the sandbox it was saved from."""

    created: float

    spec: SandboxSpec

    layers: list[str]
    """Over the base, lowest first."""

    process_bytes: int
    """Of its own process image on disk, without what it inherits."""

    layer_bytes: int
    """Of the layer it added."""

    standing: list[str]
    """The sandboxes that stand on it."""

    processes: int
    """PID 1 included."""

    parent: str | None = None
    """The id of the snapshot its sandbox came from."""

    message: str | None = None

    memory: MemoryInfo | None = None

    warnings: list[str] = field(default_factory=list)
    """What it does not hold although its processes had it, one sentence each; only in a save's own
    answer."""

    crash: CrashInfo | None = None

    timings: Timings | None = None

    origin: OriginInfo | None = None

    storage: DiskShare | None = None

    engine: Literal["criu", "twin"] | None = None
    """What made it, where that was not CRIU; in a save's answer always where a twin was asked for."""

    durable: bool | None = None
    """False for a twin that is in memory alone as yet: it goes with the sandbox's processes and the
    server."""

    engine_reason: str | None = None
    """Why it is no twin although one was asked for, in a save's own answer; of a twin why it cannot be
    written down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotUsage(Message):
    """`SnapshotUsage` of the API."""

    id: str

    tags: list[str]

    process: DiskShare

    layers: DiskShare


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject(Message):
    """A part of snapshots that a store keeps once."""

    kind: Literal["layer", "process", "program"]

    id: str
    """Of the layer, of the snapshot or of the version of ckpt-init."""

    digest: str
    """Two stores that agree in it have the same bytes."""

    bytes: int
    """On disk when it was saved; 0 where that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings(Message):
    """Where the milliseconds went."""

    total_ms: float

    frozen_ms: float | None = None
    """How long the processes stood still; save only."""

    criu_ms: float | None = None
    """Missing in a save that was made without CRIU."""

    filesystem_ms: float | None = None

    memory_ms: float | None = None
    """Comparing memory with the parent's and storing what differs; save only."""

    publish_ms: float | None = None
    """Save only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeInfo(Message):
    """`TreeInfo` of the API."""

    snapshots: list[SnapshotInfo]

    sandboxes: list[SandboxInfo]


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageReport(Message):
    """`UsageReport` of the API."""

    snapshots: list[SnapshotUsage]

    process_bytes: int
    """Of all process images of the store, each file counted once."""

    layer_bytes: int
    """Of all layers, each file counted once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport(Message):
    """`VerifyReport` of the API."""

    snapshots: list[str]

    files: int

    bytes: int

    duration_ms: float

    damage: list[Damage]


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionInfo(Message):
    """`VersionInfo` of the API."""

    version: str
    """Of ckpt."""

    format: int
    """Of the snapshot store."""

    api: str

    pid: int
    """The server's."""

    durability: Literal["none", "deferred", "snapshot", "always"] | None = None
    """What survives a power cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitResult(Message):
    """`WaitResult` of the API."""

    ended: bool
    """False when the time to wait was over first."""

    state: Literal["running", "paused", "stopped", "dead"] | None = None
    """Missing when it was removed."""

    exit_code: int | None = None
    """137 once it has ended: PID 1 only ends by SIGKILL."""

    reason: str | None = None
    """Why it is dead."""
