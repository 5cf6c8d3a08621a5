"""One server for all tests, the real one; afterwards nothing of it may be left."""

from __future__ import annotations

import multiprocessing.resource_tracker
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before ckpt is imported anywhere: the default client reads it at its first call.
ROOT = tempfile.mkdtemp(prefix="ckpt-python-")
os.environ["CKPT_ROOT"] = ROOT

# A shell that starts the tests in the background has them ignore it, and Python raises nothing then.
signal.signal(signal.SIGINT, signal.default_int_handler)

# It keeps a pipe for the rest of the process.
multiprocessing.resource_tracker.ensure_running()

import ckpt  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def server() -> Iterator[str]:
    """Ends what the tests left, the server too, and then looks for what is still there."""
    yield ROOT
    left = [sandbox.name for sandbox in ckpt.Sandbox.list()]
    for name in left:
        ckpt.Sandbox(name).remove()
    pid = ckpt.Client().version().pid
    ckpt.Client().shutdown()
    for _ in range(200):
        if not Path(f"/proc/{pid}").exists():
            break
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists(), "the server runs on"
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if ROOT in line]
    shutil.rmtree(ROOT)
    assert not mounts, "mounts are left"
    assert not left, f"tests left sandboxes: {left}"


@pytest.fixture
def sb() -> Iterator[ckpt.Sandbox]:
    """A fresh sandbox."""
    with ckpt.Sandbox.create() as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def shared() -> Iterator[ckpt.Sandbox]:
    """A sandbox for the tests of a module that leave it as it is."""
    with ckpt.Sandbox.create() as sandbox:
        yield sandbox


@pytest.fixture(autouse=True)
def no_descriptors_lost() -> Iterator[None]:
    """A test may leave idle connections in the default client, and nothing else."""
    ckpt.Client.default().close()
    before = set(os.listdir("/proc/self/fd"))
    yield
    ckpt.Client.default().close()
    lost = set(os.listdir("/proc/self/fd")) - before
    assert not lost, f"descriptors are left open: {lost}"
