"""What the tests of adapters have in common, besides what all tests have."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

import ckpt


def sockets() -> set[str]:
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found


@pytest.fixture(autouse=True)
def no_descriptors_lost() -> Iterator[None]:
    """Frameworks keep logs open; connections are what an adapter could lose."""
    ckpt.Client.default().close()
    before = sockets()
    yield
    ckpt.Client.default().close()
    assert sockets() <= before, "connections are left open"


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The event loop of `pytest.mark.anyio`."""
    return "asyncio"
