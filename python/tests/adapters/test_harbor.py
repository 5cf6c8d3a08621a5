"""Harbor's own command over tasks in sandboxes, with its oracle and with an agent that rolls back."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from harbor.agents.base import BaseAgent
from harbor.environments.base import BaseEnvironment
from harbor.job import Job
from harbor.models.agent.context import AgentContext
from harbor.models.job.config import JobConfig
from harbor.models.task.config import EnvironmentConfig as TaskEnvironment
from harbor.models.trial.config import AgentConfig, EnvironmentConfig, TaskConfig
from harbor.models.trial.paths import TrialPaths

import ckpt
from ckpt.adapters.harbor import CkptEnvironment

TASK = """\
version = "1.0"
[environment]
docker_image = "example/answers:1"
cpus = 1
memory_mb = 1024
network_mode = "no-network"
workdir = "/app"
[environment.env]
SECRET = "7"
"""
TEST = """\
if [ "$(cat /app/answer)" = 42 ]; then echo 1 > /logs/verifier/reward.txt
else echo 0 > /logs/verifier/reward.txt; fi
"""
os.environ["HARBOR_TELEMETRY"] = "off"


class Careless(BaseAgent):
    """Solves the task, breaks it, and takes that back."""

    @staticmethod
    def name() -> str:
        return "careless"

    def version(self) -> str:
        return "1"

    async def setup(self, environment: BaseEnvironment) -> None:
        await environment.exec("true")

    async def run(self, instruction: str, environment: BaseEnvironment, context: AgentContext) -> None:
        assert isinstance(environment, CkptEnvironment)
        assert instruction.strip() == "Write 42 into the file answer."
        done = await environment.exec("echo $((6 * SECRET)) > answer; pwd; cat seed; echo err >&2; exit 3")
        assert (done.stdout, done.stderr, done.return_code) == ("/app\n1\n", "err\n", 3)
        solved = await environment.save(tag="solved")
        await environment.exec("rm -rf /app/*; sleep 1000 & disown")
        await environment.restore(solved)
        with pytest.raises(RuntimeError, match="timed out"):
            await environment.exec("sleep 60", timeout_sec=1)
        assert (await environment.exec("id -un", user="nobody")).stdout == "nobody\n"
        assert (await environment.sandbox.info()).spec.limits.memory == 1 << 30


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tasks") / "answers"
    for name, text in {
        "task.toml": TASK,
        "instruction.md": "Write 42 into the file answer.",
        "environment/seed": "1\n",
        "tests/test.sh": TEST,
        "solution/solve.sh": "#!/bin/bash\necho $((6 * SECRET)) > answer\n",
    }.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


def run(task: Path, jobs: Path, agent: str, **environment: Any) -> dict[str, Any]:
    """Runs a job, and returns what Harbor wrote about its trial."""
    config = JobConfig(
        jobs_dir=jobs,
        quiet=True,
        agents=[AgentConfig(import_path=agent) if ":" in agent else AgentConfig(name=agent)],
        environment=EnvironmentConfig(import_path="ckpt.adapters.harbor:CkptEnvironment", kwargs=environment),
        tasks=[TaskConfig(path=task)],
    )

    async def job() -> None:
        await (await Job.create(config)).run()

    asyncio.run(job())
    return outcome(jobs)


def outcome(jobs: Path) -> dict[str, Any]:
    (found,) = jobs.glob("*/*/result.json")
    assert ckpt.Sandbox.list() == []
    return dict(json.loads(found.read_text()))


def test_harbors_command_has_its_oracle_solve_a_task(task: Path, tmp_path: Path) -> None:
    harbor = Path(sys.executable).parent / "harbor"
    words = ["-p", task, "-a", "oracle", "-o", tmp_path / "jobs", "-y", "-q", "--ek", "default_base=host"]
    done = subprocess.run(
        [harbor, "run", *words, "--env", "ckpt.adapters.harbor:CkptEnvironment"],
        env=os.environ | {"HARBOR_TELEMETRY": "off", "HOME": str(tmp_path)},
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = outcome(tmp_path / "jobs")
    assert result["exception_info"] is None, result["exception_info"]
    assert result["verifier_result"]["rewards"] == {"reward": 1.0}


def test_an_agent_that_rolls_back_is_rewarded_for_what_it_returned_to(task: Path, tmp_path: Path) -> None:
    result = run(task, tmp_path / "first", f"{__name__}:Careless", bases={"example/answers:1": "host"})
    assert result["exception_info"] is None, result["exception_info"]
    assert result["verifier_result"]["rewards"] == {"reward": 1.0}
    # A later job may begin where this one stood.
    result = run(task, tmp_path / "later", "nop", snapshot="solved")
    assert result["verifier_result"]["rewards"] == {"reward": 1.0}
    ckpt.Tree().delete("solved")


def test_an_image_that_has_no_base_is_refused(task: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no base is known for example/answers:1"):
        CkptEnvironment(
            environment_dir=task / "environment",
            environment_name="answers",
            session_id="answers__env",
            trial_paths=TrialPaths(tmp_path),
            task_env_config=TaskEnvironment(docker_image="example/answers:1"),
        )
