"""Requests to one server: connections kept, the server started where none listens, lost ones sent again."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Callable
from typing import IO, Any, TypeVar

from .. import _binary
from .._io import asynchronous as io
from .._version import API, __version__
from .._wire import http
from ..errors import CkptError, ServerUnavailable, VersionMismatch

T = TypeVar("T")
PATIENCE = 30.0
"""Seconds to look for a server that is just being replaced."""
LOSSES = 5
"""How often the connection of one request may break, and that of one stream in a row."""
BLOCK = 256 << 10


class AsyncTransport:
    """The requests of one client."""

    def __init__(self, root: str, binary: str | None, *, start: bool) -> None:
        self.root = root
        self.binary = binary
        self.start = start
        self.pool = io.Pool()
        self._checked = False

    # Connections

    async def connect(self) -> io.Connection:
        """A new connection, to a server that is started where none listens."""
        path = f"{self.root}/server.sock"
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return await io.connect(path)
            except PermissionError as error:
                raise CkptError(
                    f"{path} is another user's", hint="choose a root of your own", code="not_permitted",
                    cause=str(error),
                ) from error  # fmt: skip
            except (FileNotFoundError, ConnectionRefusedError) as error:
                if not self.start:
                    raise ServerUnavailable(
                        f"no server listens on {path}", hint="start one with `ckpt serve`"
                    ) from error
                await io.run_blocking(_binary.start_server, self.binary, self.root)
                if time.monotonic() > deadline:
                    raise ServerUnavailable(f"the server of {self.root} ends again and again") from error
            except BlockingIOError:
                # Its queue of connections is full for the moment (unix(7)).
                if time.monotonic() > deadline:
                    raise ServerUnavailable(f"the server of {self.root} accepts no connection") from None
                await io.sleep(0.01)

    async def take(self) -> io.Connection:
        """An idle connection or a new one; the first one asks for the server's version."""
        connection = self.pool.take()
        if connection is not None:
            return connection
        connection = await self.connect()
        if not self._checked:
            try:
                await self._check_version(connection)
            except BaseException as error:
                connection.close()
                if isinstance(error, http.Lost):
                    return await self.connect()
                raise
        return connection

    async def _check_version(self, connection: io.Connection) -> None:
        response = await self._roundtrip(connection, http.request("GET", "/v1/version"))
        if response.closes:
            raise http.Lost("the server is shutting down", untouched=True)
        version = _json(response)
        if version.get("api") != API:
            raise VersionMismatch(
                f"the server of {self.root} is ckpt {version.get('version')} with API {version.get('api')}; "
                f"this package is ckpt {__version__} with API {API}",
                hint="stop it with `ckpt serve --stop`, and install the same version of both",
            )
        self._checked = True

    # Requests

    async def call(self, method: str, path: str, body: Any = None, *, repeatable: bool = True) -> Any:
        """Sends JSON and returns the answer's. `repeatable` requests are sent again after a lost connection.

        Raises the server's own error as a `CkptError`.
        """
        data = http.request(method, path, None if body is None else _encoded(body))
        return await self._attempt(data, _json, repeatable=repeatable)

    async def read(self, path: str) -> bytes:
        """The whole body of a GET."""
        return await self._attempt(http.request("GET", path), _bytes, repeatable=True)

    async def write(self, path: str, body: bytes) -> Any:
        """Sends bytes with a PUT."""
        fields = "Content-Type: application/octet-stream\r\n"
        return await self._attempt(http.request("PUT", path, body, fields), _json, repeatable=False)

    async def _attempt(self, data: bytes, take: Callable[[http.Response], T], *, repeatable: bool) -> T:
        # From a loss on: until then the server takes as long as it takes.
        deadline: float | None = None
        losses = 0
        while True:
            connection = await self.take()
            try:
                return await self._exchange(connection, data, take)
            except _Retry:
                deadline = deadline or time.monotonic() + PATIENCE
                if time.monotonic() > deadline:
                    raise ServerUnavailable(f"the server of {self.root} is shutting down") from None
                await io.sleep(0.01)
            except http.Lost as lost:
                if not lost.untouched:
                    # A server may be replaced more than once while a request runs.
                    losses, deadline = losses + 1, None
                deadline = deadline or time.monotonic() + PATIENCE
                if time.monotonic() > deadline or not (lost.untouched or (repeatable and losses <= LOSSES)):
                    raise ServerUnavailable("the server's connection broke", cause=str(lost)) from lost
                if lost.untouched:
                    await io.sleep(0.005)

    async def _exchange(
        self, connection: io.Connection, data: bytes, take: Callable[[http.Response], T]
    ) -> T:
        """One request and its answer; the connection goes back to the pool, or is closed."""
        keep = False
        try:
            response = await self._roundtrip(connection, data)
            keep = not response.closes
        finally:
            if keep:
                self.pool.put(connection)
            else:
                connection.close()
        if response.retry:
            raise _Retry
        return take(response)

    async def _roundtrip(self, connection: io.Connection, data: bytes) -> http.Response:
        try:
            await connection.send(data)
        except OSError as error:
            # Not all of it was taken, and the server acts on whole requests only. It may have said why.
            refusal = http.Response()
            try:
                await self._receive(connection, refusal)
            except http.Lost:
                raise http.Lost(str(error), untouched=True) from error
            return refusal
        response = http.Response()
        await self._receive(connection, response)
        return response

    async def _receive(self, connection: io.Connection, response: http.Response) -> None:
        while not response.complete:
            await self._feed(connection, response)

    async def _feed(self, connection: io.Connection, response: http.Response) -> None:
        """Waits for more of an answer."""
        try:
            data = await connection.receive()
        except OSError as error:
            # The kernel says so when the other side closed without having read everything (unix(7)).
            untouched = isinstance(error, ConnectionResetError) and not response.started
            raise http.Lost(str(error), untouched=untouched) from error
        if not data:
            raise http.Lost("the server closed it", untouched=False)
        response.feed(data)

    # Streams

    async def download(self, path: str, body: Any = None) -> AsyncGenerator[bytes, None]:
        """The body of a GET, or of a POST with JSON, piece by piece.

        Raises `ServerUnavailable` where it breaks off.
        """
        asked = http.request("GET", path) if body is None else http.request("POST", path, _encoded(body))
        connection = await self.take()
        response = http.Response()
        keep = False
        try:
            await connection.send(asked)
            while not response.complete:
                await self._feed(connection, response)
                if response.status == 200 and response.pieces:
                    yield response.body()
            keep = not response.closes
        except (http.Lost, OSError) as error:
            raise ServerUnavailable("the server broke off in the middle", cause=str(error)) from error
        finally:
            if keep:
                self.pool.put(connection)
            else:
                connection.close()
        if response.status != 200:
            http.decoded(response, response.body())
        if response.trailer:
            raise http.failure(json.loads(response.trailer))

    async def upload(self, path: str, source: IO[bytes], kind: str, *, method: str = "PUT") -> Any:
        """Sends all of a file, from where it stands, as a chunked body."""
        connection = await self.take()
        response = http.Response()
        try:
            fields = f"Content-Type: {kind}\r\nTransfer-Encoding: chunked\r\n"
            await connection.send(http.request(method, path, None, fields))
            while True:
                block = await io.run_blocking(source.read, BLOCK)
                await connection.send(http.chunk(block))
                if not block:
                    break
        except OSError:
            # It may have refused in the middle, and says why.
            pass
        try:
            await self._receive(connection, response)
        except http.Lost as lost:
            raise ServerUnavailable("the server broke off in the middle", cause=str(lost)) from lost
        finally:
            connection.close()
        return http.decoded(response, response.body())

    async def upgrade(self, path: str, fields: str) -> tuple[io.Connection, bytes]:
        """A connection that speaks another protocol from here on, and what has come on it already."""
        connection = await self.take()
        response = http.Response()
        try:
            await connection.send(http.request("GET", path, None, fields))
            await self._receive(connection, response)
            if response.status != 101:
                http.decoded(response, response.body())
        except OSError as error:
            connection.close()
            raise http.Lost(str(error), untouched=True) from error
        except BaseException:
            connection.close()
            raise
        return connection, response.rest

    def close(self) -> None:
        """Closes the idle connections."""
        self.pool.close()


class _Retry(Exception):
    """The server did nothing and asks for the request again."""


def _encoded(body: Any) -> bytes:
    return json.dumps(body).encode()


def _json(response: http.Response) -> Any:
    return http.decoded(response, response.body())


def _bytes(response: http.Response) -> bytes:
    body = response.body()
    if response.status != 200:
        http.decoded(response, body)
    if response.trailer:
        raise http.failure(json.loads(response.trailer))
    return body
