"""Connections to one server: kept, the server started where none listens."""

from __future__ import annotations

import errno
import json
import time
from typing import Any

from .. import _binary
from .._io import asynchronous as io
from .._version import API, __version__
from .._wire import http
from ..errors import InvalidOption, NotPermitted, ServerUnavailable, VersionMismatch

PATIENCE = 30.0
"""Seconds to look for a server that is just being replaced."""
LOSSES = 5
"""How often the connection of one request may break, and that of one stream in a row."""


class AsyncConnections:
    """The connections of one client, and what goes over each."""

    def __init__(self, root: str, binary: str | None, *, start: bool) -> None:
        self.root = root
        self.binary = binary
        self.start = start
        self.pool = io.Pool()
        self._checked = False

    async def connect(self) -> io.Connection:
        """A new connection, to a server that is started where none listens."""
        path = f"{self.root}/server.sock"
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return await io.connect(path)
            except PermissionError as error:
                raise NotPermitted(
                    f"{path} is another user's", hint="choose a root of your own", cause=str(error)
                ) from error
            except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
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
            except OSError as error:
                hint = "raise the limit of open files, `ulimit -n`" if error.errno == errno.EMFILE else None
                raise ServerUnavailable(f"cannot connect to {path}", hint=hint, cause=str(error)) from error

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
        version = decoded(response)
        if version.get("api") != API:
            raise VersionMismatch(
                f"the server of {self.root} is ckpt {version.get('version')} with API {version.get('api')}; "
                f"this package is ckpt {__version__} with API {API}",
                hint="stop it with `ckpt serve --stop`, and install the same version of both",
            )
        self._checked = True

    # What goes over one

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

    async def _receive(
        self, connection: io.Connection, response: http.Response, descriptors: list[int] | None = None
    ) -> None:
        while not response.complete:
            await self.feed(connection, response, descriptors)

    async def feed(
        self, connection: io.Connection, response: http.Response, descriptors: list[int] | None = None
    ) -> None:
        """Waits for more of an answer; descriptors that come with it go to the end of `descriptors`."""
        try:
            if descriptors is None:
                data = await connection.receive()
            else:
                data = await connection.receive_descriptors(descriptors)
        except OSError as error:
            # The kernel says so when the other side closed without having read everything (unix(7)).
            untouched = isinstance(error, ConnectionResetError) and not response.started
            raise http.Lost(str(error), untouched=untouched) from error
        if not data:
            raise http.Lost("the server closed it", untouched=False)
        response.feed(data)

    def close(self) -> None:
        """Closes the idle connections."""
        self.pool.close()


class AsyncTurn:
    """Until when, and how often, a request that was not taken is sent again."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._deadline: float | None = None
        self._pause = 0.01

    async def wait(self, after: int) -> None:
        """Waits before the next try. Raises `ServerUnavailable` where a server goes and none comes."""
        if after:
            # It has as many requests as it takes: there is room when others have got their answers.
            self._deadline, self._pause = None, min(2 * self._pause, 1.0)
        else:
            self._deadline = self._deadline or time.monotonic() + PATIENCE
            if time.monotonic() > self._deadline:
                raise ServerUnavailable(f"the server of {self._root} is shutting down")
        await io.sleep(self._pause)


def encoded(body: Any) -> bytes:
    """JSON as it is sent. Raises `InvalidOption` for what JSON has no word for."""
    try:
        return json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    except ValueError as error:
        raise InvalidOption(
            "the request cannot be sent", cause=str(error),
            hint="numbers must be finite, and texts must have no bytes that are not UTF-8",
        ) from error  # fmt: skip


def decoded(response: http.Response) -> Any:
    """The JSON of an answer; raises the `CkptError` of a refusal."""
    return http.decoded(response, response.body())
