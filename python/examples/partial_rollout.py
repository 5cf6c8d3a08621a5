"""Partial rollouts: 32 long trajectories are broken off at a time budget, saved, and resumed by another
process.

    python partial_rollout.py [COUNT] [SECONDS]

What a trainer with a step budget does: rollouts that are not done when the time is up are not thrown
away, nor does anybody wait for the slowest. They are saved with all that is in their memory, and a new
process (the next training step, perhaps after a new policy was loaded) takes every one up in the middle
of its command.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import ckpt

# A rollout: a Python program that thinks for a while, a step at a time, and keeps its state in memory only.
ROLLOUT = """
import random, sys, time
chance = random.Random(int(sys.argv[1]))
total = 0
for step in range(1, chance.randint(10, 60) + 1):
    total += step * int(sys.argv[1])
    print("step", step, flush=True)
    time.sleep(0.05)
print("total", total, flush=True)
"""


async def begin(number: int, seconds: float) -> dict[str, object]:
    """Runs a rollout until it is done or the time is up, and then saves and stops it."""
    async with ckpt.AsyncSandbox.create(memory="256m") as sb:
        job = await sb.start(["python3", "-c", ROLLOUT, str(number)], id="rollout")
        try:
            await asyncio.wait_for(job.wait(), seconds)
        except asyncio.TimeoutError:
            snapshot = await sb.save(message=f"rollout {number}, broken off", stop=True)
            return {"number": number, "snapshot": snapshot.id}
        return {"number": number, "said": await job.stdout()}


async def resume(state: dict[str, object]) -> dict[str, object]:
    """Takes a rollout up where it was, to its end."""
    if "said" in state:
        return state
    snapshot = await ckpt.AsyncSnapshot.get(str(state["snapshot"]))
    (sb,) = await snapshot.fork()
    async with sb:
        job = await sb.job("rollout")
        await job.wait()
        said = await job.stdout()
    await snapshot.delete()
    return {"number": state["number"], "said": said, "resumed": True}


async def first_process(count: int, seconds: float) -> str:
    """The first training step; what it could not finish, as JSON."""
    rollouts = await asyncio.gather(*(begin(number, seconds) for number in range(count)))
    broken_off = sum("snapshot" in rollout for rollout in rollouts)
    print(f"{count} rollouts: {broken_off} broken off and saved, {count - broken_off} done")
    return json.dumps(rollouts)


async def second_process(states: str) -> None:
    """The next one, in another process."""
    rollouts = await asyncio.gather(*(resume(state) for state in json.loads(states)))
    for rollout in rollouts:
        lines = str(rollout["said"]).splitlines()
        steps = [int(line.split()[1]) for line in lines if line.startswith("step")]
        assert steps == list(range(1, len(steps) + 1)), "no step was lost or done twice"
        total = sum(step * int(str(rollout["number"])) for step in steps)
        assert lines[-1] == f"total {total}", "what it had in memory is right"
    print(f"{len(rollouts)} rollouts done, {sum('resumed' in each for each in rollouts)} of them resumed")


def main() -> None:
    """Starts the first process's work, and a new process for the second's."""
    if sys.argv[1:2] == ["--resume"]:
        asyncio.run(second_process(Path(sys.argv[2]).read_text()))
        return
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 32
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 1.5
    with tempfile.TemporaryDirectory() as directory:
        states = Path(directory) / "rollouts.json"
        states.write_text(asyncio.run(first_process(count, seconds)))
        subprocess.run([sys.executable, __file__, "--resume", str(states)], check=True)


if __name__ == "__main__":
    main()
