"""What a borrower of a session is told and tells, without sockets (docs/lending.md)."""

from __future__ import annotations

import json
from typing import Any

from .http import failure

UPGRADE = "Connection: Upgrade\r\nUpgrade: ckpt-session\r\n"


def answer(line: bytes) -> Any:
    """The JSON of a line of the server's. Raises the `CkptError` of a refusal."""
    value = json.loads(line)
    if "error" in value:
        raise failure(value)
    return value


def call_return(id: str, commands: int, elapsed: float, remaining: float | None) -> bytes:
    """The line that hands a running call back."""
    value: dict[str, Any] = {"id": id, "commands": commands, "elapsedMs": elapsed * 1000}
    if remaining is not None:
        value["remainingMs"] = max(0.0, remaining) * 1000
    return json.dumps(value).encode() + b"\n"


class Prompts:
    """What bash tells at each prompt: its status, and how many commands it was given."""

    __slots__ = ("_rest", "commands")

    def __init__(self, commands: int) -> None:
        self.commands = commands
        """The number of the last command that has ended."""
        self._rest = b""

    def feed(self, data: bytes) -> int | None:
        """The status of the command that has ended, if one has. Other lines are bash's traces."""
        status = None
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            first, _, second = line.partition(b" ")
            if first.isdigit() and second.isdigit() and int(second) > self.commands:
                status, self.commands = int(first) & 255, int(second)
        return status
