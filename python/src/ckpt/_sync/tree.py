# Generated from ../_async/tree.py by scripts/generate-python; edit that one.
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
from .client import Client
from .snapshot import Snapshot, reference


class Tree:
    """All snapshots of a server, with their parent links.

        tree = Tree()
        for snapshot in tree.path("best"):
            print(snapshot.id, snapshot.message)

    Wherever a snapshot is asked for, any reference to one will do (see `Snapshot.get`).
    """

    def __init__(self, client: Client | None = None) -> None:
        self._client = client or Client.default()

    def snapshots(self) -> list[Snapshot]:
        """All snapshots, oldest first."""
        answer = self._client._transport.call("GET", "/v1/snapshots")
        return [Snapshot(SnapshotInfo.from_json(item), self._client) for item in answer["snapshots"]]

    def get(self, snapshot: Snapshot | str) -> Snapshot:
        """One snapshot. Raises `SnapshotNotFound`."""
        return Snapshot.get(_text(snapshot), client=self._client)

    def roots(self) -> list[Snapshot]:
        """The snapshots without a parent."""
        return [snapshot for snapshot in self.snapshots() if snapshot.parent_id is None]

    def parents(self) -> dict[str, str | None]:
        """The parent's id of every snapshot's id, in one request."""
        return {snapshot.id: snapshot.parent_id for snapshot in self.snapshots()}

    def children(self, snapshot: Snapshot | str) -> list[Snapshot]:
        """The snapshots saved on the way from one, oldest first."""
        own = (self.get(snapshot)).id
        return [child for child in self.snapshots() if child.parent_id == own]

    def path(self, snapshot: Snapshot | str) -> list[Snapshot]:
        """The way from the root to a snapshot, itself the last: its rollout."""
        found = self.get(snapshot)
        known = {each.id: each for each in self.snapshots()}
        way = [found]
        while way[-1].parent_id is not None and way[-1].parent_id in known:
            way.append(known[way[-1].parent_id])
        return way[::-1]

    def subtree(self, snapshot: Snapshot | str) -> list[Snapshot]:
        """A snapshot and all its descendants, parents before their children."""
        found = [self.get(snapshot)]
        members = {found[0].id}
        # The list is by age, and no parent is younger than its child.
        for each in self.snapshots():
            if each.parent_id in members:
                members.add(each.id)
                found.append(each)
        return found

    def diff(
        self, a: Snapshot | str, b: Snapshot | str, *, patch: bool = False
    ) -> SnapshotDiff:
        """What is different in `b` from `a`: files, processes, descriptors, memory."""
        path = target("/v1/diff", **{"from": _text(a), "to": _text(b), "patch": patch})
        return SnapshotDiff.from_json(self._client._transport.call("GET", path))

    def delete(
        self, snapshot: Snapshot | str, *, subtree: bool = False, keep_children: bool = False
    ) -> DeleteResult:
        """Deletes a snapshot: alone, with its descendants, or from between parent and children.

        Raises `InUse`.
        """
        path = target(
            f"/v1/snapshots/{segment(_text(snapshot))}", subtree=subtree, keepChildren=keep_children
        )
        return DeleteResult.from_json(self._client._transport.call("DELETE", path, repeatable=False))

    def import_(
        self, source: PathLike | IO[bytes], *, tag: str | None = None, max_bytes: Size | None = None
    ) -> ImportResult:
        """Takes in an archive of `Snapshot.export`, all of it or nothing; a path, or a file from where
        it stands.

        Snapshots keep their ids and parents, and what is here already is not stored again. `tag`: one more
        for the snapshot that was exported. `max_bytes`: the most that its files may take, holes included;
        1 TiB when missing. Import only what you would run as root.

        Raises `InvalidOption` for what is no whole archive, `NameTaken`, `NoSpace`.
        """
        path = target("/v1/import", tag=tag, maxBytes=max_bytes)
        if isinstance(source, (str, os.PathLike)):
            with Path(source).open("rb") as file:  # noqa: ASYNC230
                return self._import(path, file)
        return self._import(path, source)

    def _import(self, path: str, file: IO[bytes]) -> ImportResult:
        answer = self._client._transport.upload(path, file, "application/zstd", method="POST")
        return ImportResult.from_json(answer)

    def objects(self) -> list[StoredObject]:
        """The layers, process images and programs of the store, for `have` of `Snapshot.export`."""
        return ObjectList.from_json(self._client._transport.call("GET", "/v1/objects")).objects

    def gc(
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
        return GCResult.from_json(self._client._transport.call("POST", "/v1/gc", body))

    def verify(self, *snapshots: Snapshot | str) -> VerifyReport:
        """Reads what is stored and compares it with the digests of the time of saving.

        Everything when none is named.
        """
        body = {"snapshots": [_text(each) for each in snapshots]}
        return VerifyReport.from_json(self._client._transport.call("POST", "/v1/verify", body))

    def usage(self, *snapshots: Snapshot | str) -> UsageReport:
        """What snapshots take on disk, shared and their own; of all when none is named."""
        body = {"snapshots": [_text(each) for each in snapshots]}
        return UsageReport.from_json(self._client._transport.call("POST", "/v1/usage", body))


def _text(snapshot: Snapshot | str) -> str:
    return reference(snapshot) or ""
