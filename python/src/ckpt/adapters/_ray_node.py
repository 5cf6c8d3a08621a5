"""What runs on each node of a Ray cluster: one actor, over the node's own server of ckpt."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ray.util.metrics import Counter, Gauge, Histogram

import ckpt

PIECE = 8 << 20
"""Bytes of an archive that travel as one object of Ray's store."""


class Node:
    """A node's sandboxes and snapshots; an actor, whose calls run side by side."""

    def __init__(self, pool: str, node: str, root: str | None) -> None:
        self._client = ckpt.Client(root)
        self._tree = ckpt.Tree(self._client)
        self._names: set[str] = set()
        self._arriving: dict[str, Path] = {}
        tags = {"pool": pool, "node": node[:12]}
        self._sandboxes = _tagged(Gauge, "ckpt_pool_sandboxes", "Sandboxes that run on a node", tags)
        self._commands = _tagged(Counter, "ckpt_pool_commands", "Commands that were run", tags)
        self._saves = _tagged(Counter, "ckpt_pool_saves", "Snapshots that were saved", tags)
        self._arrived = _tagged(Counter, "ckpt_pool_received_bytes", "Bytes of archives that came", tags)
        self._seconds = _tagged(
            Histogram,
            "ckpt_pool_command_seconds",
            "What commands took",
            tags,
            boundaries=[0.01, 0.1, 1, 10, 100],
        )
        self._count()

    def ping(self) -> str:
        """The root of the node's server, which is started for it."""
        self._client.version()
        return self._client.root

    # Sandboxes

    def create(self, name: str, base: str, options: dict[str, Any]) -> None:
        """Makes a sandbox."""
        ckpt.Sandbox.create(base, name, client=self._client, **options)
        self._count(name)

    def fork(self, snapshot: str, prefix: str, n: int, limits: dict[str, Any]) -> list[str]:
        """Makes `n` sandboxes from a snapshot that is here, all of them or none, and returns their names."""
        made = ckpt.Snapshot.get(snapshot, client=self._client).fork(n, prefix=prefix)
        try:
            for sandbox in made:
                sandbox.update(**limits)
        except BaseException:
            for sandbox in made:
                sandbox.remove()
            raise
        names = [sandbox.name for sandbox in made]
        self._count(*names)
        return names

    def exec(self, name: str, command: Any, arguments: dict[str, Any]) -> ckpt.Result:
        """Runs a command."""
        begun = time.monotonic()
        try:
            return self._sandbox(name).exec(command, **arguments)
        finally:
            self._commands.inc()
            self._seconds.observe(time.monotonic() - begun)

    def read(self, name: str, path: str) -> bytes:
        """The bytes of a file."""
        return self._sandbox(name).files.read(path)

    def write(self, name: str, path: str, data: bytes) -> None:
        """Writes a file, and the directories it lies in."""
        self._sandbox(name).files.write(path, data, parents=True)

    def save(self, name: str, tag: str | None, message: str | None) -> str:
        """Saves a sandbox and returns the snapshot's id."""
        snapshot = self._sandbox(name).save(tag, message)
        self._saves.inc()
        return snapshot.id

    def restore(self, name: str, snapshot: str) -> None:
        """Rolls a sandbox back to a snapshot that is here."""
        self._sandbox(name).restore(snapshot)

    def remove(self, name: str) -> None:
        """Ends a sandbox."""
        self._sandbox(name).remove()
        self._names.discard(name)
        self._count()

    def _sandbox(self, name: str) -> ckpt.Sandbox:
        return ckpt.Sandbox(name, self._client)

    def _count(self, *new: str) -> None:
        self._names.update(new)
        self._sandboxes.set(len(self._names))

    # Snapshots that travel

    def has(self, snapshot: str) -> bool:
        """Whether a snapshot is here."""
        try:
            ckpt.Snapshot.get(snapshot, client=self._client)
        except ckpt.SnapshotNotFound:
            return False
        return True

    def objects(self) -> list[Any]:
        """What is stored here and need not be sent."""
        return list(self._tree.objects())

    def export(self, snapshot: str, have: list[Any]) -> Iterator[bytes]:
        """An archive of a snapshot without what the receiver has, in pieces."""
        found = ckpt.Snapshot.get(snapshot, client=self._client)
        piece = bytearray()
        for part in found.archive(have=have):
            piece += part
            if len(piece) >= PIECE:
                yield bytes(piece)
                piece.clear()
        if piece:
            yield bytes(piece)

    def export_to(self, snapshot: str, path: str) -> int:
        """Writes a whole archive where other nodes see it, and returns its bytes."""
        return ckpt.Snapshot.get(snapshot, client=self._client).export(path).stat().st_size

    def begin(self) -> str:
        """Opens the file that an archive arrives in."""
        number, path = tempfile.mkstemp(prefix="ckpt-ray-")
        os.close(number)
        self._arriving[path] = Path(path)
        return path

    def take(self, key: str, piece: bytes) -> int:
        """Takes the next piece."""
        with self._arriving[key].open("ab") as file:
            file.write(piece)
        self._arrived.inc(len(piece))
        return len(piece)

    def finish(self, key: str) -> None:
        """Takes the archive in; nothing of it stays where it is not whole."""
        path = self._arriving.pop(key)
        with contextlib.ExitStack() as stack:
            stack.callback(path.unlink)
            self._tree.import_(path)

    def import_from(self, path: str) -> None:
        """Takes in an archive from where all nodes see it."""
        self._tree.import_(path)
        self._arrived.inc(Path(path).stat().st_size)


class Vault:
    """Keeps durable archives on the driver's node, where there is no directory that all nodes see."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="ckpt-ray-vault-")

    def begin(self, snapshot: str) -> str:
        """Begins an archive."""
        path = Path(self._directory.name) / f"{snapshot}.part"
        path.write_bytes(b"")
        return snapshot

    def take(self, snapshot: str, piece: bytes) -> int:
        """Takes its next piece."""
        with (Path(self._directory.name) / f"{snapshot}.part").open("ab") as file:
            file.write(piece)
        return len(piece)

    def finish(self, snapshot: str) -> None:
        """It is whole now."""
        path = Path(self._directory.name) / f"{snapshot}.part"
        path.rename(path.with_suffix(""))

    def pieces(self, snapshot: str) -> Iterator[bytes]:
        """An archive that is whole, in pieces."""
        with (Path(self._directory.name) / snapshot).open("rb") as file:
            while piece := file.read(PIECE):
                yield piece

    def close(self) -> None:
        """Forgets them all."""
        self._directory.cleanup()


def _tagged(kind: Any, name: str, description: str, tags: dict[str, str], **more: Any) -> Any:
    metric = kind(name, description=description, tag_keys=tuple(tags), **more)
    metric.set_default_tags(tags)
    return metric
