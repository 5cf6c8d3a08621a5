"""Which process a sandbox belongs to: notes below `env_base_dir`, so that others can clear up after it."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from ... import errors
from ..._sync.client import Client
from ..._sync.sandbox import Sandbox as Native
from ..._sync.tree import Tree
from .snapshots import OWN

_SUFFIX = ".owner.json"


def note(directory: Path, native: Native) -> None:
    """Writes down that a sandbox belongs to this process."""
    directory.mkdir(parents=True, exist_ok=True)
    owner = {
        "pid": os.getpid(),
        "started": _started(os.getpid()),
        "root": native.client.root,
        "name": native.name,
    }
    (directory / f"{native.name}{_SUFFIX}").write_text(json.dumps(owner) + "\n")


def forget(directory: Path, native: Native) -> None:
    """Takes the note away."""
    (directory / f"{native.name}{_SUFFIX}").unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        directory.rmdir()


def clean(base: str) -> int:
    """Removes the sandboxes whose process is gone; returns how many."""
    cleaned = 0
    for found in sorted(Path(base).glob(f"*/*{_SUFFIX}")):
        try:
            owner = json.loads(found.read_text())
            if _started(int(owner["pid"])) == owner["started"]:
                continue
            native = Native(str(owner["name"]), Client(owner["root"]))
        except (ValueError, KeyError, TypeError):
            # Cut short by a crash, or nothing of ours.
            continue
        try:
            native.remove()
            _remove_snapshots(native)
        except errors.CkptError:
            continue
        finally:
            native.client.close()
        forget(found.parent, native)
        cleaned += 1
    return cleaned


def _remove_snapshots(native: Native) -> None:
    """Removes those of `Sandbox.snapshot`; what a path stands for is not the sandbox's alone."""
    tree = Tree(native.client)
    for snapshot in reversed(tree.snapshots()):
        own = snapshot.info.sandbox == native.name and (snapshot.message or "").startswith(OWN)
        if own and not snapshot.tags:
            with contextlib.suppress(errors.InUse):
                tree.delete(snapshot, keep_children=True)


def _started(pid: int) -> int | None:
    """When a process started, in ticks since boot (proc(5), field 22); a pid alone may be reused."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(text.rpartition(")")[2].split()[19])
