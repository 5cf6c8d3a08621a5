"""What the tools of the MCP server answer."""

from __future__ import annotations

# pydantic, which the framework reads these with, takes no other before Python 3.12.
from typing_extensions import TypedDict

import ckpt


class CommandOutput(TypedDict):
    """How a command ended."""

    stdout: str
    stderr: str
    exit_code: int
    timed_out: bool
    oom_killed: bool
    truncated: bool


class SandboxState(TypedDict):
    """A sandbox."""

    name: str
    state: str
    snapshot: str | None


class SnapshotState(TypedDict):
    """A snapshot of the tree."""

    id: str
    parent: str | None
    tags: list[str]
    message: str | None
    sandbox: str
    standing: list[str]


class FileState(TypedDict):
    """An entry of a directory."""

    name: str
    kind: str
    size: int


def snapshot_state(snapshot: ckpt.AsyncSnapshot) -> SnapshotState:
    """A snapshot as the tools tell of it."""
    info = snapshot.info
    return SnapshotState(
        id=info.id,
        parent=info.parent,
        tags=info.tags,
        message=info.message,
        sandbox=info.sandbox,
        standing=info.standing,
    )
