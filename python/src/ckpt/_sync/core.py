# Generated from ../_async/core.py by scripts/generate-python; edit that one.
"""What every part of a sandbox stands on: its name, its client, and the look whether it died."""

from __future__ import annotations

from typing import Any

from .._io import blocking as io
from .._wire.http import segment
from ..errors import CkptError, InternalError, SandboxDied, SandboxNotFound, WrongState
from ..messages import SandboxInfo
from .client import Client

DYING = 40
"""How often a sandbox whose processes are gone is asked whether it is dead, 25 ms apart."""
SIGNS = ("are gone", "the sandbox's PID 1")
"""What the server says of a sandbox whose end it has yet to notice."""


class SandboxCore:
    """Name and client of a sandbox."""

    def __init__(self, name: str, client: Client | None = None) -> None:
        self._name = name
        self._client = client or Client.default()
        self._path = f"/v1/sandboxes/{segment(name)}"

    @property
    def name(self) -> str:
        """The sandbox's name, by which any other process can find it."""
        return self._name

    @property
    def client(self) -> Client:
        """Whose sandbox it is."""
        return self._client

    def info(self) -> SandboxInfo:
        """What it is now: state, spec, processes, sessions, ports, use. Raises `SandboxNotFound`."""
        return SandboxInfo.from_json(self._client._transport.call("GET", self._path))

    def _call(self, method: str, what: str, body: Any = None, *, repeatable: bool = True) -> Any:
        """A request about this sandbox. Raises `SandboxDied` instead of what a dead one is refused with."""
        try:
            return self._client._transport.call(method, self._path + what, body, repeatable=repeatable)
        except (WrongState, InternalError) as error:
            raise self._explained(error) from error

    def _explained(self, error: CkptError) -> CkptError:
        """`SandboxDied` where that is why a call failed; else the error itself."""
        if isinstance(error, SandboxDied):
            return error
        for _ in range(DYING):
            try:
                info = self.info()
            except (CkptError, SandboxNotFound):
                return error
            if info.state == "dead":
                return SandboxDied(self._name, info.reason, info.snapshot, cause=error.message)
            # PID 1's connection may break a moment before its end is noticed.
            if info.state != "running" or not any(sign in str(error) for sign in SIGNS):
                return error
            io.sleep(0.025)
        return error
