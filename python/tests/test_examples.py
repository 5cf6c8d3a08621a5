"""The examples do what they say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import ckpt

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name: str, *words: str) -> str:
    """Runs an example and returns what it printed; it leaves nothing behind."""
    before = (
        {snapshot.id for snapshot in ckpt.Tree().snapshots()},
        {each.name for each in ckpt.Sandbox.list()},
    )
    environment = os.environ | {"PYTHONPATH": str(Path(ckpt.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *words],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    after = {snapshot.id for snapshot in ckpt.Tree().snapshots()}, {each.name for each in ckpt.Sandbox.list()}
    assert after == before
    return done.stdout


def test_best_of_n() -> None:
    said = run("best_of_n.py", "8")
    assert said.count("attempt ") == 9 and "best: attempt" in said
    scores = [int(line.split(": ")[1][0]) for line in said.splitlines() if line.startswith("attempt")]
    best = next(line for line in said.splitlines() if line.startswith("best"))
    assert f"with {max(scores)}/4" in best and max(scores) >= 2
    assert "+    return values[len(values) // 2]" in said


def test_tree_search() -> None:
    said = run("tree_search.py", "200")
    way = next(line for line in said.splitlines() if line.startswith("found: "))[7:].split(" -> ")
    number = 1
    for action in way[:-1]:
        number = number * 2 if action == "double" else number + 3 if action == "add three" else number
    assert way[-1] == "write" and number == 11


def test_partial_rollout() -> None:
    said = run("partial_rollout.py", "32", "1.5")
    assert "32 rollouts:" in said and "32 rollouts done" in said
    assert not said.startswith("32 rollouts: 0 broken off")


def test_debug_crash() -> None:
    said = run("debug_crash.py")
    assert "SIGSEGV" in said and "at address 0xdead000" in said
    assert "the request is in it: True" in said
    assert said.count("about to handle 4711") == 2


def test_the_bench_measures_both_sides() -> None:
    said = run("../bench/overhead.py", "40")
    assert "raw socket" in said and "AsyncSession.exec" in said
    # It is measured where it is installed; its own figure stands beside ours elsewhere.
    assert "nitrobox 0.1.0, run: about 11" in said
