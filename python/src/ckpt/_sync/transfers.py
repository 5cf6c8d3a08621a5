# Generated from ../_async/transfers.py by scripts/generate-python; edit that one.
"""Bodies that go piece by piece, and connections that become something else."""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from typing import IO, Any

from .._io import blocking as io
from .._wire import http
from ..errors import ServerUnavailable
from .connections import LOSSES, PATIENCE, Connections, Turn, encoded

BLOCK = 256 << 10


class Transfers(Connections):
    """The part of a transport whose bodies are not held whole."""

    def download(self, path: str, body: Any = None) -> Generator[bytes, None, None]:
        """The body of a GET, or of a POST with JSON, piece by piece.

        Raises `ServerUnavailable` where it breaks off.
        """
        asked = http.request("GET", path) if body is None else http.request("POST", path, encoded(body))
        connection, response = self.begun(asked)
        keep = False
        try:
            while True:
                if response.status == 200 and response.pieces:
                    yield response.body()
                if response.complete:
                    break
                self.feed(connection, response)
            keep = not response.closes
        except http.Lost as error:
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

    def begun(self, asked: bytes) -> tuple[io.Connection, http.Response]:
        """A connection on which the answer's head has come; a refusal is whole.

        For what changes nothing, and so may be asked again.
        """
        turn = Turn(self.root)
        losses = 0
        while True:
            connection = self._headed(asked)
            response = http.Response()
            try:
                while not response.status or (response.status != 200 and not response.complete):
                    self.feed(connection, response)
            except http.Lost as error:
                connection.close()
                losses += 1
                if losses > LOSSES:
                    raise ServerUnavailable("the server's connection broke", cause=str(error)) from error
                continue
            except BaseException:
                connection.close()
                raise
            if response.retry_after is None:
                return connection, response
            connection.close()
            turn.wait(response.retry_after)

    def upload(self, path: str, source: IO[bytes], kind: str, *, method: str = "PUT") -> Any:
        """Sends all of a file, from where it stands, as a chunked body."""
        fields = f"Content-Type: {kind}\r\nTransfer-Encoding: chunked\r\n"
        head = http.request(method, path, None, fields)
        seekable = getattr(source, "seekable", None)
        begin = source.tell() if seekable is not None and seekable() else None
        turn = Turn(self.root)
        response = self._sent(head, source)
        while response.retry_after is not None and begin is not None:
            turn.wait(response.retry_after)
            source.seek(begin)
            response = self._sent(head, source)
        return http.decoded(response, response.body())

    def _sent(self, head: bytes, source: IO[bytes]) -> http.Response:
        """The answer to a body that is all of a file."""
        connection = self._headed(head)
        response = http.Response()
        try:
            while True:
                block = io.run_blocking(source.read, BLOCK)
                try:
                    connection.send(http.chunk(block))
                except OSError:
                    # It may have refused in the middle, and says why.
                    break
                if not block:
                    break
            self._receive(connection, response)
        except http.Lost as lost:
            raise ServerUnavailable("the server broke off in the middle", cause=str(lost)) from lost
        finally:
            connection.close()
        return response

    def _headed(self, head: bytes) -> io.Connection:
        """A connection that has taken a head; the server may close a silent one before, to make room."""
        deadline = time.monotonic() + PATIENCE
        while True:
            connection = self.take()
            try:
                connection.send(head)
                return connection
            except OSError as error:
                connection.close()
                if time.monotonic() > deadline:
                    raise ServerUnavailable("the server's connection broke", cause=str(error)) from error
                io.sleep(0.005)
            except BaseException:
                connection.close()
                raise

    def upgrade(
        self, path: str, fields: str, descriptors: list[int] | None = None
    ) -> tuple[io.Connection, bytes]:
        """A connection that speaks another protocol from here on, and what has come on it already.

        Descriptors that come with that go to the end of `descriptors`.
        """
        asked = http.request("GET", path, None, fields)
        turn = Turn(self.root)
        while True:
            connection = self._headed(asked)
            response = http.Response()
            try:
                self._receive(connection, response, descriptors)
                if response.status != 101 and response.retry_after is None:
                    http.decoded(response, response.body())
            except BaseException:
                connection.close()
                raise
            if response.retry_after is None:
                return connection, response.rest
            connection.close()
            turn.wait(response.retry_after)
