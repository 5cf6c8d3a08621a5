"""The frames of an exec stream, without sockets (`/v1/sandboxes/{name}/attach` in docs/openapi.yaml)."""

from __future__ import annotations

import json
import struct
from typing import Any

from ..errors import InternalError, InvalidOption, VersionMismatch

MAXIMUM_PAYLOAD = 1 << 20
WINDOW = 256 << 10
"""Bytes of stdin that may be on their way."""
UPGRADE = "Connection: Upgrade\r\nUpgrade: ckpt-exec\r\n"

REQUEST, STDIN, STDIN_END, SIGNAL, RESIZE = range(5)
STDOUT, STDERR, EXIT, ERROR, STARTED, STDIN_ACK = range(1, 7)


def frame(kind: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return struct.pack(">IB", len(payload), kind) + payload


def request(message: dict[str, Any]) -> bytes:
    """The first frame of a stream. Raises `InvalidOption` for one that is too large."""
    payload = json.dumps(message).encode()
    if len(payload) > MAXIMUM_PAYLOAD:
        raise InvalidOption("the command and its environment are larger than 1 MiB")
    return frame(REQUEST, payload)


def signal(number: int) -> bytes:
    """A signal for the command's process group."""
    return frame(SIGNAL, struct.pack(">i", number))


def resize(rows: int, columns: int) -> bytes:
    """Another size of the terminal, in characters."""
    return frame(RESIZE, struct.pack(">HH", rows, columns))


class Decoder:
    """Makes frames of bytes as they come."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The frames that are whole now, as type and payload."""
        self._buffer += data
        found = []
        start = 0
        while len(self._buffer) - start >= 5:
            size, kind = struct.unpack_from(">IB", self._buffer, start)
            if size > MAXIMUM_PAYLOAD:
                raise VersionMismatch(f"the server sent a frame of {size} bytes")
            if len(self._buffer) - start < 5 + size:
                break
            found.append((kind, bytes(self._buffer[start + 5 : start + 5 + size])))
            start += 5 + size
        del self._buffer[:start]
        return found


def offset_and_bytes(payload: bytes) -> tuple[int, bytes]:
    """What a frame of output says: where in the stream its bytes belong."""
    return struct.unpack_from(">Q", payload)[0], payload[8:]


class Stdin:
    """What was given to a command and has not arrived yet, so that it can be sent again."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._base = 0
        self._sent = 0
        self._end_sent = False
        self.closed = False

    @property
    def room(self) -> int:
        """How many bytes may be added now."""
        return WINDOW - len(self._kept)

    def add(self, data: bytes) -> None:
        """Takes at most `room` bytes."""
        self._kept += data

    def arrived(self, offset: int) -> None:
        """Everything before `offset` is in the sandbox."""
        count = min(offset - self._base, len(self._kept))
        if count > 0:
            del self._kept[:count]
            self._base += count
            self._sent = max(0, self._sent - count)

    def resume(self, offset: int) -> None:
        """Goes on, on a new connection, from what the sandbox has."""
        if self._base == 0 and not self._kept:
            self._base = offset
        if not self._base <= offset <= self._base + len(self._kept):
            raise InternalError(f"stdin cannot go on: the sandbox has {offset} bytes of {self._base}")
        self.arrived(offset)
        self._sent = 0
        self._end_sent = False

    def frames(self) -> bytes:
        """What is to be sent now."""
        made = b""
        while self._sent < len(self._kept):
            part = bytes(self._kept[self._sent : self._sent + (64 << 10)])
            made += frame(STDIN, struct.pack(">Q", self._base + self._sent) + part)
            self._sent += len(part)
        if self.closed and not self._end_sent:
            self._end_sent = True
            made += frame(STDIN_END)
        return made
