"""ARES's own environment and agent over sandboxes, with its mock of a model."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from harbor.models.task import task as harbor_task
from harbor.registry.client.harbor import harbor as registry

# ARES asks for lists of data sets over the network when it is imported.
registry._fetch_all_datasets_from_supabase = list

from ares.containers import containers  # noqa: E402
from ares.environments import code_env  # noqa: E402
from ares.testing import mock_llm  # noqa: E402

import ckpt  # noqa: E402
from ckpt.adapters.ares import CkptContainer, SnapshotableContainer  # noqa: E402

pytestmark = pytest.mark.anyio
HOST = CkptContainer.configured(default_base="host", pids=200)
TASK = """\
version = "1.0"
[environment]
docker_image = "example/answers:1"
memory_mb = 1024
"""
TEST = """\
if [ "$(cat /root/answer)" = 42 ]; then echo 1 > /logs/verifier/reward.txt
else echo 0 > /logs/verifier/reward.txt; fi
"""


async def test_an_episode_is_played_and_rewarded(tmp_path: Path) -> None:
    for name, text in {
        "task.toml": TASK,
        "instruction.md": "Write 42 into /root/answer.",
        "environment/Dockerfile": "FROM scratch",
        "tests/test.sh": TEST,
    }.items():
        path = tmp_path / "answers" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    steps = ["echo 41 > /root/answer", "echo $(( $(cat /root/answer) + 1 )) > /root/answer"]
    steps.append("echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT")
    agent = mock_llm.MockLLMClient(responses=[f"I try.\n\n```bash\n{step}\n```" for step in steps])
    factory = CkptContainer.configured(bases={"example/answers:1": "host"})
    task = harbor_task.Task(task_dir=tmp_path / "answers")
    async with code_env.CodeEnvironment([task], container_factory=factory) as env:
        step = await env.reset()
        seen = []
        while not step.last():
            step = await env.step(await agent(step.observation))
            seen.append(ckpt.Sandbox.list()[0].name if ckpt.Sandbox.list() else None)
        assert (step.reward, agent.call_count) == (1.0, 3)
    assert seen[0] is not None and seen[0].startswith("ares-harbor_env-answers")
    assert ckpt.Sandbox.list() == []


async def test_the_protocol(tmp_path: Path) -> None:
    box = HOST.from_image(
        image="any",
        name="ares.test.one",
        resources=containers.Resources(cpu=1, memory=1),
        default_workdir="/tmp",
    )
    assert isinstance(box, SnapshotableContainer)
    with pytest.raises(RuntimeError):
        await box.exec_run("true")
    await box.start(env={"A": "1"})
    assert box.sandbox is not None and box.sandbox.name == "ares-test-one"
    assert (await box.sandbox.info()).spec.limits.memory == 1 << 30
    done = await box.exec_run("echo $A$B; pwd; echo err >&2; exit 3", env={"B": "2"})
    assert done == containers.ExecResult(output="12\n/tmp\nerr\n", exit_code=3)
    with pytest.raises(TimeoutError):
        await box.exec_run("sleep 60", timeout_s=0.2)
    (tmp_path / "in" / "d").mkdir(parents=True)
    (tmp_path / "in" / "d" / "f").write_bytes(b"\x00\xff")
    await box.upload_dir(tmp_path / "in", "/srv/data")
    await box.download_dir("/srv/data", tmp_path / "out")
    assert (tmp_path / "out" / "d" / "f").read_bytes() == b"\x00\xff"
    await box.stop()
    await box.stop()
    assert ckpt.Sandbox.list() == []


async def test_a_snapshot_holds_processes_and_starts_new_containers() -> None:
    box = HOST.from_dockerfile(dockerfile_path="/nowhere/Dockerfile")
    await box.start()
    assert box.sandbox is not None
    await box.sandbox.start("n=0; while sleep 0.05; do n=$((n + 1)); echo $n > /root/n; done")
    await box.exec_run("while [ ! -s /root/n ]; do sleep 0.02; done; echo kept > /root/file")
    taken = await box.snapshot()
    twin = HOST.from_snapshot(taken, name="twin")
    assert twin.sandbox is None
    await twin.start()
    first = int((await twin.exec_run("cat /root/n")).output)
    # The loop that was saved runs on in it.
    await twin.exec_run(f"until [ $(cat /root/n) -gt {first} ]; do sleep 0.02; done", timeout_s=20)
    assert (await twin.exec_run("cat /root/file")).output == "kept\n"
    await box.exec_run("rm /root/file")
    await box.restore(taken)
    assert (await box.exec_run("cat /root/file")).output == "kept\n"
    twin.stop_and_remove()
    box.stop_and_remove()
    await box.delete_snapshot(taken)
    await box.delete_snapshot(taken)
    box.delete_snapshot_sync(taken)
    assert ckpt.Tree().snapshots() == []


async def test_what_it_does_not_know_it_refuses() -> None:
    with pytest.raises(ValueError, match="no base is known for python:3"):
        CkptContainer.from_image(image="python:3")
    greedy = HOST.from_image(image="any", resources=containers.Resources(gpu=1))
    with pytest.raises(ValueError, match="GPU"):
        await greedy.start()
    box = HOST.from_image(image="any")
    await box.start()
    assert box.sandbox is not None
    os.kill((await box.sandbox.info()).pid or 0, 9)
    with pytest.raises(ckpt.SandboxDied):
        await box.exec_run("true")
    await box.stop()
