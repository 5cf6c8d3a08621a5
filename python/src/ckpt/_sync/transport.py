# Generated from ../_async/transport.py by scripts/generate-python; edit that one.
"""Requests to one server: lost ones are sent again where that is safe."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, TypeVar

from .._io import blocking as io
from .._wire import http
from ..errors import ServerUnavailable
from .connections import LOSSES, PATIENCE, Turn, decoded, encoded
from .transfers import Transfers

T = TypeVar("T")


class Transport(Transfers):
    """The requests of one client."""

    def call(self, method: str, path: str, body: Any = None, *, repeatable: bool = True) -> Any:
        """Sends JSON and returns the answer's. `repeatable` requests are sent again after a lost connection.

        Raises the server's own error as a `CkptError`.
        """
        data = http.request(method, path, None if body is None else encoded(body))
        return self._attempt(data, decoded, repeatable=repeatable)

    def read(self, path: str) -> bytes:
        """The whole body of a GET."""
        return self._attempt(http.request("GET", path), _bytes, repeatable=True)

    def write(self, path: str, body: bytes, *, repeatable: bool) -> Any:
        """Sends bytes with a PUT."""
        fields = "Content-Type: application/octet-stream\r\n"
        return self._attempt(http.request("PUT", path, body, fields), decoded, repeatable=repeatable)

    def _attempt(self, data: bytes, take: Callable[[http.Response], T], *, repeatable: bool) -> T:
        # From a loss on: until then the server takes as long as it takes.
        deadline: float | None = None
        losses = 0
        turn = Turn(self.root)
        while True:
            connection = self.take()
            try:
                return self._exchange(connection, data, take)
            except _NotTaken as refused:
                turn.wait(refused.after)
            except http.Lost as lost:
                if not lost.untouched:
                    # A server may be replaced more than once while a request runs.
                    losses, deadline = losses + 1, None
                deadline = deadline or time.monotonic() + PATIENCE
                if time.monotonic() > deadline or not (lost.untouched or (repeatable and losses <= LOSSES)):
                    hint = None if lost.untouched else "what was asked for may or may not have been done"
                    raise ServerUnavailable(
                        "the server's connection broke", hint=hint, cause=str(lost)
                    ) from lost
                if lost.untouched:
                    io.sleep(0.005)

    def _exchange(
        self, connection: io.Connection, data: bytes, take: Callable[[http.Response], T]
    ) -> T:
        """One request and its answer; the connection goes back to the pool, or is closed."""
        keep = False
        try:
            response = self._roundtrip(connection, data)
            keep = not response.closes
        finally:
            if keep:
                self.pool.put(connection)
            else:
                connection.close()
        if response.retry_after is not None:
            raise _NotTaken(response.retry_after)
        return take(response)


class _NotTaken(Exception):
    """The server did nothing and asks for the request again."""

    def __init__(self, after: int) -> None:
        super().__init__(after)
        self.after = after
        """As `Response.retry_after`."""


def _bytes(response: http.Response) -> bytes:
    body = response.body()
    if response.status != 200:
        http.decoded(response, body)
    if response.trailer:
        raise http.failure(json.loads(response.trailer))
    return body
