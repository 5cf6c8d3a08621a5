"""Every block of the page for those who come from elsewhere runs, and leaves nothing."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import ckpt

PAGE = (Path(__file__).parents[2] / "docs" / "migrate.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """A checkpoint's directory may be deleted without harm; its snapshot is deleted by itself."""
    before = ckpt.Tree().snapshots()
    yield
    shutil.rmtree("/tmp/worker-0.checkpoint", ignore_errors=True)
    left = [snapshot for snapshot in ckpt.Tree().snapshots() if snapshot not in before]
    for snapshot in left:
        snapshot.delete()
    assert all(snapshot.message == "checkpoint /tmp/worker-0.checkpoint" for snapshot in left)
    ckpt.Client.default().close()


@pytest.mark.parametrize("number", range(4))
def test_a_block_of_the_page_runs(number: int) -> None:
    exec(compile(BLOCKS[number], f"docs/migrate.md, block {number + 1}", "exec"), {"__name__": "page"})


def test_the_page_has_its_blocks() -> None:
    assert len(BLOCKS) == 4
