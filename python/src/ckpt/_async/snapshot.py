"""A snapshot."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import _archives
from .._io import asynchronous as io
from .._wire.http import segment, target
from ..messages import DeleteResult, Inspection, ObjectList, SnapshotDiff, SnapshotInfo, StoredObject
from .client import AsyncClient

if TYPE_CHECKING:
    from .sandbox import AsyncSandbox


class AsyncSnapshot:
    """A snapshot: files, memory, registers, descriptors and clocks of one instant. It never changes.

    ready = await sb.save(tag="ready")
    attempts = await ready.fork(8)
    """

    info: SnapshotInfo
    """What was known of it when this object was made.

    Tags, children and `standing` may have changed since.
    """

    def __init__(self, info: SnapshotInfo, client: AsyncClient | None = None) -> None:
        self.info = info
        self._client = client or AsyncClient.default()
        self._path = f"/v1/snapshots/{info.id}"

    @classmethod
    async def get(cls, ref: str, *, client: AsyncClient | None = None) -> AsyncSnapshot:
        """The snapshot that `ref` means: an id, a unique prefix of one, a tag, a sandbox's name (where it
        stands), or one of these with `~N` (N ancestors up). Raises `SnapshotNotFound`, `Ambiguous`.
        """
        client = client or AsyncClient.default()
        answer = await client._transport.call("GET", f"/v1/snapshots/{segment(ref)}")
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

    async def refresh(self) -> SnapshotInfo:
        """Asks again; `info` is new then."""
        self.info = SnapshotInfo.from_json(await self._client._transport.call("GET", self._path))
        return self.info

    async def fork(
        self, n: int = 1, *, prefix: str | None = None, verify: bool = False, memory: str | None = None
    ) -> list[AsyncSandbox]:
        """Starts `n` (1 to 1,000) new sandboxes from it, all of them or none.

        Names are PREFIX-1, PREFIX-2 …, made up when `prefix` is missing. `memory` is as in
        `Sandbox.restore`. Raises `CannotRestore`, `NoSpace`.
        """
        return await forked(self._client, self.id, n, prefix, verify, memory)

    async def parent(self) -> AsyncSnapshot | None:
        """The snapshot that its sandbox came from."""
        return await AsyncSnapshot.get(self.info.parent, client=self._client) if self.info.parent else None

    async def children(self) -> list[AsyncSnapshot]:
        """The snapshots that were saved on the way from it."""
        await self.refresh()
        return [await AsyncSnapshot.get(child, client=self._client) for child in self.info.children]

    async def inspect(
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
        return Inspection.from_json(await self._client._transport.call("GET", path))

    async def diff(self, other: AsyncSnapshot | str, *, patch: bool = False) -> SnapshotDiff:
        """What is different in `other` from this one: files, processes, descriptors, memory.

        `patch=True` shows the differences of text files of at most 1 MiB.
        """
        path = target("/v1/diff", **{"from": self.id, "to": reference(other), "patch": patch})
        return SnapshotDiff.from_json(await self._client._transport.call("GET", path))

    async def read(self, path: str | os.PathLike[str]) -> bytes:
        """The bytes of a regular file of it. Raises `NotFound`."""
        return await self._client._transport.read(target(f"{self._path}/file", path=os.fspath(path)))

    async def core(self, to: str | os.PathLike[str], *, pid: int | None = None) -> Path:
        """Writes an ELF core file of one of its processes, which gdb opens, and returns its path.

        `pid` may be missing where a crash made the snapshot.
        """
        path = Path(to)
        with path.open("wb") as file:  # noqa: ASYNC230
            async for piece in self._client._transport.download(target(f"{self._path}/core", pid=pid)):
                file.write(piece)
        return path

    # Elsewhere

    async def export(
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
            async for piece in self.archive(ancestors=ancestors, have=have, level=level):
                await io.run_blocking(file.write, piece)
        return Path(to)

    async def archive(
        self, *, ancestors: bool = False, have: Sequence[StoredObject] = (), level: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The archive that `export` writes, piece by piece."""
        body: dict[str, Any] = {"withAncestors": ancestors, "have": [each.to_dict() for each in have]}
        if level is not None:
            body["level"] = level
        async for piece in self._client._transport.download(f"{self._path}/archive", body):
            yield piece

    async def objects(self, *, ancestors: bool = False) -> list[StoredObject]:
        """The layers, process images and programs that it is made of, with `ancestors` theirs too."""
        path = target("/v1/objects", snapshot=self.id, ancestors=ancestors)
        return ObjectList.from_json(await self._client._transport.call("GET", path)).objects

    async def tag(self, tag: str) -> SnapshotInfo:
        """Gives it a tag, which is its own in the whole store. Raises `NameTaken`."""
        answer = await self._client._transport.call("PUT", f"{self._path}/tags/{segment(tag)}")
        self.info = SnapshotInfo.from_json(answer)
        return self.info

    async def untag(self, tag: str) -> None:
        """Takes a tag away."""
        await self._client._transport.call("DELETE", f"/v1/tags/{segment(tag)}", repeatable=False)

    async def delete(self, *, subtree: bool = False, keep_children: bool = False) -> DeleteResult:
        """Deletes it. Raises `InUse` while it has children or a sandbox stands on it.

        `subtree` deletes its descendants with it; with `keep_children` they move up to its parent.
        """
        path = target(self._path, subtree=subtree, keepChildren=keep_children)
        return DeleteResult.from_json(await self._client._transport.call("DELETE", path, repeatable=False))

    def __reduce__(self) -> tuple[Any, ...]:
        return AsyncSnapshot, (self.info, self._client)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AsyncSnapshot):
            return NotImplemented
        return (self.id, self._client.root) == (other.id, other._client.root)

    def __hash__(self) -> int:
        return hash((self.id, self._client.root))

    def __repr__(self) -> str:
        tags = f", tags={self.info.tags}" if self.info.tags else ""
        return f"AsyncSnapshot({self.id!r}{tags})"


def reference(snapshot: AsyncSnapshot | str | None) -> str | None:
    """How the API is told of a snapshot."""
    return snapshot.id if isinstance(snapshot, AsyncSnapshot) else snapshot


async def forked(
    client: AsyncClient, source: str, n: int, prefix: str | None, verify: bool, memory: str | None
) -> list[AsyncSandbox]:
    """New sandboxes from a snapshot by any reference."""
    from .sandbox import AsyncSandbox

    body = {"source": source, "count": n, "prefix": prefix, "verify": verify, "memory": memory}
    answer = await client._transport.call("POST", "/v1/fork", body, repeatable=False)
    return [AsyncSandbox._made(info["name"], client) for info in answer["sandboxes"]]
