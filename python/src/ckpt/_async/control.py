"""Ending, pausing and watching a sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import options as _options
from .._wire.http import target
from ..errors import SandboxNotFound
from ..messages import (
    LogRecord,
    ReclaimResult,
    SandboxedProcess,
    SandboxInfo,
    SandboxStatistics,
    WaitResult,
)
from .core import AsyncSandboxCore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Unpack


class AsyncControl(AsyncSandboxCore):
    """The part of a sandbox that deals with its processes as a whole."""

    async def remove(self, *, force: bool = True) -> None:
        """Ends the sandbox and removes its files; its snapshots stay. Removing one that is gone does nothing.

        `force=False` raises `InUse` or `WrongState` while it runs.
        """
        path = target(self._path, force=force)
        try:
            await self._client._transport.call("DELETE", path, repeatable=False)
        except SandboxNotFound:
            pass

    async def kill(self, signal: int | None = None) -> SandboxInfo:
        """Sends a signal to every process but PID 1; with none, ends them all, and the sandbox is stopped.

        `restore` or `reset` wakes a stopped sandbox.
        """
        return SandboxInfo.from_json(await self._call("POST", "/kill", {"signal": signal}, repeatable=False))

    async def pause(self) -> SandboxInfo:
        """Stops every process where it is; `unpause` lets them go on."""
        return SandboxInfo.from_json(await self._call("POST", "/pause"))

    async def unpause(self) -> SandboxInfo:
        """Lets the processes of a paused sandbox run on."""
        return SandboxInfo.from_json(await self._call("POST", "/unpause"))

    async def wait(self, seconds: float = 30) -> WaitResult:
        """Waits, 30 s at most, until no process of the sandbox is left."""
        return WaitResult.from_json(await self._call("GET", target("/wait", seconds=seconds)))

    async def stats(self, *, interval: float = 0) -> SandboxStatistics:
        """What it uses and has used: CPU, memory, processes, I/O, pressure.

        `interval`: seconds (0 to 10) to measure the use of the CPU; since its start when 0.
        """
        return SandboxStatistics.from_json(await self._call("GET", target("/stats", interval=interval)))

    async def processes(self, *, interval: float = 0) -> list[SandboxedProcess]:
        """Its processes by pid. `interval` as in `stats`."""
        answer = await self._call("GET", target("/top", interval=interval))
        return [SandboxedProcess.from_json(item) for item in answer["processes"]]

    async def reclaim(self, bytes: int | None = None) -> ReclaimResult:
        """Gives memory that was not used lately back to the machine.

        All that can be had when `bytes` is missing.
        """
        return ReclaimResult.from_json(await self._call("POST", "/reclaim", {"bytes": bytes}))

    async def update(
        self, *, lift: Sequence[str] = (), **limits: Unpack[_options.LimitOptions]
    ) -> SandboxInfo:
        """Changes limits while it runs; those that are missing stay as they are.

        await sb.update(memory="4g", cpus=2, lift=["pids-limit"])

        `lift` names limits that are to be none any more, by their options on the command line.
        """
        body = {"limits": _options.limits(limits), "lift": list(lift)}
        return SandboxInfo.from_json(await self._call("POST", "/update", body))

    async def logs(self) -> list[LogRecord]:
        """The output kept of its commands, oldest first."""
        answer = await self._call("GET", "/logs")
        return [LogRecord.from_json(item) for item in answer["records"]]
