"""An environment for Harbor.

    harbor run -p tasks/ -a oracle --env ckpt.adapters.harbor:CkptEnvironment --ek default_base=host

Agents and verifiers run in sandboxes that can be saved, rolled back and forked on the way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from harbor.environments.base import BaseEnvironment, ExecResult
from harbor.environments.capabilities import EnvironmentCapabilities, EnvironmentResourceCapabilities

import ckpt


class CkptEnvironment(BaseEnvironment):
    """A trial's environment, in a sandbox.

    Nothing is pulled or built: `bases` says what the sandboxes of an image start from, `snapshot` has all
    trials go on from one instant. When the sandbox itself dies, `ckpt.SandboxDied` ends the trial.
    """

    def __init__(
        self,
        *args: Any,
        bases: Mapping[str, str] | None = None,
        default_base: str | None = None,
        snapshot: str | None = None,
        options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """`bases`: what sandboxes start from, by the task's `docker_image`, or its own name where it has a
        Dockerfile. `default_base`: what those of any other task do; such a task is refused when missing.

        `snapshot`: what all start from instead, by any reference. `options`: of `ckpt.Sandbox.create`.
        """
        self._bases = dict(bases or {})
        self._default_base = default_base
        self._snapshot = snapshot
        self._options = dict(options or {})
        self._sandbox: ckpt.AsyncSandbox | None = None
        super().__init__(*args, **kwargs)

    @staticmethod
    def type() -> str:
        """What Harbor calls it."""
        return "ckpt"

    @property
    def capabilities(self) -> EnvironmentCapabilities:
        """It can do without a network, and mounts nothing of this machine."""
        return EnvironmentCapabilities(disable_internet=True)

    @classmethod
    def resource_capabilities(cls) -> EnvironmentResourceCapabilities:
        """CPUs and memory are limits."""
        return EnvironmentResourceCapabilities(cpu_limit=True, memory_limit=True)

    @property
    def sandbox(self) -> ckpt.AsyncSandbox:
        """The sandbox itself, once it is started."""
        if self._sandbox is None:
            raise RuntimeError("the environment is not started")
        return self._sandbox

    async def save(self, tag: str | None = None, message: str | None = None) -> ckpt.AsyncSnapshot:
        """Saves files, memory and processes of this instant."""
        return await self.sandbox.save(tag, message)

    async def restore(self, snapshot: ckpt.AsyncSnapshot | str) -> None:
        """Rolls the sandbox back."""
        await self.sandbox.restore(snapshot)

    # Its life

    async def start(self, force_build: bool) -> None:
        """Makes the sandbox; `force_build` changes nothing, as nothing is built."""
        name = _NOT_IN_NAMES.sub("-", f"harbor-{self.session_id}").strip("-")[:50].rstrip("-")
        if self._snapshot is not None:
            (self._sandbox,) = await (await ckpt.AsyncSnapshot.get(self._snapshot)).fork(prefix=name)
            await self._sandbox.update(**self._limits())
        else:
            options = {"net": "nat" if self._network_is_public else "none"} | self._limits() | self._options
            self._sandbox = await ckpt.AsyncSandbox.create(self._base(), name, **options)
        try:
            if self.task_env_config.workdir:
                await self._directory(self.task_env_config.workdir)
            made = await self.ensure_dirs(self._mount_targets(writable_only=True))
            if made is not None and made.return_code != 0:
                raise RuntimeError(f"the directories of logs cannot be made: {made.stderr}")
            await self._upload_environment_dir_after_start()
        except BaseException:
            await self.stop(delete=True)
            raise

    async def stop(self, delete: bool) -> None:
        """Ends the sandbox; without `delete` it stays, for somebody to look at."""
        if self._sandbox is not None and delete:
            sandbox, self._sandbox = self._sandbox, None
            await sandbox.remove()

    # Commands and files

    async def exec(
        self,
        command: str,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        timeout_sec: int | None = None,
        user: str | int | None = None,
    ) -> ExecResult:
        """Runs a command with bash. Raises `RuntimeError` where it ran out of time, as with Docker."""
        wanted = self._resolve_user(user)
        done = await self.sandbox.exec(
            ["bash", "-c", command],
            cwd=cwd or self.task_env_config.workdir,
            env=self._merge_env(env),
            timeout=timeout_sec,
            user=None if wanted is None else str(wanted),
        )
        callback = self._output_callback()
        if callback is not None:
            await callback(done.stdout, "stdout")
            await callback(done.stderr, "stderr")
        if done.timed_out:
            raise RuntimeError(f"Command timed out after {timeout_sec} seconds")
        return ExecResult(stdout=done.stdout, stderr=done.stderr, return_code=done.exit_code)

    async def upload_file(self, source_path: Path | str, target_path: str) -> None:
        """Copies a file in."""
        await self._directory(str(PurePosixPath(target_path).parent))
        await self.sandbox.files.copy_in(source_path, target_path)

    async def upload_dir(self, source_dir: Path | str, target_dir: str) -> None:
        """Copies what a directory holds into one of the sandbox."""
        await self._directory(target_dir)
        await self.sandbox.files.copy_in(f"{source_dir}/.", target_dir)

    async def download_file(self, source_path: str, target_path: Path | str) -> None:
        """Copies a file out. Raises `ckpt.NotFound`."""
        target = Path(target_path)
        target.parent.mkdir(parents=True, exist_ok=True)
        await self.sandbox.files.copy_out(source_path, target)

    async def download_dir(self, source_dir: str, target_dir: Path | str) -> None:
        """Copies what a directory of the sandbox holds into one of this machine."""
        target = Path(target_dir)
        target.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240
        for entry in await self.sandbox.files.list(source_dir):
            if entry.name is not None:
                await self.sandbox.files.copy_out(f"{source_dir}/{entry.name}", target)

    async def _directory(self, path: str) -> None:
        await self.sandbox.exec(["mkdir", "-p", "--", path], cwd="/", user="root", check=True)

    # What it is made of

    def _validate_definition(self) -> None:
        if self._snapshot is None:
            self._base()

    def _base(self) -> str:
        image = self.task_env_config.docker_image or self.environment_name
        base = self._bases.get(image, self._default_base)
        if base is None:
            raise ValueError(
                f"no base is known for {image}; give the environment bases={{…}} or default_base"
            )
        return base

    def _limits(self) -> dict[str, Any]:
        limits: dict[str, Any] = {}
        if self._effective_cpus is not None:
            limits["cpus"] = self._effective_cpus
        if self._effective_memory_mb is not None:
            limits["memory"] = self._effective_memory_mb << 20
        return limits


_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]+")
