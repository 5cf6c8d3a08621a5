"""Connections, locks and time for the async door."""

from __future__ import annotations

import asyncio
import collections
import os
import select
from collections.abc import AsyncGenerator, Callable
from typing import Any, TypeVar

from .unix_socket import UnixSocket, connected

T = TypeVar("T")
Lock = asyncio.Lock
Condition = asyncio.Condition
READ_SIZE = 128 << 10


class Connection(UnixSocket):
    """A connected Unix socket of one event loop.

    Not asyncio's streams: these throw away what has arrived and was not read yet as soon as a `send` fails.
    """

    __slots__ = ()

    async def send(self, data: bytes) -> None:
        """Sends all of it; raises `OSError` when the other side is gone."""
        try:
            await asyncio.get_running_loop().sock_sendall(self._socket, data)
        except asyncio.CancelledError:
            # Half of it may be on its way: nothing can follow.
            self.shutdown()
            raise

    async def receive(self) -> bytes:
        """Waits for bytes; none when the other side is gone."""
        return await asyncio.get_running_loop().sock_recv(self._socket, READ_SIZE)

    async def receive_descriptors(self, descriptors: list[int]) -> bytes:
        """As `receive`, and adds the descriptors that come with the bytes to `descriptors`."""
        await Readiness([self.fileno()]).wait(None)
        return self._receive_descriptors(descriptors)


async def connect(path: str) -> Connection:
    """Connects to the socket at `path`; raises `BlockingIOError` where the server's queue is full."""
    return Connection(connected(path, blocking=False))


Idle = collections.deque[Connection]


class Pool:
    """Idle connections, of this process and the running event loop alone."""

    def __init__(self) -> None:
        self._loops: dict[asyncio.AbstractEventLoop, tuple[Idle, AsyncGenerator[None, None]]] = {}
        self._pid = os.getpid()

    def _idle(self) -> Idle:
        loop = asyncio.get_running_loop()
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._loops = {}
        found = self._loops.get(loop)
        if found is None:
            for old in [old for old in self._loops if old.is_closed()]:
                self._loops.pop(old, None)
            found = self._loops[loop] = _kept_until_the_loop_ends()
        return found[0]

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


def _kept_until_the_loop_ends() -> tuple[Idle, AsyncGenerator[None, None]]:
    """A place for idle connections, which `asyncio.run` closes when it ends.

    A loop ends the async generators that were begun in it (`shutdown_asyncgens`) while it can close sockets;
    that is the only notice of its end that it gives.
    """
    idle: Idle = collections.deque()

    async def closing() -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            while idle:
                idle.pop().close()
            await asyncio.sleep(0)

    generator = closing()
    try:
        generator.__anext__().send(None)
    except StopIteration:
        pass
    return idle, generator


class Readiness:
    """Waits until one of some descriptors can be read, or was hung up on."""

    __slots__ = ("_descriptors", "_poll")

    def __init__(self, descriptors: list[int]) -> None:
        self._descriptors = list(descriptors)
        self._poll = select.poll()
        for descriptor in descriptors:
            self._poll.register(descriptor, select.POLLIN)

    def remove(self, descriptor: int) -> None:
        """Waits for that one no longer."""
        self._descriptors.remove(descriptor)
        self._poll.unregister(descriptor)

    async def wait(self, seconds: float | None) -> list[tuple[int, int]]:
        """The descriptors, in their order, with poll(2)'s events; none when the time is over."""
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        alarm = None if seconds is None else loop.call_later(seconds, _wake, ready)
        for descriptor in self._descriptors:
            loop.add_reader(descriptor, _wake, ready)
        try:
            await ready
        finally:
            for descriptor in self._descriptors:
                loop.remove_reader(descriptor)
            if alarm is not None:
                alarm.cancel()
        return self._poll.poll(0)


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


async def sleep(seconds: float) -> None:
    """Waits."""
    await asyncio.sleep(seconds)


async def run_blocking(work: Callable[..., T], *arguments: Any) -> T:
    """Runs what waits for a disk or a process in a thread."""
    return await asyncio.to_thread(work, *arguments)
