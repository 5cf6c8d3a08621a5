"""HTTP/1.1 as ckpt's server speaks it, without sockets."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from ..errors import CkptError, InternalError, VersionMismatch, from_message

HEAD_LIMIT = 64 << 10
ERROR_TRAILER = b"ckpt-error"


class Lost(Exception):
    """The connection broke. `untouched`: the server certainly did not act on the request."""

    def __init__(self, why: str, *, untouched: bool) -> None:
        super().__init__(why)
        self.untouched = untouched


def segment(text: str) -> str:
    """A path segment or query value, with everything but RFC 3986's unreserved characters as `%XX`."""
    return quote(text, safe="-._~", encoding="utf-8", errors="surrogateescape")


def target(path: str, /, **query: Any) -> str:
    """A path with those query values that are not `None`; booleans as `true`, and left out when false."""
    words = []
    for name, value in query.items():
        if value is None or value is False:
            continue
        words.append(f"{name}={'true' if value is True else segment(str(value))}")
    return f"{path}?{'&'.join(words)}" if words else path


def request(method: str, path: str, body: bytes | None = None, fields: str = "") -> bytes:
    """A whole request; one with `fields` brings its own framing."""
    if body is not None:
        kind = "" if fields else "Content-Type: application/json\r\n"
        head = f"{method} {path} HTTP/1.1\r\nHost: ckpt\r\n{fields}{kind}Content-Length: {len(body)}\r\n\r\n"
        return head.encode("ascii") + body
    framing = "Content-Length: 0\r\n" if method in ("POST", "PUT") and not fields else ""
    return f"{method} {path} HTTP/1.1\r\nHost: ckpt\r\n{fields}{framing}\r\n".encode("ascii")


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body; the empty one is the last."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Response:
    """One answer, understood from bytes as they come."""

    __slots__ = (
        "_buffer",
        "_chunked",
        "_left",
        "closes",
        "complete",
        "fields",
        "pieces",
        "status",
        "trailer",
    )

    def __init__(self) -> None:
        self.status = 0
        """0 until the head is there."""
        self.fields: dict[bytes, bytes] = {}
        self.pieces: list[bytes] = []
        """Parts of the body that nobody has taken yet."""
        self.complete = False
        self.closes = False
        """Whether the connection ends with this answer."""
        self.trailer: bytes | None = None
        """Why the body is not whole, as JSON."""
        self._buffer = b""
        self._left = 0
        self._chunked = False

    def feed(self, data: bytes) -> None:
        """Takes bytes from the connection. Raises `VersionMismatch` for what is no HTTP."""
        self._buffer = self._buffer + data if self._buffer else data
        if not self.status and not self._read_head():
            if len(self._buffer) > HEAD_LIMIT:
                raise VersionMismatch("the server's header is too long")
            return
        if self.status == 101:
            self.complete = True
        elif self._chunked:
            while not self.complete and self._read_chunk():
                pass
        else:
            self._read_plain()

    @property
    def rest(self) -> bytes:
        """What came after the answer."""
        return self._buffer

    @property
    def started(self) -> bool:
        """Whether anything of it has come."""
        return bool(self.status or self._buffer)

    @property
    def retry_after(self) -> int | None:
        """The seconds after which a server that did nothing asks for the request again.

        0 where it goes and another one comes, 1 where it is full; `None` for every other answer.
        """
        after = self.fields.get(b"retry-after") if self.status == 503 else None
        return int(after) if after is not None and after.isdigit() else None

    def body(self) -> bytes:
        """The parts that have come since the last call."""
        taken = self.pieces
        self.pieces = []
        return taken[0] if len(taken) == 1 else b"".join(taken)

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        first, *lines = self._buffer[:end].split(b"\r\n")
        self._buffer = self._buffer[end + 4 :]
        if not first.startswith(b"HTTP/1.1 ") or not first[9:12].isdigit():
            raise VersionMismatch("what listens on the socket is not ckpt", cause=repr(first[:80]))
        self.status = int(first[9:12])
        self.fields = {}
        for line in lines:
            name, _, value = line.partition(b":")
            self.fields[name.lower()] = value.strip()
        self.closes = self.fields.get(b"connection", b"").lower() == b"close"
        self._chunked = self.fields.get(b"transfer-encoding", b"").lower() == b"chunked"
        self._left = int(self.fields.get(b"content-length", b"0"))
        return True

    def _read_plain(self) -> None:
        if len(self._buffer) > self._left:
            self.pieces.append(self._buffer[: self._left])
            self._buffer = self._buffer[self._left :]
            self._left = 0
        elif self._buffer:
            self.pieces.append(self._buffer)
            self._left -= len(self._buffer)
            self._buffer = b""
        self.complete = self._left == 0

    def _read_chunk(self) -> bool:
        """Takes a chunk or a part of one; false when more bytes must come first."""
        if self._left == 0:
            return self._read_size()
        if self._left > 2:
            part = self._buffer[: self._left - 2]
            if not part:
                return False
            self.pieces.append(part)
            self._buffer = self._buffer[len(part) :]
            self._left -= len(part)
            return True
        if len(self._buffer) < 2:
            return False
        if self._buffer[:2] != b"\r\n":
            raise VersionMismatch("a chunk of the server's answer is longer than it said")
        self._buffer = self._buffer[2:]
        self._left = 0
        return True

    def _read_size(self) -> bool:
        line, end, rest = self._buffer.partition(b"\r\n")
        if not end:
            return False
        size = int(line.partition(b";")[0], 16)
        if size:
            self._buffer = rest
            self._left = size + 2
            return True
        if rest.startswith(b"\r\n"):
            self._buffer = rest[2:]
            self.complete = True
            return False
        fields, end, after = rest.partition(b"\r\n\r\n")
        if not end:
            return False
        for field in fields.split(b"\r\n"):
            name, _, value = field.partition(b":")
            if name.lower() == ERROR_TRAILER:
                self.trailer = value.strip()
        self._buffer = after
        self.complete = True
        return False


def decoded(response: Response, body: bytes) -> Any:
    """The JSON of a success; raises the `CkptError` of anything else."""
    try:
        value = json.loads(body)
    except ValueError:
        raise InternalError(
            f"the server answered with status {response.status}", cause=body[:200].decode(errors="replace")
        ) from None
    if response.status == 200:
        return value
    raise failure(value)


def failure(envelope: Any) -> CkptError:
    """The exception in an `ErrorEnvelope`, or for the `ErrorMessage` alone that a trailer has."""
    return from_message(envelope.get("error", envelope) if isinstance(envelope, dict) else envelope)
