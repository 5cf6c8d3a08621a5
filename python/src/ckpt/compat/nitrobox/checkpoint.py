"""Checkpoints of files and processes, by a path that stands for them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ... import errors
from ..._sync.client import Client
from .errors import translated
from .snapshots import handle

if TYPE_CHECKING:
    from .sandbox import Sandbox


class CheckpointManager:
    """Saves a sandbox and rolls it back: files, memory and processes of one instant.

    A checkpoint is a snapshot in ckpt's tree; the directory `path` stands for it and may be deleted, moved
    or kept without harm. Every checkpoint can be restored any number of times, and PIDs stay.
    """

    def __init__(
        self, sandbox: Sandbox, helper_binary: str | None = None, *, criu_binary: str | None = None
    ) -> None:
        """`helper_binary` and `criu_binary` are of no use: ckpt brings its own."""
        self._sandbox = sandbox

    def save(self, path: str, *, leave_running: bool = True, track_mem: bool = True) -> None:
        """Saves the sandbox as `path`, which must not be there.

        Without `leave_running` it stands still afterwards until it is restored. Memory that did not change
        is never stored twice, with or without `track_mem`. A save that fails leaves nothing. Raises
        `FileExistsError`, and a `RuntimeError` with process and object where it cannot be saved.
        """
        if os.path.exists(path):
            raise FileExistsError(f"Checkpoint directory already exists: {path}")
        with handle(path) as stands_for, translated():
            native = self._sandbox._native
            stands_for(native.save(message=f"checkpoint {path}", stop=not leave_running))

    def restore(self, path: str) -> None:
        """Rolls the sandbox back to `path`.

        Raises `FileNotFoundError`, and a `RuntimeError` where it fails.
        """
        self._sandbox._restore_handle(path, "Checkpoint")
        self._sandbox._after_restore()

    @staticmethod
    def check_available() -> bool:
        """Whether this machine can save and restore."""
        try:
            checks = Client.default().doctor().checks
        except errors.CkptError:
            return False
        return not any(check.status == "failed" for check in checks)
