"""mini-swe-agent's own runner, agent and trajectories over a sandbox."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from minisweagent.agents.default import DefaultAgent
from minisweagent.environments import get_environment
from minisweagent.exceptions import Submitted
from minisweagent.models.test_models import DeterministicModel, make_output

import ckpt
from ckpt.adapters.mini_swe_agent import CkptEnvironment

TEMPLATES = {"system_template": "You fix things.", "instance_template": "{{task}} on {{system}}"}


def scripted(*commands: str) -> list[dict[str, object]]:
    return [make_output(f"I run {command}", [{"command": command}], cost=0.1) for command in commands]


def test_the_mini_command_solves_a_task_in_a_sandbox(tmp_path: Path) -> None:
    end = "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT; cat /root/answer"
    config = {
        "agent": TEMPLATES,
        "model": {
            "model_class": "minisweagent.models.test_models.DeterministicModel",
            "outputs": scripted("echo $((6 * 7)) > answer", "false", end),
        },
        "environment": {
            "environment_class": "ckpt.adapters.mini_swe_agent.CkptEnvironment",
            "cwd": "/root",
            "save_steps": True,
            "options": {"memory": "1g"},
        },
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    environment = os.environ | {"MSWEA_CONFIGURED": "1", "MSWEA_GLOBAL_CONFIG_DIR": str(tmp_path)}
    mini = Path(sys.executable).parent / "mini"
    words = ["-c", tmp_path / "config.yaml", "-m", "scripted", "-t", "answer", "-y", "--exit-immediately"]
    done = subprocess.run(
        [mini, *words, "-o", tmp_path / "out.json"],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads((tmp_path / "out.json").read_text())
    assert told["info"]["exit_status"] == "Submitted" and told["info"]["submission"].strip() == "42"
    assert told["info"]["config"]["environment_type"] == "ckpt.adapters.mini_swe_agent.CkptEnvironment"
    assert ckpt.Sandbox.list() == [], "the sandbox stays behind"
    assert not Path("/root/answer").exists()
    # Every step can be gone back to.
    first, second, third = told["info"]["snapshots"]
    tree = ckpt.Tree()
    assert [each.id for each in tree.path(third)] == [first, second, third]
    assert tree.get(first).read("/root/answer") == b"42\n"


def test_what_an_action_gives() -> None:
    env = get_environment(
        {
            "environment_class": "ckpt.adapters.mini_swe_agent.CkptEnvironment",
            "env": {"A": "1"},
            "forward_env": ["B", "UNSET"],
            "timeout": 20,
        }
    )
    assert isinstance(env, CkptEnvironment)
    os.environ["B"] = "2"
    done = env.execute({"command": "echo $A$B; echo err >&2; pwd; exit 3"}, "/tmp")
    assert done == {"output": "12\nerr\n/tmp\n", "returncode": 3, "exception_info": ""}
    late = env.execute({"command": "echo begun; sleep 60"}, timeout=1)
    assert (late["output"], late["returncode"]) == ("begun\n", -1)
    assert "timed out after 1 seconds" in late["exception_info"]
    assert late["extra"]["exception_type"] == "TimeoutExpired"
    with pytest.raises(Submitted) as submitted:
        env.execute({"command": "printf 'COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT\\nthe\\nend'"})
    assert submitted.value.messages[0]["content"] == "the\nend"
    assert env.get_template_vars(x=1)["x"] == 1
    env.cleanup()


def test_forks_go_on_with_an_agent_of_their_own() -> None:
    env = CkptEnvironment(cwd="/root")
    env.execute({"command": "echo 1 > n"})
    snapshot = env.save()
    outcomes = []
    for number, fork in enumerate(env.fork(2, snapshot)):
        say = f"echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT; echo $(( $(cat n) + {number} ))"
        agent = DefaultAgent(DeterministicModel(outputs=scripted(say)), fork, **TEMPLATES)
        outcomes.append(agent.run("count")["submission"].strip())
        fork.cleanup()
    assert outcomes == ["1", "2"]
    env.execute({"command": "rm n"})
    env.restore(snapshot)
    assert env.execute({"command": "cat n"})["output"] == "1\n"
    env.cleanup()


def test_a_dead_sandbox_ends_the_run_and_is_no_output() -> None:
    env = CkptEnvironment()
    pid = env.sandbox.info().pid
    assert pid is not None
    os.kill(pid, 9)
    agent = DefaultAgent(DeterministicModel(outputs=scripted("true")), env, **TEMPLATES)
    with pytest.raises(ckpt.SandboxDied):
        agent.run("anything")
    env.cleanup()
