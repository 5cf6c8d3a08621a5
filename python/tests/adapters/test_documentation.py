"""The page about the adapters is true."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import ckpt

PAGE = (Path(__file__).parents[3] / "docs" / "adapters.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
NEWER = re.compile(r"ckpt\.adapters\.(ares)\b")


@pytest.mark.parametrize("number", [n for n, block in enumerate(BLOCKS) if not NEWER.search(block)])
def test_a_block_of_the_page_runs(number: int) -> None:
    # In a process of its own: frameworks change the process that they are imported into.
    done = subprocess.run(
        [sys.executable, "-c", BLOCKS[number]], check=False, capture_output=True, text=True, cwd="/"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert ckpt.Sandbox.list() == []


def test_every_adapter_has_its_section() -> None:
    modules = Path(ckpt.__file__).parent.joinpath("adapters").glob("[a-z]*.py")
    for module in modules:
        assert f"ckpt.adapters.{module.stem}" in PAGE, module
