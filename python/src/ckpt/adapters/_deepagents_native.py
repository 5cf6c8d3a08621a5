"""The names of `deepagents_sandbox` that know nothing of Deep Agents: configuration, sandbox and answers."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ckpt

if TYPE_CHECKING:
    from typing_extensions import Self

WORKSPACE = "/workspace"
TMP = "/tmp"  # noqa: S108
USER = "1000:1000"


@dataclass(frozen=True)
class SandboxConfig:
    """What a sandbox is made of, with the names and defaults of `deepagents_sandbox`."""

    memory_limit_mb: int = 512
    """MiB of memory."""
    max_pids: int = 256
    """Processes and threads."""
    cpu_shares: int = 100
    """Weight among others when CPUs are short, 1 to 10,000; 100 is usual."""
    timeout_seconds: float = 60.0
    """Seconds that a command has, where a call does not say."""
    max_output_bytes: int = 256 * 1024
    """Bytes of each stream that are kept."""
    network_access: bool = False
    """Whether there is a way out."""
    gpu: bool = False
    """Whether it gets this machine's NVIDIA devices."""
    extra_bind_mounts: list[tuple[str, str]] = field(default_factory=list)
    """Directories of this machine and where they are seen, read-only."""
    extra_env: dict[str, str] = field(default_factory=dict)
    """Environment of every command."""
    base: str = "host"
    """What it starts from, as in `ckpt.Sandbox.create`."""
    options: dict[str, Any] = field(default_factory=dict)
    """More options of `ckpt.Sandbox.create`."""

    def made(self) -> dict[str, Any]:
        """The keyword arguments of `ckpt.Sandbox.create`."""
        options: dict[str, Any] = {
            "memory": self.memory_limit_mb << 20,
            "pids": self.max_pids,
            "cpu_shares": max(2, self.cpu_shares * 1024 // 100),
            "best_effort": True,
            "net": "nat" if self.network_access else "none",
            "volumes": {**{host: f"{box}:ro" for host, box in self.extra_bind_mounts}},
            "env": {"HOME": WORKSPACE, "TERM": "dumb", "TMPDIR": TMP} | self.extra_env,
        }
        if self.gpu:
            options["devices"] = [str(path) for path in sorted(Path("/dev").glob("nvidia*"))]
        return {"base": self.base} | options | self.options


@dataclass(frozen=True)
class ExecuteResponse:
    """How a command ended: exit code -1 and `timed_out` where it ran out of time."""

    exit_code: int
    stdout: str
    stderr: str
    timed_out: bool = False
    oom_killed: bool = False
    truncated: bool = False


@dataclass(frozen=True)
class FileResult:
    """How a file came in or out."""

    path: str
    success: bool
    content: bytes | None = None
    error: str | None = None


class NativeSandbox:
    """A sandbox with a /workspace, whose commands run as an ordinary user.

    async with NativeSandbox(SandboxConfig(memory_limit_mb=1024)) as sandbox:
        await sandbox.upload_files([("task.py", b"print(6 * 7)")])
        print((await sandbox.execute("python3 task.py")).stdout)
    """

    def __init__(
        self, config: SandboxConfig | None = None, *, client: ckpt.AsyncClient | None = None
    ) -> None:
        self.config = config or SandboxConfig()
        self._client = client
        self._sandbox: ckpt.AsyncSandbox | None = None

    @property
    def sandbox(self) -> ckpt.AsyncSandbox:
        """The sandbox itself, with all that it can do besides."""
        if self._sandbox is None:
            raise RuntimeError("Sandbox not initialized. Use 'async with' context manager.")
        return self._sandbox

    @property
    def id(self) -> str:
        """Its name in ckpt."""
        return self.sandbox.name

    async def __aenter__(self) -> Self:
        self._sandbox = await ckpt.AsyncSandbox.create(client=self._client, **self.config.made())
        command = f"mkdir -p {WORKSPACE} && chown {USER} {WORKSPACE} && chmod 1777 {TMP}"
        await self._sandbox.exec(command, check=True)
        return self

    async def __aexit__(self, *exception: object) -> None:
        if self._sandbox is not None:
            sandbox, self._sandbox = self._sandbox, None
            await sandbox.remove()

    async def execute(self, command: str, timeout: float | None = None) -> ExecuteResponse:
        """Runs a command with `/bin/sh` in /workspace. `timeout`: seconds; 0 for none.

        Raises `ValueError` for an empty command or one with null bytes, and `ckpt.SandboxDied`.
        """
        if not command.strip():
            raise ValueError("Command string is empty")
        if "\0" in command:
            raise ValueError("Command string contains null bytes")
        seconds = self.config.timeout_seconds if timeout is None else timeout
        done = await self.sandbox.exec(
            ["/bin/sh", "-c", command],
            cwd=WORKSPACE,
            user=USER,
            timeout=seconds if seconds > 0 else None,
            max_output=self.config.max_output_bytes,
        )
        return ExecuteResponse(
            exit_code=-1 if done.timed_out else done.exit_code,
            stdout=done.stdout,
            stderr=done.stderr,
            timed_out=done.timed_out,
            oom_killed=done.oom_killed,
            truncated=done.truncated,
        )

    async def upload_files(self, files: list[tuple[str, bytes]]) -> list[FileResult]:
        """Writes files, by paths relative to /workspace; one that fails does not stop the others."""
        return [await self._transferred(path, content) for path, content in files]

    async def download_files(self, paths: list[str]) -> list[FileResult]:
        """Reads files, by paths relative to /workspace."""
        return [await self._transferred(path, None) for path in paths]

    async def _transferred(self, path: str, content: bytes | None) -> FileResult:
        if path.startswith("/"):
            return FileResult(path, False, error=f"Path must be relative to the workspace: {path}")
        absolute = posixpath.normpath(f"{WORKSPACE}/{path}")
        if not absolute.startswith(f"{WORKSPACE}/"):
            return FileResult(path, False, error=f"Path escapes workspace: {path}")
        code, data = await self.transfer(absolute, content)
        return FileResult(path, code is None, data, _TEXTS.get(code or "", code))

    async def transfer(self, path: str, content: bytes | None) -> tuple[str | None, bytes | None]:
        """Writes or reads a file by its absolute path: the code of what went wrong, and what was read.

        Whether the sandbox's user may is the sandbox's to say; links are followed inside of it.
        """
        done = await self.sandbox.exec(
            ["/bin/sh", "-c", _READ if content is None else _WRITE, "sh", path], user=USER, cwd="/"
        )
        if done.exit_code in _CODES:
            return _CODES[done.exit_code], None
        if not done.ok:
            return done.stderr.strip() or f"exit code {done.exit_code}", None
        place = done.stdout.rstrip("\n")
        if content is None:
            return None, await self.sandbox.files.read(place)
        await self.sandbox.files.write(place, content, user=USER)
        return None, None


_CODES = {3: "is_directory", 4: "file_not_found", 5: "permission_denied"}
_TEXTS = {
    "is_directory": "Is a directory",
    "file_not_found": "No such file or directory",
    "permission_denied": "Permission denied",
}
# Both print where a path leads, so that the server touches what the user could have touched.
_READ = """[ ! -d "$1" ] || exit 3; [ -e "$1" ] || exit 4; [ -r "$1" ] || exit 5; readlink -f -- "$1" """
_WRITE = """[ ! -d "$1" ] || exit 3; mkdir -p -- "${1%/*}" 2>/dev/null || exit 5
( : >>"$1" ) 2>/dev/null || exit 5; readlink -f -- "$1" """
