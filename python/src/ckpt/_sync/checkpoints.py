# Generated from ../_async/checkpoints.py by scripts/generate-python; edit that one.
"""Saving a sandbox and rolling it back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._wire.http import segment
from ..messages import CheckResult, RestoreResult, SnapshotInfo
from .core import SandboxCore
from .snapshot import Snapshot, reference

if TYPE_CHECKING:
    from .sandbox import Sandbox


class Checkpoints(SandboxCore):
    """The part of a sandbox that deals with snapshots."""

    def save(
        self, tag: str | None = None, message: str | None = None, *, stop: bool = False
    ) -> Snapshot:
        """Makes a snapshot, files and memory of one instant, while the sandbox goes on.

        `tag` is a name of the snapshot's own, `message` a line about it. `stop=True` leaves the sandbox
        stopped at this very instant; `restore` wakes it. A save that fails leaves nothing behind.

        Raises `CannotSave` with process and object, `NameTaken` for the tag, `NoSpace`, `SandboxDied`.
        """
        body = {"tag": tag, "message": message, "stop": stop}
        answer = self._call("POST", "/save", body, repeatable=False)
        return Snapshot(SnapshotInfo.from_json(answer), self._client)

    def restore(
        self,
        snapshot: Snapshot | str | None = None,
        *,
        verify: bool = False,
        suspended: bool = False,
        memory: str | None = None,
    ) -> RestoreResult:
        """Rolls the sandbox back, in place, to a snapshot: same name, same PIDs, same open files.

        `snapshot` is one, or any reference to one (id, unique prefix of it, tag, `TAG~N`); the one that the
        sandbox last came from when missing. A stopped or dead sandbox runs again afterwards. `verify` reads
        and checks all that is stored of it first. `suspended` lets no process run on from there: SIGCONT
        does, or SIGKILL leaves the files of that very instant alone. `memory` is `"lazy"` to let processes
        run before all of their memory is back, `"whole"` to wait for it, or `"auto"`, the default, by its
        size.

        Raises `SnapshotNotFound`, `CannotRestore`.
        """
        body = {"snapshot": reference(snapshot), "verify": verify, "suspended": suspended, "memory": memory}
        return RestoreResult.from_json(self._call("POST", "/restore", body, repeatable=False))

    def reset(self) -> RestoreResult:
        """Rolls the sandbox back to its base: no processes, no changes."""
        return RestoreResult.from_json(self._call("POST", "/reset", repeatable=False))

    def fork(
        self, n: int = 1, *, prefix: str | None = None, verify: bool = False, memory: str | None = None
    ) -> list[Sandbox]:
        """Starts `n` (1 to 1,000) new sandboxes from the snapshot that this one stands on.

        What it did since then is not in them: `save` first. `memory` is as in `restore`. Raises
        `SnapshotNotFound` where it was never saved.
        """
        from .snapshot import forked

        return forked(self._client, self._name, n, prefix, verify, memory)

    def check(self) -> CheckResult:
        """Says whether the sandbox can be saved now, and what would be lost, without stopping it."""
        return CheckResult.from_json(self._call("POST", "/check"))

    def snapshot(self) -> Snapshot | None:
        """The snapshot that the sandbox stands on; `None` at its base."""
        found = (self.info()).snapshot
        if found is None:
            return None
        answer = self._client._transport.call("GET", f"/v1/snapshots/{segment(found)}")
        return Snapshot(SnapshotInfo.from_json(answer), self._client)
