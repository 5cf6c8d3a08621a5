"""Sandboxes for the compatible door, made once a module where a test leaves them as they are."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import ckpt
from ckpt.compat.nitrobox import Sandbox, SandboxConfig

Maker = Callable[..., Sandbox]


def made(directory: Path, name: str, **fields: Any) -> Sandbox:
    """A sandbox of this machine's programs, in /workspace."""
    fields = {"image": "host", "working_dir": "/workspace", "env_base_dir": str(directory / "envs")} | fields
    return Sandbox(SandboxConfig(**fields), name=name)


@pytest.fixture(scope="module", autouse=True)
def no_snapshots_left() -> Iterator[None]:
    """What `fs_snapshot` and `CheckpointManager` save outlives its sandbox; other tests count snapshots."""
    tree = ckpt.Tree()
    before = tree.snapshots()
    yield
    for snapshot in reversed(tree.snapshots()):
        if snapshot not in before:
            tree.delete(snapshot)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Maker]:
    """Makes sandboxes that go with the test."""
    boxes: list[Sandbox] = []

    def maker(name: str = "test", **fields: Any) -> Sandbox:
        boxes.append(made(tmp_path, name, **fields))
        return boxes[-1]

    yield maker
    for box in boxes:
        box.delete()


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """One for all tests of a module that leave it as it is."""
    with made(tmp_path_factory.mktemp("kept"), "kept") as box:
        yield box


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    """A directory that is a root filesystem: busybox and nothing else."""
    root = tmp_path / "rootfs"
    for name in ("bin", "etc", "proc", "dev", "sys", "tmp"):
        (root / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin")
    listed = subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True, check=True)
    for name in listed.stdout.split():
        if name != "busybox":
            (root / "bin" / name).symlink_to("busybox")
    return root


@pytest.fixture
def box(make: Maker) -> Sandbox:
    """A fresh one."""
    return make()
