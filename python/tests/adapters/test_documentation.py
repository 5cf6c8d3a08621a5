"""The page about the adapters is true."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import ckpt

PAGE = (Path(__file__).parents[3] / "docs" / "adapters.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
# What is not installed here is another environment's to try; test_ray.py has a cluster for the block of Ray.
HERE = [
    number
    for number, block in enumerate(BLOCKS)
    if ("adapters.ares" in block) == bool(find_spec("ares"))
    and ("adapters.harbor" not in block or find_spec("harbor"))
    and "adapters.ray" not in block
]
# ARES asks for lists of data sets over the network when it is imported.
PRELUDE = (
    "from harbor.registry.client.harbor import harbor\nharbor._fetch_all_datasets_from_supabase = list\n"
    if find_spec("ares")
    else ""
)


@pytest.mark.parametrize("number", HERE)
def test_a_block_of_the_page_runs(number: int) -> None:
    # In a process of its own: frameworks change the process that they are imported into.
    done = tried(BLOCKS[number], dict(os.environ))
    assert done.returncode == 0, done.stdout + done.stderr
    assert ckpt.Sandbox.list() == []


def tried(block: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", PRELUDE + block]
    return subprocess.run(words, env=environment, check=False, capture_output=True, text=True, cwd="/")


def test_every_adapter_has_its_section() -> None:
    modules = Path(ckpt.__file__).parent.joinpath("adapters").glob("[a-z]*.py")
    for module in modules:
        assert f"ckpt.adapters.{module.stem}" in PAGE, module
