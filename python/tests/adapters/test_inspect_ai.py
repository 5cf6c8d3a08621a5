"""Inspect: its own checks of a sandbox provider, and an evaluation by its runner."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import inspect_ai
import pytest
from inspect_ai.dataset import Sample
from inspect_ai.model import ModelOutput, get_model, modelapi
from inspect_ai.model._providers.mockllm import MockLLM
from inspect_ai.scorer import Score, Scorer, Target, accuracy, scorer
from inspect_ai.solver import Generate, Solver, TaskState, generate, solver, use_tools
from inspect_ai.tool import bash
from inspect_ai.util import SandboxEnvironmentSpec, sandbox
from inspect_ai.util._sandbox.self_check import *  # noqa: F403

import ckpt
from ckpt.adapters.inspect_ai import PREFIX, CkptConfig, CkptSandboxEnvironment

pytestmark = pytest.mark.anyio


# Root may do everything, so that these are for somebody else.
OF_PERMISSIONS = {
    "test_read_file_not_allowed",
    "test_write_text_file_without_permissions",
    "test_write_binary_file_without_permissions",
}


@pytest.fixture(scope="module")
def checked() -> Iterator[ckpt.Sandbox]:
    with ckpt.Sandbox.create() as made:
        made.exec("mkdir /workspace /workspace/nobody && chown nobody /workspace/nobody", check=True)
        yield made


@pytest.fixture
def sandbox_env(checked: ckpt.Sandbox, request: pytest.FixtureRequest) -> CkptSandboxEnvironment:
    """What Inspect's checks take."""
    sandbox = ckpt.AsyncSandbox(checked.name)
    if request.node.originalname in OF_PERMISSIONS:
        return CkptSandboxEnvironment(sandbox, "/workspace/nobody", "nobody")
    return CkptSandboxEnvironment(sandbox, "/workspace")


@modelapi(name="scripted")
class Scripted(MockLLM):
    """Counts tokens by itself; Inspect's own way fetches an encoding from the network."""

    async def count_text_tokens(self, text: str) -> int:
        return len(text) // 4


@solver
def tries_and_takes_back() -> Solver:
    async def solve(state: TaskState, generate: Generate) -> TaskState:
        box = sandbox().as_type(CkptSandboxEnvironment)
        before = await box.save(message=f"sample {state.sample_id}")
        await box.exec(["rm", "task.txt"])
        await box.restore(before)
        state.metadata["snapshot"] = before.id
        return state

    return solve


@scorer(metrics=[accuracy()])
def file_says() -> Scorer:
    async def score(state: TaskState, target: Target) -> Score:
        answer = (await sandbox().read_file("answer.txt")).strip()
        return Score(value=int(answer == target.text), answer=answer)

    return score


def test_an_evaluation_runs_in_sandboxes_that_are_saved_on_the_way(tmp_path: Path) -> None:
    def says(state: list[object], *_: object) -> ModelOutput:
        if len(state) > 2:
            return ModelOutput.from_content("scripted", "done")
        step = {"command": "echo $(( $(cat task.txt) * 2 )) > answer.txt; cat answer.txt"}
        return ModelOutput.for_tool_call("scripted", "bash", step)

    samples = [
        Sample(input="double it", target=str(2 * n), files={"task.txt": str(n)}, setup="#!/bin/sh\nhostname")
        for n in (4, 21)
    ]
    spec = SandboxEnvironmentSpec("ckpt", CkptConfig(options={"memory": "1g"}))
    task = inspect_ai.Task(
        dataset=samples,
        solver=[tries_and_takes_back(), use_tools(bash(timeout=10)), generate()],
        scorer=file_says(),
        sandbox=spec,
    )
    model = get_model("scripted/model", custom_outputs=says)
    (log,) = inspect_ai.eval(task, model=model, log_dir=str(tmp_path), display="none", max_retries=0)
    assert log.status == "success", log.error
    assert log.results is not None and log.results.scores[0].metrics["accuracy"].value == 1
    assert log.samples is not None
    for sample in log.samples:
        ckpt.Snapshot.get(sample.metadata["snapshot"]).delete()
    assert [each.name for each in ckpt.Sandbox.list() if each.name.startswith(PREFIX)] == []


def test_a_sandbox_that_dies_is_an_error_and_no_score(tmp_path: Path) -> None:
    @solver
    def kills() -> Solver:
        async def solve(state: TaskState, generate: Generate) -> TaskState:
            box = sandbox().as_type(CkptSandboxEnvironment)
            os.kill((await box.sandbox.info()).pid or 0, 9)
            await box.exec(["true"])
            return state

        return solve

    task = inspect_ai.Task(dataset=[Sample(input="x")], solver=[kills()], sandbox="ckpt")
    (log,) = inspect_ai.eval(
        task, model="mockllm/model", log_dir=str(tmp_path), display="none", fail_on_error=False
    )
    assert log.samples is not None and log.samples[0].error is not None
    assert "SandboxDied" in log.samples[0].error.traceback
    assert [each.name for each in ckpt.Sandbox.list() if each.name.startswith(PREFIX)] == []


async def test_cleanup_from_the_command_line_takes_only_evaluations_sandboxes(checked: ckpt.Sandbox) -> None:
    made = await CkptSandboxEnvironment.sample_init("my task/1", CkptConfig(), {})
    name = made["default"].as_type(CkptSandboxEnvironment).sandbox.name
    assert name.startswith("inspect-my-task-1-")
    shown = await made["default"].connection(user="root")
    assert "exec -it" in shown.command and name in shown.command
    await CkptSandboxEnvironment.cli_cleanup("inspect-other")
    assert name in {each.name for each in ckpt.Sandbox.list()}
    await CkptSandboxEnvironment.cli_cleanup(None)
    left = {each.name for each in ckpt.Sandbox.list()}
    assert name not in left and checked.name in left
    await CkptSandboxEnvironment.task_cleanup("my task/1", CkptConfig(), cleanup=True)
