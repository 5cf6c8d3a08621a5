"""The methods for asyncio."""

from __future__ import annotations

import asyncio
from typing import Protocol


class _Blocking(Protocol):
    def run(self, command: str | list[str], timeout: int | None = None) -> tuple[str, int]: ...
    def reset(self) -> None: ...
    def delete(self) -> None: ...
    def snapshot(self, tag: str | int | None = None) -> str | int: ...
    def restore(self, tag: str | int | None = None) -> None: ...


class AsyncTwins:
    """The part of a sandbox that is for asyncio: each call waits in a thread."""

    async def arun(self: _Blocking, command: str | list[str], timeout: int | None = None) -> tuple[str, int]:
        """`run` for asyncio."""
        return await asyncio.to_thread(self.run, command, timeout)

    async def areset(self: _Blocking) -> None:
        """`reset` for asyncio."""
        await asyncio.to_thread(self.reset)

    async def adelete(self: _Blocking) -> None:
        """`delete` for asyncio."""
        await asyncio.to_thread(self.delete)

    async def asnapshot(self: _Blocking, tag: str | int | None = None) -> str | int:
        """`snapshot` for asyncio."""
        return await asyncio.to_thread(self.snapshot, tag)

    async def arestore(self: _Blocking, tag: str | int | None = None) -> None:
        """`restore` for asyncio."""
        await asyncio.to_thread(self.restore, tag)
