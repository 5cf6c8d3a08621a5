"""Connections, locks and time for the blocking door."""

from __future__ import annotations

import collections
import math
import os
import select
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from .unix_socket import UnixSocket, connected

T = TypeVar("T")
Lock = threading.Lock
Condition = threading.Condition
READ_SIZE = 256 << 10


class Connection(UnixSocket):
    """A connected Unix socket."""

    __slots__ = ()

    def send(self, data: bytes) -> None:
        """Sends all of it; raises `OSError` when the other side is gone."""
        self._socket.sendall(data)

    def receive(self) -> bytes:
        """Waits for bytes; none when the other side is gone."""
        return self._socket.recv(READ_SIZE)

    def receive_descriptors(self, descriptors: list[int]) -> bytes:
        """As `receive`, and adds the descriptors that come with the bytes to `descriptors`."""
        return self._receive_descriptors(descriptors)


def connect(path: str) -> Connection:
    """Connects to the socket at `path`."""
    return Connection(connected(path, blocking=True))


class Pool:
    """Idle connections, of this process alone: a forked child starts with none."""

    def __init__(self) -> None:
        self._idle: collections.deque[Connection] = collections.deque()
        self._pid = os.getpid()

    def take(self) -> Connection | None:
        """One that can be used, the one used last first."""
        if self._pid != os.getpid():
            self._pid, inherited = os.getpid(), self._idle
            self._idle = collections.deque()
            for connection in inherited:
                connection.close()
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            if connection.is_idle():
                return connection
            connection.close()

    def put(self, connection: Connection) -> None:
        """Keeps one for later."""
        self._idle.append(connection)

    def close(self) -> None:
        """Closes all that are idle."""
        while self._idle:
            self._idle.pop().close()


EAGERNESS = 0.002
"""Seconds for which `Readiness` looks again and again, and lets others run meanwhile, before it sleeps.

A processor with nothing to do sleeps, and to wake it takes some µs, in a virtual machine up to 300.
"""


class Readiness:
    """Waits until one of some descriptors can be read, or was hung up on."""

    __slots__ = ("_poll", "remove")

    def __init__(self, descriptors: list[int]) -> None:
        self._poll = select.poll()
        for descriptor in descriptors:
            self._poll.register(descriptor, select.POLLIN)
        self.remove = self._poll.unregister

    def wait(self, seconds: float | None) -> list[tuple[int, int]]:
        """The descriptors, in their order, with poll(2)'s events; none when the time is over."""
        now = time.monotonic()
        deadline = math.inf if seconds is None else now + seconds
        end = min(deadline, now + EAGERNESS)
        while now < end:
            if ready := self._poll.poll(0):
                return ready
            os.sched_yield()
            now = time.monotonic()
        return self._poll.poll(None if seconds is None else max(0, math.ceil((deadline - now) * 1000)))


def sleep(seconds: float) -> None:
    """Waits."""
    time.sleep(seconds)


def run_blocking(work: Callable[..., T], *arguments: Any) -> T:
    """Runs what waits for a disk or a process."""
    return work(*arguments)
