# Generated from ../_async/snapshot.py by scripts/generate-python; edit that one.
"""A snapshot."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import _archives
from .._io import blocking as io
from .._wire.http import segment, target
from ..messages import DeleteResult, Inspection, ObjectList, SnapshotDiff, SnapshotInfo, StoredObject
from .client import Client

if TYPE_CHECKING:
    from .sandbox import Sandbox


class Snapshot:
    """A snapshot: files, memory, registers, descriptors and clocks of one instant. It never changes.

    ready = sb.save(tag="ready")
    attempts = ready.fork(8)
    """

    info: SnapshotInfo
    """What was known of it when this object was made.

    Tags, children and `standing` may have changed since.
    """

    def __init__(self, info: SnapshotInfo, client: Client | None = None) -> None:
        self.info = info
        self._client = client or Client.default()
        self._path = f"/v1/snapshots/{info.id}"

    @classmethod
    def get(cls, ref: str, *, client: Client | None = None) -> Snapshot:
        """The snapshot that `ref` means: an id, a unique prefix of one, a tag, a sandbox's name (where it
        stands), or one of these with `~N` (N ancestors up). Raises `SnapshotNotFound`, `Ambiguous`.
        """
        client = client or Client.default()
        answer = client._transport.call("GET", f"/v1/snapshots/{segment(ref)}")
        return cls(SnapshotInfo.from_json(answer), client)

    @property
    def id(self) -> str:
        """Its id."""
        return self.info.id

    @property
    def parent_id(self) -> str | None:
        """The id of the snapshot that its sandbox came from; `None` for a root of the tree."""
        return self.info.parent

    @property
    def tags(self) -> list[str]:
        """Its tags when this object was made."""
        return self.info.tags

    @property
    def message(self) -> str | None:
        """The line that was saved with it."""
        return self.info.message

    @property
    def created(self) -> float:
        """When it was saved, in seconds since 1970."""
        return self.info.created

    def refresh(self) -> SnapshotInfo:
        """Asks again; `info` is new then."""
        self.info = SnapshotInfo.from_json(self._client._transport.call("GET", self._path))
        return self.info

    def fork(
        self, n: int = 1, *, prefix: str | None = None, verify: bool = False, memory: str | None = None
    ) -> list[Sandbox]:
        """Starts `n` (1 to 1,000) new sandboxes from it, all of them or none.

        Names are PREFIX-1, PREFIX-2 …, made up when `prefix` is missing. `memory` is as in
        `Sandbox.restore`. Raises `CannotRestore`, `NoSpace`.
        """
        return forked(self._client, self.id, n, prefix, verify, memory)

    def parent(self) -> Snapshot | None:
        """The snapshot that its sandbox came from."""
        return Snapshot.get(self.info.parent, client=self._client) if self.info.parent else None

    def children(self) -> list[Snapshot]:
        """The snapshots that were saved on the way from it."""
        self.refresh()
        return [Snapshot.get(child, client=self._client) for child in self.info.children]

    def inspect(
        self,
        *,
        pid: int | None = None,
        files: bool = False,
        sockets: bool = False,
        memory: bool = False,
        environment: bool = False,
        registers: bool = False,
    ) -> Inspection:
        """What its process image holds; everything when no part is named.

        `pid` is a process inside the sandbox. Raises `NotFound` where there is none.
        """
        path = target(
            f"{self._path}/inspect", pid=pid, files=files, sockets=sockets, memory=memory,
            environment=environment, registers=registers,
        )  # fmt: skip
        return Inspection.from_json(self._client._transport.call("GET", path))

    def diff(self, other: Snapshot | str, *, patch: bool = False) -> SnapshotDiff:
        """What is different in `other` from this one: files, processes, descriptors, memory.

        `patch=True` shows the differences of text files of at most 1 MiB.
        """
        path = target("/v1/diff", **{"from": self.id, "to": reference(other), "patch": patch})
        return SnapshotDiff.from_json(self._client._transport.call("GET", path))

    def read(self, path: str | os.PathLike[str]) -> bytes:
        """The bytes of a regular file of it. Raises `NotFound`."""
        return self._client._transport.read(target(f"{self._path}/file", path=os.fspath(path)))

    def core(self, to: str | os.PathLike[str], *, pid: int | None = None) -> Path:
        """Writes an ELF core file of one of its processes, which gdb opens, and returns its path.

        `pid` may be missing where a crash made the snapshot.
        """
        path = Path(to)
        with path.open("wb") as file:  # noqa: ASYNC230
            for piece in self._client._transport.download(target(f"{self._path}/core", pid=pid)):
                file.write(piece)
        return path

    # Elsewhere

    def export(
        self,
        to: str | os.PathLike[str],
        *,
        ancestors: bool = False,
        have: Sequence[StoredObject] = (),
        level: int | None = None,
    ) -> Path:
        """Writes it and all it needs as one archive, which `Tree.import_` takes in, and returns its path.

        A file of mode 0600, there whole or not at all; it holds the memory of every process. `ancestors`:
        they go with it. `have`: what the receiver has (`Tree.objects` there) is left out. `level`: how hard
        zstd tries, 1 to 19, 0 for no compression, 3 when missing.
        """
        with _archives.whole_file(Path(to)) as file:
            for piece in self.archive(ancestors=ancestors, have=have, level=level):
                io.run_blocking(file.write, piece)
        return Path(to)

    def archive(
        self, *, ancestors: bool = False, have: Sequence[StoredObject] = (), level: int | None = None
    ) -> Generator[bytes, None, None]:
        """The archive that `export` writes, piece by piece."""
        body: dict[str, Any] = {"withAncestors": ancestors, "have": [each.to_dict() for each in have]}
        if level is not None:
            body["level"] = level
        for piece in self._client._transport.download(f"{self._path}/archive", body):
            yield piece

    def objects(self, *, ancestors: bool = False) -> list[StoredObject]:
        """The layers, process images and programs that it is made of, with `ancestors` theirs too."""
        path = target("/v1/objects", snapshot=self.id, ancestors=ancestors)
        return ObjectList.from_json(self._client._transport.call("GET", path)).objects

    def tag(self, tag: str) -> SnapshotInfo:
        """Gives it a tag, which is its own in the whole store. Raises `NameTaken`."""
        answer = self._client._transport.call("PUT", f"{self._path}/tags/{segment(tag)}")
        self.info = SnapshotInfo.from_json(answer)
        return self.info

    def untag(self, tag: str) -> None:
        """Takes a tag away."""
        self._client._transport.call("DELETE", f"/v1/tags/{segment(tag)}", repeatable=False)

    def delete(self, *, subtree: bool = False, keep_children: bool = False) -> DeleteResult:
        """Deletes it. Raises `InUse` while it has children or a sandbox stands on it.

        `subtree` deletes its descendants with it; with `keep_children` they move up to its parent.
        """
        path = target(self._path, subtree=subtree, keepChildren=keep_children)
        return DeleteResult.from_json(self._client._transport.call("DELETE", path, repeatable=False))

    def __reduce__(self) -> tuple[Any, ...]:
        return Snapshot, (self.info, self._client)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Snapshot):
            return NotImplemented
        return (self.id, self._client.root) == (other.id, other._client.root)

    def __hash__(self) -> int:
        return hash((self.id, self._client.root))

    def __repr__(self) -> str:
        tags = f", tags={self.info.tags}" if self.info.tags else ""
        return f"Snapshot({self.id!r}{tags})"


def reference(snapshot: Snapshot | str | None) -> str | None:
    """How the API is told of a snapshot."""
    return snapshot.id if isinstance(snapshot, Snapshot) else snapshot


def forked(
    client: Client, source: str, n: int, prefix: str | None, verify: bool, memory: str | None
) -> list[Sandbox]:
    """New sandboxes from a snapshot by any reference."""
    from .sandbox import Sandbox

    body = {"source": source, "count": n, "prefix": prefix, "verify": verify, "memory": memory}
    answer = client._transport.call("POST", "/v1/fork", body, repeatable=False)
    return [Sandbox._made(info["name"], client) for info in answer["sandboxes"]]
