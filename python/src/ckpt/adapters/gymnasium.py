"""Gymnasium environments whose whole state can be saved, loaded and branched.

    from ckpt.adapters.gymnasium import SandboxedEnv

    env = SandboxedEnv("CartPole-v1")
    observation, info = env.reset(seed=7)
    state = env.save_state()
    left, right = env.branch(2)
    env.load_state(state)

`SandboxedEnv` runs any environment in a sandbox: simulators, native libraries and processes it starts are
saved with it, whether or not it can be copied. `ShellEnv` is an environment of shell commands.
"""

from __future__ import annotations

import copy
import sys
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, SupportsFloat, TypeVar

import gymnasium

import ckpt

from . import _gymnasium_codec as codec

if TYPE_CHECKING:
    from typing_extensions import Self

ObsType = TypeVar("ObsType")
ActType = TypeVar("ActType")
_CODEC = Path(codec.__file__)


@dataclass(frozen=True)
class State:
    """An environment's whole state. It can be loaded any number of times, by other processes too."""

    snapshot: ckpt.Snapshot
    """All that is inside the sandbox."""
    own: dict[str, Any]
    """What the environment object outside keeps: its generator of random numbers, its count of steps."""


class StatefulEnv(gymnasium.Env[ObsType, ActType], Generic[ObsType, ActType]):
    """An environment that lives in a sandbox, which is made at first need and removed by `close`."""

    _outside: Sequence[str] = ("_np_random", "_np_random_seed")

    def __init__(self, options: Mapping[str, Any] | None) -> None:
        self._options = dict(options or {})
        self._sandbox: ckpt.Sandbox | None = None

    @property
    def sandbox(self) -> ckpt.Sandbox:
        """The sandbox, for looking into it, and for rewards."""
        if self._sandbox is None:
            self._sandbox = ckpt.Sandbox.create(**self._options)
            self._moved()
            self._prepare()
        return self._sandbox

    def save_state(self, tag: str | None = None, message: str | None = None) -> State:
        """Saves files, memory and processes of one instant; the environment goes on.

        Raises as `ckpt.Sandbox.save` does.
        """
        snapshot = self.sandbox.save(tag, message)
        return State(snapshot, {name: copy.deepcopy(getattr(self, name)) for name in self._outside})

    def load_state(self, state: State) -> None:
        """Goes back, or over, to a state that this or another environment of its kind has saved.

        Raises as `ckpt.Sandbox.restore` does.
        """
        self.sandbox.restore(state.snapshot)
        self._take(state)

    def branch(self, n: int = 1, state: State | None = None) -> list[Self]:
        """Makes `n` environments that go on from `state`, from this very instant when missing.

        Each has a sandbox of its own, which its `close` removes. The snapshot of this instant stays: it can
        be deleted once none of them stands on it.
        """
        state = state or self.save_state()
        branches = []
        for sandbox in state.snapshot.fork(n):
            twin = copy.copy(self)
            twin._sandbox = sandbox
            twin._moved()
            twin._take(state)
            branches.append(twin)
        return branches

    def close(self) -> None:
        """Removes the sandbox."""
        if self._sandbox is not None:
            self._sandbox.remove()
            self._sandbox = None

    @abstractmethod
    def _prepare(self) -> None:
        """Makes a fresh sandbox ready."""

    def _moved(self) -> None:
        """Forgets what belongs to another sandbox than the one it has now."""

    def _take(self, state: State) -> None:
        for name, value in state.own.items():
            setattr(self, name, copy.deepcopy(value))


class SandboxedEnv(StatefulEnv[Any, Any]):
    """Any gymnasium environment, in a sandbox.

        env = SandboxedEnv("CartPole-v1", make={"max_episode_steps": 100}, sandbox={"memory": "1g"})

    Observations, actions, infos and spaces go in and out as plain data: nothing of the sandbox is unpickled.
    An info that is no array, number, text or collection of them arrives as its `repr`.
    """

    def __init__(
        self,
        env_id: str,
        *,
        make: Mapping[str, Any] | None = None,
        setup: str = "",
        sandbox: Mapping[str, Any] | None = None,
        interpreter: str | None = None,
        render_mode: str | None = None,
    ) -> None:
        """`env_id` and the plain data of `make` are what `gymnasium.make` is given in the sandbox.

        `setup` is Python code that runs there first, to register environments, say. `sandbox` has the
        options of `ckpt.Sandbox.create`. `interpreter` is a Python in the sandbox that has gymnasium; when
        missing, the one that runs now, whose directories are then mounted read-only at their own paths.
        """
        options = dict(sandbox or {})
        if interpreter is None:
            interpreter = sys.executable
            options["volumes"] = {**_own_installation(), **dict(options.get("volumes", {}))}
        super().__init__(options)
        self._interpreter = interpreter
        self._python: ckpt.PythonSession | None = None
        self._setup = setup
        arguments = dict(make or {})
        if render_mode is not None:
            arguments["render_mode"] = render_mode
        self._made = f"gymnasium.make({env_id!r}, **decoded({codec.encoded(arguments)!r}))"
        observation, action, metadata, self.render_mode, mode = self._ask(
            "described(_env.observation_space), described(_env.action_space), encoded_info(_env.metadata), "
            "_env.render_mode, encoded_info(_env.spec.id if _env.spec else None)"
        )
        self.observation_space = codec.built(observation)
        self.action_space = codec.built(action)
        self.metadata = codec.decoded(metadata)
        self.env_id: str = codec.decoded(mode) or env_id

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts an episode."""
        super().reset(seed=seed)
        given = codec.encoded(options)
        answer = self._ask(f"_reset({seed!r}, {given!r})")
        return codec.decoded(answer[0]), codec.decoded(answer[1])

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Takes one step."""
        answer = self._ask(f"_step({codec.encoded(action)!r})")
        observation, reward, terminated, truncated, info = (codec.decoded(part) for part in answer)
        return observation, reward, terminated, truncated, info

    def render(self) -> Any:
        """What the environment renders."""
        return codec.decoded(self._ask("encoded(_env.render())"))

    def _prepare(self) -> None:
        self._python = self._sandbox.python("gymnasium", interpreter=self._interpreter)  # type: ignore[union-attr]
        self._python.run(f"{_CODEC.read_text()}\n{_INSIDE}\n{self._setup}\n_env = {self._made}")

    def _moved(self) -> None:
        self._python = None

    def _ask(self, expression: str) -> Any:
        sandbox = self.sandbox
        if self._python is None:
            self._python = sandbox.python("gymnasium", interpreter=self._interpreter)
        return self._python.eval(expression)


_INSIDE = """
import gymnasium

def _reset(seed, options):
    observation, info = _env.reset(seed=seed, options=decoded(options))
    return encoded(observation), encoded_info(info)

def _step(action):
    observation, reward, terminated, truncated, info = _env.step(decoded(action))
    ends = encoded(bool(terminated)), encoded(bool(truncated))
    return (encoded(observation), encoded(reward), *ends, encoded_info(info))
"""


def _own_installation() -> dict[str, str]:
    """The interpreter that runs and its packages, as read-only volumes at their own paths."""
    places = {sys.prefix, sys.base_prefix} - {"/usr", "/"}
    return {place: f"{place}:ro" for place in sorted(places)}


class AnyText(gymnasium.Space[str]):
    """Any text of at most `max_length` characters, of whatever alphabet."""

    def __init__(self, max_length: int, seed: int | None = None) -> None:
        self.max_length = max_length
        super().__init__((), str, seed)

    @property
    def is_np_flattenable(self) -> bool:
        """It cannot be made an array of numbers."""
        return False

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """A few printable characters."""
        length = int(self.np_random.integers(1, min(self.max_length, 12) + 1))
        return "".join(chr(letter) for letter in self.np_random.integers(33, 127, length))

    def contains(self, x: Any) -> bool:
        """Whether it is a text that is not too long."""
        return isinstance(x, str) and len(x) <= self.max_length

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AnyText) and other.max_length == self.max_length

    def __repr__(self) -> str:
        return f"AnyText({self.max_length})"


class ShellEnv(StatefulEnv[dict[str, Any], str]):
    """An environment whose actions are shell commands.

        env = ShellEnv(prepare="git clone /repo /root/repo", reward=tests_pass, max_steps=30)
        observation, info = env.reset()
        observation, reward, terminated, truncated, info = env.step("cd /root/repo && ls")

    Commands run in one bash, so directory and variables stay. An observation has the `output` (stdout and
    stderr as they came), the `exit_code`, and whether the command `timed_out`.
    """

    _outside = (*StatefulEnv._outside, "_steps")

    def __init__(
        self,
        *,
        reward: Callable[[ckpt.Sandbox], float | tuple[float, bool]],
        prepare: str | Callable[[ckpt.Sandbox], object] | None = None,
        max_steps: int | None = None,
        timeout: float = 60,
        max_output: int = 64 << 10,
        sandbox: Mapping[str, Any] | None = None,
    ) -> None:
        """`reward` looks at the sandbox after each step, and says what it is worth, and whether the episode
        ends (at a reward of 1 or more, when it does not say).

        `prepare` is a command, or is called with the sandbox, once: `reset` returns to the snapshot taken
        after it. `timeout`: seconds a command has. `max_output`: bytes of output kept.
        """
        super().__init__(sandbox)
        self._reward = reward
        self._prepare_with = prepare
        self._max_steps = max_steps
        self._timeout = timeout
        self._max_output = max_output
        self._start: ckpt.Snapshot | None = None
        self._steps = 0
        self.action_space = AnyText(1 << 20)
        self.observation_space = gymnasium.spaces.Dict(
            {
                "output": AnyText(max_output),
                "exit_code": gymnasium.spaces.Discrete(256),
                "timed_out": gymnasium.spaces.Discrete(2),
            }
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Goes back to the start."""
        super().reset(seed=seed)
        sandbox = self.sandbox
        if self._start is None:
            raise RuntimeError("the environment was closed")
        sandbox.restore(self._start)
        self._steps = 0
        return {"output": "", "exit_code": 0, "timed_out": 0}, {"sandbox": sandbox.name}

    def step(self, action: str) -> tuple[dict[str, Any], SupportsFloat, bool, bool, dict[str, Any]]:
        """Runs a command. Raises `ckpt.SandboxDied` where the sandbox ended: no reward means nothing then."""
        done = self.sandbox.session("main").exec(
            f"{{ {action}\n}} 2>&1", timeout=self._timeout, max_output=self._max_output
        )
        self._steps += 1
        worth = self._reward(self.sandbox)
        reward, terminated = worth if isinstance(worth, tuple) else (worth, worth >= 1)
        observation = {
            "output": done.stdout + done.stderr,
            "exit_code": done.exit_code,
            "timed_out": int(done.timed_out),
        }
        truncated = self._max_steps is not None and self._steps >= self._max_steps
        info = {"duration": done.duration, "oom_killed": done.oom_killed, "truncated": done.truncated}
        return observation, float(reward), bool(terminated), truncated, info

    def close(self) -> None:
        """Removes the sandbox, and the snapshot of the start where nothing came of it."""
        super().close()
        start, self._start = self._start, None
        if start is not None:
            try:
                start.delete()
            except (ckpt.InUse, ckpt.SnapshotNotFound):
                pass  # A saved state came of it, or a branch has deleted it.

    def _prepare(self) -> None:
        sandbox = self.sandbox
        if isinstance(self._prepare_with, str):
            sandbox.exec(self._prepare_with, check=True)
        elif self._prepare_with is not None:
            self._prepare_with(sandbox)
        sandbox.session("main").exec(":")
        self._start = sandbox.save(message="the start of the episodes")


gymnasium.register(id="ckpt/Sandboxed-v0", entry_point="ckpt.adapters.gymnasium:SandboxedEnv")
gymnasium.register(id="ckpt/Shell-v0", entry_point="ckpt.adapters.gymnasium:ShellEnv")
