"""Best of N: one prepared sandbox, N attempts at once from the very same instant, the best one kept.

    python best_of_n.py [N]

The task: a buggy program and its tests. An "agent" (here: a few canned edits, tried at random) works in
each fork; the attempt that passes most tests becomes a snapshot, everything else is gone.
"""

from __future__ import annotations

import random
import sys
from concurrent.futures import ThreadPoolExecutor

import ckpt

PROGRAM = """
def median(values):
    values = sorted(values)
    return values[len(values) / 2]
"""

TESTS = """
from program import median
passed = 0
for values, expected in [([3], 3), ([5, 1, 3], 3), ([4, 1, 3, 2], 2.5), ([], None)]:
    try:
        passed += median(values) == expected
    except Exception:
        pass
print(passed)
"""

EDITS = {
    "integer division": ("len(values) / 2", "len(values) // 2"),
    "even counts": (
        "    return",
        "    if len(values) % 2 == 0:\n"
        "        return (values[len(values) // 2 - 1] + values[len(values) // 2]) / 2\n"
        "    return",
    ),
    "no values": ("    values = sorted", "    if not values:\n        return None\n    values = sorted"),
}


def attempt(sb: ckpt.Sandbox, number: int) -> tuple[int, list[str]]:
    """One trajectory; returns its score and what it did."""
    chance = random.Random(number)
    edits = chance.sample(sorted(EDITS), chance.randint(1, len(EDITS)))
    for edit in edits:
        old, new = EDITS[edit]
        text = sb.files.read_text("/root/program.py")
        sb.files.write("/root/program.py", text.replace(old, new, 1))
    result = sb.exec("python3 tests.py", timeout=20)
    return (int(result.stdout) if result.ok else 0), edits


def main(n: int) -> None:
    """Prepares once, tries `n` times, keeps the best."""
    with ckpt.Sandbox.create(workdir="/root", memory="512m", pids=200) as sb:
        sb.files.write("/root/program.py", PROGRAM)
        sb.files.write("/root/tests.py", TESTS)
        start = sb.save(message="the task, untouched")
    attempts = start.fork(n)
    try:
        with ThreadPoolExecutor(8) as pool:
            outcomes = list(pool.map(attempt, attempts, range(n)))
        for number, (score, edits) in enumerate(outcomes):
            print(f"attempt {number}: {score}/4 passed after {', '.join(edits)}")
        winner = max(range(n), key=lambda number: outcomes[number][0])
        best = attempts[winner].save(message=f"attempt {winner}: {outcomes[winner][0]}/4")
    finally:
        for sandbox in attempts:
            sandbox.remove()
    print(f"best: attempt {winner} with {outcomes[winner][0]}/4, snapshot {best.id}")
    for change in start.diff(best, patch=True).files:
        if change.path == "/root/program.py":
            print(change.patch)
    ckpt.Tree().delete(start, subtree=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8)
