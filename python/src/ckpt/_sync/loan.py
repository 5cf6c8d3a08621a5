# Generated from ../_async/loan.py by scripts/generate-python; edit that one.
"""The descriptors of a borrowed session, and one call over them."""

from __future__ import annotations

import fcntl
import os
import select
import stat
import struct
import time
import weakref
from typing import TYPE_CHECKING

from .._io import blocking as io
from .._wire import http, lending

if TYPE_CHECKING:
    from .sandbox import Sandbox

# Of <fcntl.h> and <asm-generic/ioctls.h>: not in every Python's modules.
F_OFD_SETLK = 37
FIONREAD = 0x541B
FLOCK = "hhqqi4x"
LOCK = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
UNLOCK = struct.pack(FLOCK, fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0)
NOTHING = bytes(4)

_loans: weakref.WeakSet[Loan] = weakref.WeakSet()


class Loan:
    """A session's bash, until somebody else makes a call in the session."""

    def __init__(
        self, connection: io.Connection, descriptors: list[int], line: bytes, prompts: lending.Prompts
    ) -> None:
        self.output: dict[int, list[bytes]]
        """What the call has printed so far on stdout and on stderr."""
        self.runs = False
        """Whether bash was given a call that is not known to have ended."""
        self.ends = False
        """Whether the server has hung up: the next call needs another loan."""
        self._owner = os.getpid()
        self._connection = connection
        self._descriptors = descriptors
        self._input, self._control, self._out, self._error, self._text = descriptors
        self._line = line
        self._prompts = prompts
        self._began = 0.0
        _loans.add(self)
        # What bash has printed before a prompt is ready when that is: the kernel looks in this order.
        self._ready = io.Readiness([self._control, self._out, self._error, connection.fileno()])

    @classmethod
    def of(cls, sandbox: Sandbox, session: str) -> Loan:
        """Borrows a session. Raises `InUse`, `WrongState`, `http.Lost`."""
        path = f"{sandbox._path}/sessions/{http.segment(session)}/loan"
        descriptors: list[int] = []
        connection = None
        try:
            connection, line = sandbox._client._transport.upgrade(path, lending.UPGRADE, descriptors)
            while not line.endswith(b"\n"):
                line += _more(connection, descriptors)
            terms = lending.answer(line)
            if len(descriptors) != 5:
                raise http.Lost(f"{len(descriptors)} descriptors came", untouched=False)
            return cls(connection, descriptors, terms["line"].encode(), lending.Prompts(terms["commands"]))
        except BaseException:
            if connection is not None:
                connection.close()
            _close(descriptors)
            raise

    @property
    def is_ours(self) -> bool:
        """Whether this process has borrowed it, and not one that it was forked from."""
        return self._owner == os.getpid()

    @property
    def elapsed(self) -> float:
        """Seconds since the call began."""
        return time.monotonic() - self._began

    @property
    def printed(self) -> tuple[bytes, bytes]:
        """What the call has printed so far on stdout and on stderr."""
        out, error = self.output.values()
        return b"".join(out), b"".join(error)

    def begin(self, text: bytes) -> bool:
        """Gives bash a text to run; false where the session was taken back."""
        self._began = time.monotonic()
        self.output = {self._out: [], self._error: []}
        try:
            fcntl.fcntl(self._text, F_OFD_SETLK, LOCK)
            status = os.fstat(self._text)
            if not status.st_mode & stat.S_IWUSR:
                return False
            put = os.pwrite(self._text, text, 0)
            while put < len(text):
                put += os.pwrite(self._text, text[put:], put)
            if put < status.st_size:
                os.ftruncate(self._text, put)
            os.write(self._input, self._line)
        except OSError:
            return False
        self.runs = True
        return True

    def follow(self, timeout: float | None) -> int | None:
        """Waits for the end and returns the exit code; `None` where time is over or bash has ended."""
        while True:
            left = None if timeout is None else timeout - self.elapsed
            if left is not None and left <= 0:
                return None
            exit_code = None
            for descriptor, events in self._ready.wait(left):
                if descriptor == self._control:
                    said = os.read(descriptor, 4096) if events & select.POLLIN else b""
                    if not said:
                        return None
                    exit_code = self._prompts.feed(said)
                elif descriptor in self.output:
                    self._take(descriptor)
                else:
                    self.ends = True
                    self._ready.remove(descriptor)
            if exit_code is not None:
                self.runs = False
                self._unlock()
                return exit_code

    def _take(self, descriptor: int) -> None:
        """Reads what lies in a pipe; a background job could write for ever."""
        size = int.from_bytes(fcntl.ioctl(descriptor, FIONREAD, NOTHING), "little")
        if size:
            self.output[descriptor].append(os.read(descriptor, size))
        else:
            # Nobody has its other end any more.
            self._ready.remove(descriptor)

    def _unlock(self) -> None:
        fcntl.fcntl(self._text, F_OFD_SETLK, UNLOCK)

    def hand_back(self, id: str, timeout: float | None) -> None:
        """Makes the call that runs one of the sandbox's own. Raises the server's refusal, and `OSError`."""
        self._connection.send(self._call_return(id, timeout))
        line = b""
        while not line.endswith(b"\n"):
            line += _more(self._connection, [])
        self.runs = False
        lending.answer(line)

    def _call_return(self, id: str, timeout: float | None) -> bytes:
        # The lock stays: nobody takes the session back before that.
        elapsed = self.elapsed
        remaining = None if timeout is None else timeout - elapsed
        return lending.call_return(id, self._prompts.commands + 1, elapsed, remaining)

    def end(self, running: str | None) -> None:
        """Gives the session back, and has the call that still runs killed, under the id `running`."""
        if running is not None and self.runs and self.is_ours:
            self.runs = False
            self._connection.send_now(self._call_return(running, 0))
        self.close()

    def close(self) -> None:
        """Gives the session back."""
        self._connection.close()
        _close(self._descriptors)

    def __del__(self) -> None:
        self.close()


def _leave_to_the_parent() -> None:
    """In a forked child: a lock lasts for as long as anybody has its open file."""
    for loan in list(_loans):
        loan.close()


os.register_at_fork(after_in_child=_leave_to_the_parent)


def _close(descriptors: list[int]) -> None:
    while descriptors:
        os.close(descriptors.pop())


def _more(connection: io.Connection, descriptors: list[int]) -> bytes:
    try:
        data = connection.receive_descriptors(descriptors)
    except OSError as error:
        raise http.Lost(str(error), untouched=False) from error
    if not data:
        raise http.Lost("the server closed it", untouched=False)
    return data
