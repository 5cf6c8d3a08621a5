"""agentdocker-lite's own tests, unchanged, through the door."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
# scripts/test-python downloads it; nothing of it is in this repository.
ARCHIVE = REPOSITORY / ".build/peers/agentdocker_lite-0.0.1.tar.gz"


def test_their_own_tests_pass(tmp_path: Path) -> None:
    assert ARCHIVE.exists(), f"{ARCHIVE} is missing; scripts/test-python --only-environment brings it"
    with tarfile.open(ARCHIVE) as archive:
        for member in archive:
            if "/tests/" in member.name and member.isfile():
                place = tmp_path / member.name.rpartition("/")[2]
                place.write_bytes(archive.extractfile(member).read())
    assert "from agentdocker_lite import Sandbox" in (tmp_path / "test_sandbox.py").read_text()
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "LITE_SANDBOX_TEST_IMAGE": "host",
        "PYTEST_ADDOPTS": "",
    }
    places = [f"--rootdir={tmp_path}", f"--basetemp={tmp_path}/made", "-c", os.devnull, str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-ra", "-p", "peer_door", "-p", "no:cacheprovider", *places],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^37 passed in ", done.stdout, re.MULTILINE), done.stdout
