"""A client of one server, and what concerns the server as a whole."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any

from .. import _binary
from .._wire.http import target
from ..messages import DoctorReport, SandboxInfo, VersionInfo
from .events import AsyncEvents
from .transport import AsyncTransport

_clients: dict[tuple[str, str | None, bool], AsyncClient] = {}
_clients_lock = threading.Lock()
os.register_at_fork(after_in_child=lambda: globals().update(_clients_lock=threading.Lock()))


class AsyncClient:
    """A client of the server of one root.

    Any number of threads may use one at the same time, and so may a child after a fork: it has connections
    of its own. Most programs need none: `AsyncSandbox.create()` and its like take `AsyncClient.default()`.

        client = AsyncClient(root="/srv/ckpt")
        sb = await AsyncSandbox.create(client=client)
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        *,
        binary: str | os.PathLike[str] | None = None,
        start: bool = True,
    ) -> None:
        """`root` is the server's directory: `CKPT_ROOT` when missing, else `/var/lib/ckpt` for root.

        `binary` is the program that is started as the server where none listens (else `CKPT_BIN`, the one
        in this package, the one on PATH); `start=False` never starts one. Nothing is connected before the
        first call.
        """
        self.root = _binary.root(root)
        self._binary = None if binary is None else os.fspath(binary)
        self._start = start
        self._transport = AsyncTransport(self.root, self._binary, start=start)

    @classmethod
    def default(cls) -> AsyncClient:
        """The client that is used where none is given: one for each root that `CKPT_ROOT` has named."""
        return cls._of(_binary.root(), None, True)

    @classmethod
    def _of(cls, root: str, binary: str | None, start: bool) -> AsyncClient:
        with _clients_lock:
            client = _clients.get((root, binary, start))
            if client is None:
                client = _clients[root, binary, start] = cls(root, binary=binary, start=start)
            return client

    def __reduce__(self) -> tuple[Any, ...]:
        return AsyncClient._of, (self.root, self._binary, self._start)

    def __repr__(self) -> str:
        return f"AsyncClient({self.root!r})"

    async def version(self) -> VersionInfo:
        """The versions of program, store and API, and the server's pid."""
        return VersionInfo.from_json(await self._transport.call("GET", "/v1/version"))

    async def doctor(self, *, self_test: bool = False) -> DoctorReport:
        """What this machine lacks, if anything.

        With `self_test` a sandbox is made, saved, restored, forked and removed to see.
        """
        path = target("/v1/doctor", selfTest=self_test)
        return DoctorReport.from_json(await self._transport.call("GET", path))

    async def sandboxes(self) -> list[SandboxInfo]:
        """All sandboxes, dead and stopped ones too."""
        answer = await self._transport.call("GET", "/v1/sandboxes")
        return [SandboxInfo.from_json(item) for item in answer["sandboxes"]]

    async def shutdown(self) -> None:
        """Ends the server; sandboxes run on, and the next call of anybody starts a server that takes them
        up.
        """
        await self._transport.call("POST", "/v1/shutdown", repeatable=False)
        self._transport.close()

    async def events(
        self,
        *,
        since: int | None = None,
        sandbox: str | None = None,
        kinds: Sequence[str] = (),
        follow: bool = True,
    ) -> AsyncEvents:
        """Begins to watch what happens: sandboxes created, saved, restored, died, oom, crashed …

        `since`: after the event of that id, 0 for all that the server keeps; what is yet to happen when
        missing. `sandbox`, `kinds`: only events about it, only of these kinds. `follow=False`: ends after
        what is there.

            async with await client.events(kinds=["died", "oom"]) as events:
                async for event in events:
                    print(event.sandbox, event.message)
        """
        path = target("/v1/events", since=since, sandbox=sandbox, kind=",".join(kinds) or None)
        if not follow:
            path += ("&" if "?" in path else "?") + "follow=false"
        events = AsyncEvents(self._transport, path)
        await events._open()
        return events

    async def metrics(self) -> dict[str, float]:
        """What the server counts, by the names of its Prometheus page (`/metrics`), labels included.

        saves = (await client.metrics())['ckpt_operations_total{operation="save",result="ok"}']
        """
        text = (await self._transport.read("/metrics")).decode()
        samples = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in samples}

    def close(self) -> None:
        """Closes the connections that are idle; the client can still be used."""
        self._transport.close()

    async def call(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """Any request of the API that has no method here: JSON in, JSON out.

        It is not sent again when the connection breaks. Raises the server's error as a `CkptError`.
        """
        return await self._transport.call(method, target(path, **query), body, repeatable=method == "GET")
