"""What happens to sandboxes and snapshots, as it happens."""

from __future__ import annotations

import collections
import json
from typing import TYPE_CHECKING, Any

from ..messages import Event
from .transport import AsyncTransport

if TYPE_CHECKING:
    from typing_extensions import Self


class AsyncEvents:
    """Events of a server, one after the other; see `AsyncClient.events`.

    It ends when the server does. Whoever wants to go on after that, or after a pause, asks for the events
    `since` the `id` of the last one; where some are gone by then, one of kind `missed` says so.
    """

    def __init__(self, transport: AsyncTransport, path: str) -> None:
        self._pieces = transport.download(path)
        self._begun: collections.deque[Event] = collections.deque()
        self._rest = b""

    async def _open(self) -> None:
        """Waits for the answer's beginning: from here on nothing is missed."""
        await self._more()

    async def _more(self) -> bool:
        """Takes the next piece of the answer; false at its end."""
        try:
            piece = await self._pieces.__anext__()
        except StopAsyncIteration:
            return False
        *lines, self._rest = (self._rest + piece).split(b"\n")
        self._begun.extend(Event.from_json(json.loads(line)) for line in lines if line.strip())
        return True

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._begun:
            if not await self._more():
                raise StopAsyncIteration
        return self._begun.popleft()

    async def close(self) -> None:
        """Stops watching."""
        await self._pieces.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: Any) -> None:
        await self.close()
