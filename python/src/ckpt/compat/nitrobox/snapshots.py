"""Snapshots by tag, by number, and by a path of this machine that stands for one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ... import errors
from ..._sync.sandbox import Sandbox as Native
from ..._sync.snapshot import Snapshot
from ..._sync.tree import Tree
from .errors import SandboxError, translated

NOTE = "ckpt.json"
"""The file in a handle's directory that names the snapshot."""


@contextmanager
def handle(path: str) -> Iterator[Callable[[Snapshot], None]]:
    """Makes the directory that stands for a snapshot; what it gives names the snapshot.

    A body that fails leaves no directory, and no snapshot that was named. Raises `FileExistsError`.
    """
    directory = Path(path)
    directory.mkdir(parents=True)
    made: list[Snapshot] = []

    def stands_for(snapshot: Snapshot) -> None:
        made.append(snapshot)
        note = {"snapshot": snapshot.id, "root": snapshot._client.root}
        (directory / NOTE).write_text(json.dumps(note) + "\n")

    try:
        yield stands_for
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        for snapshot in made:
            # It may be in use: a sandbox that was stopped stands on it.
            with suppress(errors.CkptError):
                snapshot.delete(keep_children=True)
        raise


def read_handle(path: str, native: Native, what: str) -> str:
    """The snapshot that a directory stands for. Raises `FileNotFoundError`."""
    note = Path(path) / NOTE
    if not Path(path).exists():
        raise FileNotFoundError(f"{what} not found: {path}")
    if not note.exists():
        raise FileNotFoundError(f"{what} not found: {path} is no directory that ckpt made")
    found = json.loads(note.read_text())
    if found["root"] != native.client.root:
        raise SandboxError(
            f"{path} stands for a snapshot of {found['root']}, this sandbox is of {native.client.root}"
        )
    return str(found["snapshot"])


OWN = "snapshot "
"""How the message of a snapshot begins that goes with its sandbox."""


class Snapshots:
    """The part of a sandbox that deals with snapshots: files and processes of one instant."""

    _native: Native

    def __init__(self) -> None:
        self._snapshot_counter = 0
        # By tag or number as text, oldest first.
        self._snapshots: dict[str, str] = {}
        # Deleted here, and in the store as soon as no sandbox stands on them.
        self._retired: list[str] = []

    def fs_snapshot(self, path: str) -> None:
        """Saves the files; the directory `path` stands for them. Raises `FileExistsError`."""
        with handle(path) as stands_for, translated():
            stands_for(self._native.save(message=f"fs_snapshot {path}"))

    def fs_restore(self, path: str) -> None:
        """Brings the files of `fs_snapshot(path)` back; no process runs afterwards."""
        self._restore_handle(path, "Snapshot", suspended=True)
        with translated():
            self._native.kill(9)
            for job in self._native.jobs():
                job.wait()
        self._after_restore()

    def snapshot(self, tag: str | int | None = None) -> str | int:
        """Makes a snapshot and returns its tag: `tag`, or a number that was never used before.

        Raises `FileExistsError` for a tag that is there.
        """
        if tag is None:
            tag = self._snapshot_counter
        if str(tag) in self._snapshots:
            raise FileExistsError(f"there is a snapshot {tag!r} already")
        with translated():
            made = self._native.save(message=f"{OWN}{tag}")
        self._snapshots[str(tag)] = made.id
        if str(tag).isdigit():
            self._snapshot_counter = max(self._snapshot_counter, int(tag) + 1)
        self._retire()
        return tag

    def restore(self, tag: str | int | None = None) -> None:
        """Rolls back to a snapshot, the newest when `tag` is missing. Raises `FileNotFoundError`."""
        if tag is None:
            if not self._snapshots:
                raise FileNotFoundError("No snapshots available")
            tag = next(reversed(self._snapshots))
        if str(tag) not in self._snapshots:
            raise FileNotFoundError(f"Snapshot {tag!r} not found. Available: {self.list_snapshots()}")
        self._roll_back(self._snapshots[str(tag)])
        self._after_restore()

    def list_snapshots(self) -> list[str | int]:
        """The tags and numbers of the snapshots, oldest first."""
        return [int(tag) if tag.isdigit() else tag for tag in self._snapshots]

    def delete_snapshot(self, tag: str | int) -> None:
        """Deletes a snapshot; one that is not there is no error. Its number is not used again."""
        snapshot = self._snapshots.pop(str(tag), None)
        if snapshot is not None:
            self._retired.append(snapshot)
            self._retire()

    def _restore_handle(self, path: str, what: str, *, suspended: bool = False) -> None:
        snapshot = read_handle(path, self._native, what)
        with translated():
            try:
                self._native.restore(snapshot, suspended=suspended)
            except errors.SnapshotNotFound:
                raise FileNotFoundError(
                    f"{what} not found: the snapshot that {path} stands for was deleted"
                ) from None
        self._retire()

    def _roll_back(self, snapshot: str) -> None:
        with translated():
            self._native.restore(snapshot)
        self._retire()

    def _after_restore(self) -> None:
        """What the sandbox knows of its processes is out of date."""

    def _retire(self) -> None:
        """Deletes the snapshots that nobody wants any more and nobody stands on."""
        tree = Tree(self._native.client)
        left: list[str] = []
        for snapshot in self._retired:
            try:
                tree.delete(snapshot, keep_children=True)
            except errors.InUse:
                left.append(snapshot)
            except errors.SnapshotNotFound:
                continue
        self._retired = left

    def _forget_snapshots(self) -> None:
        """Deletes all of them, when the sandbox is gone."""
        self._retired += self._snapshots.values()
        self._snapshots.clear()
        self._retire()
