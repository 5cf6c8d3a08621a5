"""A sandbox environment provider for Inspect.

    Task(dataset=…, solver=…, sandbox="ckpt")
    Task(dataset=…, solver=…, sandbox=SandboxEnvironmentSpec("ckpt", CkptConfig(options={"memory": "2g"})))

The installed package registers itself; without installation, import the module.
"""

from __future__ import annotations

import errno
import secrets
import shlex
from pathlib import Path, PurePosixPath
from typing import Any, Literal, overload

from inspect_ai.util import (
    ExecResult,
    OutputLimitExceededError,
    SandboxConnection,
    SandboxEnvironment,
    SandboxEnvironmentConfigType,
    SandboxEnvironmentLimits,
    SandboxUserUnsupportedError,
    sandboxenv,
)
from pydantic import BaseModel

import ckpt
from ckpt import _binary

PREFIX = "inspect-"
INLINE = 8 << 20
"""Bytes of input that go with the request for a command."""


class CkptConfig(BaseModel, frozen=True):
    """What a sample's sandbox is made of."""

    base: str = "host"
    """What it starts from, as in `ckpt.Sandbox.create`."""
    snapshot: str | None = None
    """A snapshot that every sample starts from instead, by any reference."""
    workdir: str = "/workspace"
    """The sample's working directory, which is made where it is missing."""
    options: dict[str, Any] = {}
    """Options of `ckpt.Sandbox.create`; its `user` is who commands and files are handled as."""

    def __hash__(self) -> int:
        # Inspect makes one `task_init` of samples with the same configuration.
        return hash(self.model_dump_json())


@sandboxenv(name="ckpt")
class CkptSandboxEnvironment(SandboxEnvironment):
    """A sample's sandbox.

    Solvers, tools and scorers save and roll it back through `sandbox().as_type(CkptSandboxEnvironment)`. When
    the sandbox itself dies, `ckpt.SandboxDied` ends the sample with an error: it is not the model's failure.
    """

    def __init__(self, sandbox: ckpt.AsyncSandbox, workdir: str, user: str | None = None) -> None:
        super().__init__()
        self.sandbox = sandbox
        """The sandbox itself."""
        self.workdir = workdir
        """Where relative paths begin."""
        self.user = user
        """Who files are read and written as; anybody may when missing, as root may."""

    async def save(self, tag: str | None = None, message: str | None = None) -> ckpt.AsyncSnapshot:
        """Saves files, memory and processes of this instant."""
        return await self.sandbox.save(tag, message)

    async def restore(self, snapshot: ckpt.AsyncSnapshot | str) -> None:
        """Rolls the sandbox back."""
        await self.sandbox.restore(snapshot)

    async def exec(
        self,
        cmd: list[str],
        input: str | bytes | None = None,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        user: str | None = None,
        timeout: int | None = None,
        timeout_retry: bool = True,
        concurrency: bool = True,
    ) -> ExecResult[str]:
        """Runs a command; its contract is that of `SandboxEnvironment.exec`.

        A command that ran out of time is not tried again: none gets lost on the way here.
        """
        limit = SandboxEnvironmentLimits.MAX_EXEC_OUTPUT_SIZE
        data = input.encode() if isinstance(input, str) else input
        spool = None
        if data is not None and len(data) > INLINE:
            # More than a request may hold goes through a file.
            spool = f"{self.workdir}/.input-{secrets.token_hex(8)}"
            await self.sandbox.files.write(spool, data, user=user or self.user)
            cmd, data = ["/bin/sh", "-c", 'exec <"$0" "$@"', spool, *cmd], None
        try:
            done = await self.sandbox.exec(
                cmd,
                stdin=data,
                cwd=self._path(cwd or "."),
                env=env,
                user=user,
                timeout=timeout,
                max_output=limit,
            )
        except ckpt.InvalidOption as error:
            if user is not None and "user" in error.message:
                raise SandboxUserUnsupportedError(str(error)) from error
            raise
        finally:
            if spool is not None:
                await self.sandbox.files.remove(spool)
        if done.timed_out:
            raise TimeoutError(f"Command timed out after {timeout} seconds")
        if done.truncated:
            kept = done.stderr if len(done.stderr_bytes) >= limit else done.stdout
            raise OutputLimitExceededError(SandboxEnvironmentLimits.MAX_EXEC_OUTPUT_SIZE_STR, kept)
        if done.exit_code == 126 and "permission denied" in done.stderr.lower():
            raise PermissionError(f"Permission denied executing command: {done.stderr.strip()}")
        return ExecResult(done.ok, done.exit_code, done.stdout, done.stderr)

    async def write_file(self, file: str, contents: str | bytes) -> None:
        """Writes a file, and the directories it lies in."""
        path = self._path(file)
        if self.user is not None:
            touch = 'case $1 in */*) mkdir -p -- "${1%/*}/" || exit;; esac; : >>"$1"'
            await self._may(["/bin/sh", "-c", touch, "sh", path], path, file)
        try:
            await self.sandbox.files.write(path, contents, parents=True)
        except ckpt.CkptError as error:
            raise await self._as_os_error(error, path, file) from error

    @overload
    async def read_file(self, file: str, text: Literal[True] = True) -> str: ...

    @overload
    async def read_file(self, file: str, text: Literal[False]) -> bytes: ...

    async def read_file(self, file: str, text: bool = True) -> str | bytes:
        """Reads a file, byte for byte or as UTF-8."""
        path = self._path(file)
        limit = SandboxEnvironmentLimits.MAX_READ_FILE_SIZE
        if self.user is not None:
            await self._may(["/bin/sh", "-c", ': <"$1"', "sh", path], path, file)
        try:
            data = await self.sandbox.files.read(path, limit=limit + 1)
        except ckpt.CkptError as error:
            raise await self._as_os_error(error, path, file) from error
        if len(data) > limit:
            raise OutputLimitExceededError(SandboxEnvironmentLimits.MAX_READ_FILE_SIZE_STR, None)
        return data.decode() if text else data

    async def connection(self, *, user: str | None = None) -> SandboxConnection:
        """How a person gets into the sandbox."""
        info = await self.sandbox.info()
        if info.state != "running":
            raise ConnectionError(f"sandbox {info.name} is {info.state}")
        words = [_binary.find(), "exec", "-it", "--root", self.sandbox.client.root]
        words += ["--user", user] if user else []
        words += ["--cwd", self.workdir, info.name, "--", "bash", "-l"]
        return SandboxConnection(type="ckpt", command=shlex.join(words), container=info.name)

    def default_polling_interval(self) -> float:
        """Seconds between two looks for requests from inside: a look costs little here."""
        return 0.2

    @classmethod
    async def sample_init(
        cls, task_name: str, config: SandboxEnvironmentConfigType | None, metadata: dict[str, str]
    ) -> dict[str, SandboxEnvironment]:
        """Makes a sample's sandbox."""
        wanted = _config(config)
        if wanted.snapshot is not None:
            snapshot = await ckpt.AsyncSnapshot.get(wanted.snapshot)
            (sandbox,) = await snapshot.fork(prefix=f"{PREFIX}{_word(task_name)}-{_number()}")
        else:
            name = f"{PREFIX}{_word(task_name)}-{_number()}"
            sandbox = await ckpt.AsyncSandbox.create(wanted.base, name, **wanted.options)
        _running.setdefault(task_name, {})[sandbox.name] = sandbox
        user = wanted.options.get("user")
        await sandbox.exec(["mkdir", "-p", "--", wanted.workdir], cwd="/", user="root", check=True)
        if user is not None:
            await sandbox.exec(["chown", user, wanted.workdir], cwd="/", user="root", check=True)
        return {"default": cls(sandbox, wanted.workdir, user)}

    @classmethod
    async def sample_cleanup(
        cls,
        task_name: str,
        config: SandboxEnvironmentConfigType | None,
        environments: dict[str, SandboxEnvironment],
        interrupted: bool,
    ) -> None:
        """Removes a sample's sandbox; after an interruption `task_cleanup` does."""
        if interrupted:
            return
        for environment in environments.values():
            sandbox = environment.as_type(cls).sandbox
            await sandbox.remove()
            _running.get(task_name, {}).pop(sandbox.name, None)

    @classmethod
    async def task_cleanup(
        cls, task_name: str, config: SandboxEnvironmentConfigType | None, cleanup: bool
    ) -> None:
        """Removes what is left of a task."""
        left = _running.pop(task_name, {})
        for sandbox in left.values() if cleanup else ():
            await sandbox.remove()

    @classmethod
    async def cli_cleanup(cls, id: str | None) -> None:
        """Removes the sandbox `id`, or all that evaluations have left."""
        for info in await ckpt.AsyncSandbox.list():
            if info.name.startswith(PREFIX) and id in (None, info.name):
                await ckpt.AsyncSandbox(info.name).remove()

    @classmethod
    def config_deserialize(cls, config: dict[str, Any]) -> BaseModel:
        """A configuration out of an evaluation's log."""
        return CkptConfig(**config)

    def _path(self, path: str) -> str:
        return str(PurePosixPath(self.workdir) / path)

    async def _may(self, command: list[str], path: str, file: str) -> None:
        """Lets the user of the sandbox try what the server is about to do as root."""
        done = await self.sandbox.exec(command, user=self.user)
        if done.ok or await self._is_directory(path):
            return
        if "ermission denied" in done.stderr:
            raise PermissionError(errno.EACCES, "Permission denied", file)

    async def _as_os_error(self, error: ckpt.CkptError, path: str, file: str) -> Exception:
        """The built-in exception that the contract asks for."""
        if isinstance(error, ckpt.SandboxNotFound):
            return error
        if await self._is_directory(path):
            return IsADirectoryError(errno.EISDIR, "Is a directory", file)
        if isinstance(error, ckpt.NotFound):
            return FileNotFoundError(errno.ENOENT, "No such file or directory", file)
        if isinstance(error, ckpt.NotPermitted):
            return PermissionError(errno.EACCES, str(error), file)
        return error

    async def _is_directory(self, path: str) -> bool:
        try:
            return (await self.sandbox.files.stat(path, follow=True)).kind == "directory"
        except ckpt.CkptError:
            return False


_running: dict[str, dict[str, ckpt.AsyncSandbox]] = {}
"""The sandboxes of each task of this process."""


def _config(config: SandboxEnvironmentConfigType | None) -> CkptConfig:
    """A configuration as given: a `CkptConfig`, a JSON file of one, or a directory that is a base."""
    if config is None:
        return CkptConfig()
    if isinstance(config, CkptConfig):
        return config
    if isinstance(config, str):
        if config.endswith(".json"):
            return CkptConfig.model_validate_json(Path(config).read_text())
        return CkptConfig(base=config)
    raise ValueError(f"a ckpt sandbox is told what it is by a CkptConfig, not by {type(config).__name__}")


def _word(task_name: str) -> str:
    """A task's name as a part of a sandbox's."""
    return "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in task_name)[:30]


def _number() -> str:
    return secrets.token_hex(4)
