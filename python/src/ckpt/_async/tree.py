"""The snapshot tree."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

from .._wire.http import segment, target
from ..messages import (
    DeleteResult,
    GCResult,
    ImportResult,
    ObjectList,
    SnapshotDiff,
    SnapshotInfo,
    StoredObject,
    UsageReport,
    VerifyReport,
)  # fmt: skip
from ..options import PathLike, Size
from .client import AsyncClient
from .snapshot import AsyncSnapshot, reference


class AsyncTree:
    """All snapshots of a server, with their parent links.

        tree = AsyncTree()
        for snapshot in await tree.path("best"):
            print(snapshot.id, snapshot.message)

    Wherever a snapshot is asked for, any reference to one will do (see `AsyncSnapshot.get`).
    """

    def __init__(self, client: AsyncClient | None = None) -> None:
        self._client = client or AsyncClient.default()

    async def snapshots(self) -> list[AsyncSnapshot]:
        """All snapshots, oldest first."""
        answer = await self._client._transport.call("GET", "/v1/snapshots")
        return [AsyncSnapshot(SnapshotInfo.from_json(item), self._client) for item in answer["snapshots"]]

    async def get(self, snapshot: AsyncSnapshot | str) -> AsyncSnapshot:
        """One snapshot. Raises `SnapshotNotFound`."""
        return await AsyncSnapshot.get(_text(snapshot), client=self._client)

    async def roots(self) -> list[AsyncSnapshot]:
        """The snapshots without a parent."""
        return [snapshot for snapshot in await self.snapshots() if snapshot.parent_id is None]

    async def parents(self) -> dict[str, str | None]:
        """The parent's id of every snapshot's id, in one request."""
        return {snapshot.id: snapshot.parent_id for snapshot in await self.snapshots()}

    async def children(self, snapshot: AsyncSnapshot | str) -> list[AsyncSnapshot]:
        """The snapshots saved on the way from one, oldest first."""
        own = (await self.get(snapshot)).id
        return [child for child in await self.snapshots() if child.parent_id == own]

    async def path(self, snapshot: AsyncSnapshot | str) -> list[AsyncSnapshot]:
        """The way from the root to a snapshot, itself the last: its rollout."""
        found = await self.get(snapshot)
        known = {each.id: each for each in await self.snapshots()}
        way = [found]
        while way[-1].parent_id is not None and way[-1].parent_id in known:
            way.append(known[way[-1].parent_id])
        return way[::-1]

    async def subtree(self, snapshot: AsyncSnapshot | str) -> list[AsyncSnapshot]:
        """A snapshot and all its descendants, parents before their children."""
        found = [await self.get(snapshot)]
        members = {found[0].id}
        # The list is by age, and no parent is younger than its child.
        for each in await self.snapshots():
            if each.parent_id in members:
                members.add(each.id)
                found.append(each)
        return found

    async def diff(
        self, a: AsyncSnapshot | str, b: AsyncSnapshot | str, *, patch: bool = False
    ) -> SnapshotDiff:
        """What is different in `b` from `a`: files, processes, descriptors, memory."""
        path = target("/v1/diff", **{"from": _text(a), "to": _text(b), "patch": patch})
        return SnapshotDiff.from_json(await self._client._transport.call("GET", path))

    async def delete(
        self, snapshot: AsyncSnapshot | str, *, subtree: bool = False, keep_children: bool = False
    ) -> DeleteResult:
        """Deletes a snapshot: alone, with its descendants, or from between parent and children.

        Raises `InUse`.
        """
        path = target(
            f"/v1/snapshots/{segment(_text(snapshot))}", subtree=subtree, keepChildren=keep_children
        )
        return DeleteResult.from_json(await self._client._transport.call("DELETE", path, repeatable=False))

    async def import_(
        self, source: PathLike | IO[bytes], *, tag: str | None = None, max_bytes: Size | None = None
    ) -> ImportResult:
        """Takes in an archive of `AsyncSnapshot.export`, all of it or nothing; a path, or a file from where
        it stands.

        Snapshots keep their ids and parents, and what is here already is not stored again. `tag`: one more
        for the snapshot that was exported. `max_bytes`: the most that its files may take, holes included;
        1 TiB when missing. Import only what you would run as root.

        Raises `InvalidOption` for what is no whole archive, `NameTaken`, `NoSpace`.
        """
        path = target("/v1/import", tag=tag, maxBytes=max_bytes)
        if isinstance(source, (str, os.PathLike)):
            with Path(source).open("rb") as file:  # noqa: ASYNC230
                return await self._import(path, file)
        return await self._import(path, source)

    async def _import(self, path: str, file: IO[bytes]) -> ImportResult:
        answer = await self._client._transport.upload(path, file, "application/zstd", method="POST")
        return ImportResult.from_json(answer)

    async def objects(self) -> list[StoredObject]:
        """The layers, process images and programs of the store, for `have` of `AsyncSnapshot.export`."""
        return ObjectList.from_json(await self._client._transport.call("GET", "/v1/objects")).objects

    async def gc(
        self,
        *,
        keep_last: int | None = None,
        keep_tagged: bool = False,
        keep_within: float | None = None,
        keep_paths: bool = False,
        max_bytes: Size | None = None,
        dry_run: bool = False,
    ) -> GCResult:
        """Removes what nothing needs: layers, process images, staging directories.

        With `keep_last` of each sandbox, `keep_tagged` or `keep_within` so many seconds every snapshot goes
        too that none of them keeps; with `max_bytes` only as many as must for the store to fit.
        `keep_paths` keeps the ancestors of what is kept; `dry_run` tells what would go. What a sandbox
        stands on stays.
        """
        body = {
            "keepLast": keep_last,
            "keepTagged": keep_tagged,
            "keepWithin": keep_within,
            "keepPaths": keep_paths,
            "maxBytes": max_bytes,
            "dryRun": dry_run,
        }
        return GCResult.from_json(await self._client._transport.call("POST", "/v1/gc", body))

    async def verify(self, *snapshots: AsyncSnapshot | str) -> VerifyReport:
        """Reads what is stored and compares it with the digests of the time of saving.

        Everything when none is named.
        """
        body = {"snapshots": [_text(each) for each in snapshots]}
        return VerifyReport.from_json(await self._client._transport.call("POST", "/v1/verify", body))

    async def usage(self, *snapshots: AsyncSnapshot | str) -> UsageReport:
        """What snapshots take on disk, shared and their own; of all when none is named."""
        body = {"snapshots": [_text(each) for each in snapshots]}
        return UsageReport.from_json(await self._client._transport.call("POST", "/v1/usage", body))


def _text(snapshot: AsyncSnapshot | str) -> str:
    return reference(snapshot) or ""
