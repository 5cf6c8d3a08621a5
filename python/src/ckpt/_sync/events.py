# Generated from ../_async/events.py by scripts/generate-python; edit that one.
"""What happens to sandboxes and snapshots, as it happens."""

from __future__ import annotations

import collections
import json
from typing import TYPE_CHECKING, Any

from .._io import blocking as io
from .._wire import http
from ..errors import ServerUnavailable
from ..messages import Event
from .transport import Transport

if TYPE_CHECKING:
    from typing_extensions import Self


class Events:
    """Events of a server, one after the other; see `Client.events`.

    It ends when the server does, and when it is closed, by another thread or task too. Whoever wants to go on
    after that, or after a pause, asks for the events `since` the `id` of the last one; where some are gone by
    then, one of kind `missed` says so.
    """

    def __init__(self, transport: Transport, path: str) -> None:
        self._transport = transport
        self._path = path
        self._connection: io.Connection | None = None
        self._response = http.Response()
        self._waits = False
        self._begun: collections.deque[Event] = collections.deque()
        self._rest = b""

    def _open(self) -> None:
        """Waits for the answer's beginning: from here on nothing is missed."""
        self._connection, self._response = self._transport.begun(http.request("GET", self._path))
        if self._response.status != 200:
            self.close()
            http.decoded(self._response, self._response.body())
        self._more()

    def _more(self) -> bool:
        """Takes the next piece of the answer; false at its end."""
        connection = self._connection
        if not self._response.pieces:
            if connection is None or self._response.complete:
                self.close()
                return False
            self._waits = True
            try:
                self._transport.feed(connection, self._response)
            except http.Lost as lost:
                connection.close()
                if self._connection is None:
                    return False
                self._connection = None
                raise ServerUnavailable("the server broke off in the middle", cause=str(lost)) from lost
            finally:
                self._waits = False
        *lines, self._rest = (self._rest + self._response.body()).split(b"\n")
        self._begun.extend(Event.from_json(json.loads(line)) for line in lines if line.strip())
        return True

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        while not self._begun:
            if not self._more():
                raise StopIteration
        return self._begun.popleft()

    def close(self) -> None:
        """Stops watching; whoever waits for an event gets the end."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._waits:
            # Its reader closes it.
            connection.shutdown()
        else:
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()
