# Generated from ../_async/events.py by scripts/generate-python; edit that one.
"""What happens to sandboxes and snapshots, as it happens."""

from __future__ import annotations

import collections
import json
from typing import TYPE_CHECKING, Any

from ..messages import Event
from .transport import Transport

if TYPE_CHECKING:
    from typing_extensions import Self


class Events:
    """Events of a server, one after the other; see `Client.events`.

    It ends when the server does. Whoever wants to go on after that, or after a pause, asks for the events
    `since` the `id` of the last one; where some are gone by then, one of kind `missed` says so.
    """

    def __init__(self, transport: Transport, path: str) -> None:
        self._pieces = transport.download(path)
        self._begun: collections.deque[Event] = collections.deque()
        self._rest = b""

    def _open(self) -> None:
        """Waits for the answer's beginning: from here on nothing is missed."""
        self._more()

    def _more(self) -> bool:
        """Takes the next piece of the answer; false at its end."""
        try:
            piece = self._pieces.__next__()
        except StopIteration:
            return False
        *lines, self._rest = (self._rest + piece).split(b"\n")
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
        """Stops watching."""
        self._pieces.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()
