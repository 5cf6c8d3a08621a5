"""Containers for ARES that are sandboxes, and whose snapshots hold processes too.

    from ckpt.adapters.ares import CkptContainer

    factory = CkptContainer.configured(bases={"python:3.12": "/srv/python-3.12"})
    async with ares.make("sbv-mswea", container_factory=factory) as env:
        …

`SnapshotableContainer` is the protocol that ARES has proposed, which its released versions do not have yet.
"""

from __future__ import annotations

import asyncio
import pathlib
import re
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from ares.containers import containers

import ckpt

if TYPE_CHECKING:
    from typing_extensions import Self


@runtime_checkable
class SnapshotableContainer(containers.Container, Protocol):
    """A container whose state can be captured and returned to."""

    @abstractmethod
    async def snapshot(self) -> str:
        """Captures its state and returns an id for `from_snapshot`."""

    @classmethod
    @abstractmethod
    def from_snapshot(
        cls,
        snapshot_id: str,
        *,
        name: str | None = None,
        resources: containers.Resources | None = None,
        default_workdir: str | None = None,
    ) -> SnapshotableContainer:
        """A new container of that state, which is not started yet."""

    @abstractmethod
    async def delete_snapshot(self, snapshot_id: str) -> None:
        """Deletes a captured state; one that is gone is no error."""

    @abstractmethod
    def delete_snapshot_sync(self, snapshot_id: str) -> None:
        """The same, for the end of a program."""


class CkptContainer(SnapshotableContainer):
    """A container of ARES, and their factory, over a sandbox.

    `exec_run` raises `TimeoutError`, and `ckpt.SandboxDied` where the sandbox itself ended.
    """

    bases: ClassVar[Mapping[str, str]] = {}
    """What sandboxes of an image start from, by the image's name or the path of its Dockerfile."""
    default_base: ClassVar[str | None] = None
    """What those of any other image start from; such an image is refused when it is None."""
    options: ClassVar[Mapping[str, Any]] = {}
    """Options of `ckpt.Sandbox.create` for all."""

    def __init__(
        self,
        base: str | None,
        *,
        snapshot_id: str | None = None,
        name: str | None = None,
        resources: containers.Resources | None = None,
        default_workdir: str | None = None,
    ) -> None:
        self.base = base
        self.snapshot_id = snapshot_id
        self.name = _NOT_IN_NAMES.sub("-", name).strip("-")[-60:].lstrip("-") if name else None
        self.resources = resources
        self.default_workdir = default_workdir
        self.sandbox: ckpt.AsyncSandbox | None = None
        """The sandbox itself, once it is started."""
        self._env: dict[str, str] = {}

    @classmethod
    def configured(
        cls,
        *,
        bases: Mapping[str, str] | None = None,
        default_base: str | None = None,
        **options: Any,
    ) -> type[Self]:
        """A factory that knows what images are: `bases` by name, `default_base` for the others."""
        values = {"bases": dict(bases or {}), "default_base": default_base, "options": options}
        return type(cls.__name__, (cls,), values | {"__module__": cls.__module__})

    # The factory

    @classmethod
    def from_image(
        cls,
        *,
        image: str,
        name: str | None = None,
        resources: containers.Resources | None = None,
        default_workdir: str | None = None,
    ) -> Self:
        """A container of an image, not started. Raises `ValueError` for one that has no base here."""
        base = cls._base(image)
        return cls(base, name=name, resources=resources, default_workdir=default_workdir)

    @classmethod
    def from_dockerfile(
        cls,
        *,
        dockerfile_path: pathlib.Path | str,
        name: str | None = None,
        resources: containers.Resources | None = None,
        default_workdir: str | None = None,
    ) -> Self:
        """A container of what a Dockerfile would make, not started; nothing is built.

        Raises `ValueError` for one that has no base here.
        """
        base = cls._base(str(dockerfile_path))
        return cls(base, name=name, resources=resources, default_workdir=default_workdir)

    @classmethod
    def from_snapshot(
        cls,
        snapshot_id: str,
        *,
        name: str | None = None,
        resources: containers.Resources | None = None,
        default_workdir: str | None = None,
    ) -> Self:
        """A container that goes on from a snapshot, processes and all; not started yet.

        `name` is the beginning of the sandbox's name.
        """
        return cls(
            None, snapshot_id=snapshot_id, name=name, resources=resources, default_workdir=default_workdir
        )

    @classmethod
    def _base(cls, image: str) -> str:
        base = cls.bases.get(image, cls.default_base)
        if base is None:
            raise ValueError(
                f"no base is known for {image}; name one with CkptContainer.configured(bases={{…}})"
            )
        return base

    # The container

    async def start(self, env: dict[str, str] | None = None) -> None:
        """Starts it. `env` is what every command gets."""
        self._env = dict(env or {})
        limits = self._limits()
        if self.snapshot_id is not None:
            snapshot = await ckpt.AsyncSnapshot.get(self.snapshot_id)
            (self.sandbox,) = await snapshot.fork(prefix=self.name)
            if limits:
                await self.sandbox.update(**limits)
            return
        options = {**self.options, **limits}
        self.sandbox = await ckpt.AsyncSandbox.create(self.base or "host", self.name, **options)

    async def stop(self) -> None:
        """Ends it. Its snapshots stay."""
        if self.sandbox is not None:
            sandbox, self.sandbox = self.sandbox, None
            await sandbox.remove()

    def stop_and_remove(self) -> None:
        """Ends it, at the end of a program."""
        if self.sandbox is not None:
            name, self.sandbox = self.sandbox.name, None
            ckpt.Sandbox(name).remove()

    async def exec_run(
        self,
        command: str,
        *,
        workdir: str | None = None,
        env: dict[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> containers.ExecResult:
        """Runs a command with a login bash, stderr in its output. Raises `TimeoutError`."""
        done = await self._started().exec(
            ["bash", "-c", 'exec bash -lc "$1" 2>&1', "bash", command],
            cwd=workdir or self.default_workdir,
            env=self._env | (env or {}),
            timeout=timeout_s,
        )
        if done.timed_out:
            raise TimeoutError(f"the command ran out of time after {timeout_s} seconds: {command[:200]}")
        return containers.ExecResult(output=done.stdout + done.stderr, exit_code=done.exit_code)

    async def upload_files(self, local_paths: list[pathlib.Path], remote_paths: list[str]) -> None:
        """Copies files in; directories are made where they are missing."""
        files = self._started().files
        for local, remote in _pairs(local_paths, remote_paths):
            data, mode = await asyncio.to_thread(_read, pathlib.Path(local))
            await files.write(str(remote), data, mode=mode, parents=True)

    async def download_files(self, remote_paths: list[str], local_paths: list[pathlib.Path]) -> None:
        """Copies files out; directories are made where they are missing."""
        files = self._started().files
        for local, remote in _pairs(local_paths, remote_paths):
            data = await files.read(str(remote))
            await asyncio.to_thread(_write, pathlib.Path(local), data)

    # Snapshots

    async def snapshot(self) -> str:
        """Saves files, memory and processes of this instant; it goes on running."""
        return (await self._started().save()).id

    async def restore(self, snapshot_id: str) -> None:
        """Rolls it back in place, which is quicker than a new container."""
        await self._started().restore(snapshot_id)

    async def delete_snapshot(self, snapshot_id: str) -> None:
        """Deletes a snapshot; what was saved on the way from it moves up to its parent."""
        try:
            await ckpt.AsyncTree().delete(snapshot_id, keep_children=True)
        except ckpt.SnapshotNotFound:
            pass  # The protocol asks for no error.

    def delete_snapshot_sync(self, snapshot_id: str) -> None:
        """As `delete_snapshot`."""
        try:
            ckpt.Tree().delete(snapshot_id, keep_children=True)
        except ckpt.SnapshotNotFound:
            pass  # The protocol asks for no error.

    def _started(self) -> ckpt.AsyncSandbox:
        if self.sandbox is None:
            raise RuntimeError("Container not started.")
        return self.sandbox

    def _limits(self) -> dict[str, Any]:
        """ARES's resources as limits: CPUs, and GiB of memory. Disks and GPUs are not handed out."""
        wanted = self.resources or containers.Resources()
        if wanted.gpu:
            raise ValueError("a sandbox is given a GPU as a device: CkptContainer.configured(devices=[…])")
        limits: dict[str, Any] = {}
        if wanted.cpu:
            limits["cpus"] = wanted.cpu
        if wanted.memory:
            limits["memory"] = wanted.memory << 30
        return limits


def _pairs(local: list[pathlib.Path], remote: list[str]) -> list[tuple[pathlib.Path, str]]:
    if len(local) != len(remote):
        raise ValueError("local_paths and remote_paths must have the same length")
    return list(zip(local, remote, strict=True))


def _read(path: pathlib.Path) -> tuple[bytes, int]:
    return path.read_bytes(), path.stat().st_mode & 0o777


def _write(path: pathlib.Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]+")
