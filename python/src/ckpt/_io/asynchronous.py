"""Connections, locks and time for the async door."""

from __future__ import annotations

import asyncio
import collections
import os
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
Lock = asyncio.Lock
READ_SIZE = 256 << 10


class Connection:
    """A connected Unix socket of one event loop."""

    __slots__ = ("_reader", "_writer")

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        """Sends all of it; raises `OSError` when the other side is gone."""
        self._writer.write(data)
        await self._writer.drain()

    async def receive(self) -> bytes:
        """Waits for bytes; none when the other side is gone."""
        return await self._reader.read(READ_SIZE)

    def is_idle(self) -> bool:
        """Whether nobody hung up."""
        return not self._reader.at_eof() and not self._writer.is_closing()

    def shutdown(self) -> None:
        """Ends it for whoever waits in `receive`."""
        self._writer.close()

    def close(self) -> None:
        """Closes it."""
        self._writer.close()


async def connect(path: str) -> Connection:
    """Connects to the socket at `path`, which may be longer than a socket's address."""
    directory = os.open(Path(path).parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return Connection(
            *await asyncio.open_unix_connection(
                f"/proc/self/fd/{directory}/{Path(path).name}", limit=READ_SIZE
            )
        )
    finally:
        os.close(directory)


class Pool:
    """Idle connections, of this process and the running event loop alone."""

    def __init__(self) -> None:
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, collections.deque[Connection]] = (
            weakref.WeakKeyDictionary()
        )
        self._pid = os.getpid()

    def _idle(self) -> collections.deque[Connection]:
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._loops = weakref.WeakKeyDictionary()
        return self._loops.setdefault(asyncio.get_running_loop(), collections.deque())

    def take(self) -> Connection | None:
        """One that can be used, the one used last first."""
        idle = self._idle()
        while idle:
            connection = idle.pop()
            if connection.is_idle():
                return connection
            connection.close()
        return None

    def put(self, connection: Connection) -> None:
        """Keeps one for later."""
        self._idle().append(connection)

    def close(self) -> None:
        """Closes all of this loop that are idle."""
        idle = self._idle()
        while idle:
            idle.pop().close()


async def sleep(seconds: float) -> None:
    """Waits."""
    await asyncio.sleep(seconds)


async def run_blocking(work: Callable[..., T], *arguments: Any) -> T:
    """Runs what waits for a disk or a process in a thread."""
    return await asyncio.to_thread(work, *arguments)
