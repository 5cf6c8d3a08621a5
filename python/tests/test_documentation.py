"""The pages about the package are true."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

import ckpt

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs" / "python.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_block_of_the_page_runs(number: int) -> None:
    before = ckpt.Tree().snapshots()
    exec(
        compile(BLOCKS[number], f"docs/python.md, block {number + 1}", "exec"),
        {"ckpt": ckpt, "__name__": "page"},
    )
    assert ckpt.Tree().snapshots() == before
    ckpt.Client.default().close()


def test_the_page_has_its_blocks() -> None:
    assert len(BLOCKS) == 7


def test_the_reference_has_every_class(tmp_path: Path) -> None:
    done = subprocess.run(
        [REPOSITORY / "scripts" / "python-reference", tmp_path], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Warn" not in done.stderr, done.stderr
    page = (tmp_path / "ckpt.html").read_text()
    for name in set(ckpt.__all__) - {"errors", "messages", "__version__"}:
        assert f'id="{name}"' in page, name
    assert (tmp_path / "ckpt" / "messages.html").exists() and (tmp_path / "ckpt" / "errors.html").exists()
    assert 'id="Sandbox.run"' in (tmp_path / "ckpt" / "compat" / "nitrobox.html").read_text()
    assert 'id="Sandbox.exec"' in page and 'id="Result.stdout"' in page
