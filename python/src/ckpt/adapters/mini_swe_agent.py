"""An environment for mini-swe-agent.

    mini --environment-class ckpt.adapters.mini_swe_agent.CkptEnvironment …

or in its configuration:

    environment:
      environment_class: ckpt.adapters.mini_swe_agent.CkptEnvironment
      base: host
      save_steps: true
"""

from __future__ import annotations

import os
import platform
from typing import Any

from minisweagent.exceptions import Submitted
from pydantic import BaseModel

import ckpt

SUBMISSION = "COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"


class CkptEnvironmentConfig(BaseModel):
    """What the `environment` part of a configuration may say."""

    base: str = "host"
    """What the sandbox starts from, as in `ckpt.Sandbox.create`."""
    snapshot: str = ""
    """A snapshot that it starts from instead, by any reference; one where a task is set up, say."""
    cwd: str = ""
    """Where commands start; the sandbox's own directory when empty."""
    env: dict[str, str] = {}
    """Environment of every command."""
    forward_env: list[str] = []
    """Variables of this process that commands are given too; `env` comes first."""
    timeout: int = 30
    """Seconds that a command has."""
    interpreter: list[str] = ["bash", "-lc"]
    """What a command is the last argument of."""
    options: dict[str, Any] = {}
    """Options of `ckpt.Sandbox.create`."""
    save_steps: bool = False
    """Saves a snapshot after each command; its id is in the trajectory."""


class CkptEnvironment:
    """Runs an agent's commands in a sandbox, which can be saved, rolled back and forked on the way."""

    def __init__(
        self,
        *,
        config_class: type[CkptEnvironmentConfig] = CkptEnvironmentConfig,
        sandbox: ckpt.Sandbox | None = None,
        **config: Any,
    ) -> None:
        """`sandbox` is one to work in, which stays; when missing, one is made as `config` says."""
        self.config = config_class(**config)
        self._owned = sandbox is None
        self.sandbox = sandbox or self._made()
        self.steps: list[ckpt.Snapshot] = []
        """With `save_steps`, the snapshot after each command."""

    def _made(self) -> ckpt.Sandbox:
        if self.config.snapshot:
            return ckpt.Snapshot.get(self.config.snapshot).fork()[0]
        return ckpt.Sandbox.create(self.config.base, **self.config.options)

    def execute(self, action: dict[str, Any], cwd: str = "", *, timeout: int | None = None) -> dict[str, Any]:
        """Runs the `command` of an action, and returns its output, stderr in it, and its return code.

        Raises `Submitted` where it submits the task, and `ckpt.SandboxDied` where the sandbox ended: that is
        no output an agent should go on with.
        """
        command = action.get("command", "")
        seconds = timeout or self.config.timeout
        environment = {name: os.environ[name] for name in self.config.forward_env if name in os.environ}
        done = self.sandbox.exec(
            ["sh", "-c", 'exec "$@" 2>&1', "sh", *self.config.interpreter, command],
            cwd=cwd or self.config.cwd or None,
            env=environment | self.config.env,
            timeout=seconds,
        )
        output: dict[str, Any] = {
            "output": done.stdout + done.stderr,
            "returncode": done.exit_code,
            "exception_info": "",
        }
        if done.timed_out:
            text = f"Command '{command}' timed out after {seconds} seconds"
            output |= {
                "returncode": -1,
                "exception_info": f"An error occurred while executing the command: {text}",
                "extra": {"exception_type": "TimeoutExpired", "exception": text},
            }
        if self.config.save_steps:
            snapshot = self.save()
            self.steps.append(snapshot)
            output["extra"] = output.get("extra", {}) | {"snapshot": snapshot.id}
        self._check_finished(output)
        return output

    def _check_finished(self, output: dict[str, Any]) -> None:
        first, _, rest = output["output"].lstrip().partition("\n")
        if first.strip() == SUBMISSION and output["returncode"] == 0:
            extra = {"exit_status": "Submitted", "submission": rest}
            raise Submitted({"role": "exit", "content": rest, "extra": extra})

    def save(self, tag: str | None = None, message: str | None = None) -> ckpt.Snapshot:
        """Saves the sandbox of this instant."""
        return self.sandbox.save(tag, message)

    def restore(self, snapshot: ckpt.Snapshot | str) -> None:
        """Rolls the sandbox back; the agent's messages are the caller's to cut."""
        self.sandbox.restore(snapshot)

    def fork(self, n: int = 1, snapshot: ckpt.Snapshot | None = None) -> list[CkptEnvironment]:
        """`n` environments that go on from `snapshot`, from this instant when missing."""
        forks = []
        for sandbox in (snapshot or self.save()).fork(n):
            fork = type(self)(config_class=type(self.config), sandbox=sandbox, **self.config.model_dump())
            fork._owned = True
            fork.steps = list(self.steps)
            forks.append(fork)
        return forks

    def get_template_vars(self, **kwargs: Any) -> dict[str, Any]:
        """What templates may use: the configuration and the machine."""
        return self.config.model_dump() | platform.uname()._asdict() | kwargs

    def serialize(self) -> dict[str, Any]:
        """What a trajectory records of the environment."""
        kind = f"{type(self).__module__}.{type(self).__qualname__}"
        config = {"environment": self.config.model_dump(mode="json"), "environment_type": kind}
        steps = {"snapshots": [snapshot.id for snapshot in self.steps]} if self.steps else {}
        return {"info": {"config": config, **steps}}

    def cleanup(self) -> None:
        """Removes the sandbox, unless it was given."""
        if self._owned:
            self._owned = False
            self.sandbox.remove()

    def __del__(self) -> None:
        if getattr(self, "_owned", False):
            try:
                self.cleanup()
            except ckpt.CkptError:
                pass  # The server is gone at the end of a program; `ckpt rm` finds the sandbox.
