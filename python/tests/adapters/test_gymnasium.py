"""Environments in sandboxes, with gymnasium's own checker, wrappers and vectors."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

import ckpt
from ckpt.adapters import _gymnasium_codec as codec
from ckpt.adapters.gymnasium import SandboxedEnv, ShellEnv


@pytest.fixture(scope="module")
def cartpole() -> Iterator[SandboxedEnv]:
    env = SandboxedEnv("CartPole-v1")
    yield env
    env.close()


def test_it_is_what_gymnasium_makes_here(cartpole: SandboxedEnv) -> None:
    with gymnasium.make("CartPole-v1") as here:
        assert cartpole.observation_space == here.observation_space
        assert cartpole.action_space == here.action_space
        first, _ = here.reset(seed=3)
        there, _ = cartpole.reset(seed=3)
        assert first.dtype == there.dtype and np.array_equal(first, there)
        for action in (1, 0, 1, 1, 1, 0):
            ours, theirs = cartpole.step(action), here.step(action)
            assert np.array_equal(ours[0], theirs[0]) and ours[1:4] == theirs[1:4]


def test_gymnasium_finds_nothing_to_complain_of() -> None:
    env = gymnasium.make("ckpt.adapters.gymnasium:ckpt/Sandboxed-v0", env_id="CartPole-v1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*not within the range.*|.*infinity.*|.*spec.*|.*render.*")
        check_env(env.unwrapped, skip_render_check=True)
    env.close()


def test_a_state_is_loaded_as_it_was_saved(cartpole: SandboxedEnv) -> None:
    cartpole.reset(seed=5)
    cartpole.step(1)
    state = cartpole.save_state()
    way = [cartpole.step(action)[0] for action in (1, 1, 0, 1)]
    for _ in range(2):
        cartpole.load_state(state)
        again = [cartpole.step(action)[0] for action in (1, 1, 0, 1)]
        assert all(np.array_equal(a, b) for a, b in zip(way, again, strict=True))


def test_branches_go_on_from_one_instant_and_each_its_own_way(cartpole: SandboxedEnv) -> None:
    cartpole.reset(seed=9)
    branches = cartpole.branch(3)
    try:
        steps = [branch.step(number % 2)[0] for number, branch in enumerate(branches)]
        assert np.array_equal(steps[0], steps[2]) and not np.array_equal(steps[0], steps[1])
        assert np.array_equal(cartpole.step(0)[0], steps[0])
        assert len({branch.sandbox.name for branch in branches}) == 3
    finally:
        for branch in branches:
            branch.close()


def test_random_numbers_within_an_environment_are_part_of_its_state() -> None:
    env = SandboxedEnv("FrozenLake-v1", make={"is_slippery": True})
    env.reset(seed=1)
    state = env.save_state()
    way = [env.step(2)[0] for _ in range(6)]
    env.load_state(state)
    assert [env.step(2)[0] for _ in range(6)] == way
    env.close()


def test_it_serves_gymnasiums_wrappers_and_vectors() -> None:
    def make() -> gymnasium.Env[object, object]:
        return gymnasium.wrappers.RecordEpisodeStatistics(
            SandboxedEnv("CartPole-v1", make={"max_episode_steps": 4})
        )

    vector = gymnasium.vector.SyncVectorEnv([make, make])
    vector.reset(seed=0)
    infos = [vector.step(np.array([0, 1]))[4] for _ in range(4)]
    assert list(infos[-1]["episode"]["l"]) == [4, 4]
    vector.close()


SPACES = [
    spaces.Box(-1, 1, (2, 3), np.float32),
    spaces.Box(0, 255, (4,), np.uint8),
    spaces.Discrete(5, start=-2),
    spaces.MultiBinary([2, 2]),
    spaces.MultiDiscrete([3, 4]),
    spaces.Text(6, charset="abc"),
    spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Tuple([spaces.Discrete(3), spaces.Box(0, 1)])}),
    spaces.Sequence(spaces.Discrete(3)),
    spaces.OneOf([spaces.Discrete(2), spaces.Box(0, 1)]),
    spaces.Graph(spaces.Box(-1, 1, (2,)), spaces.Discrete(3)),
]


@pytest.mark.parametrize("space", SPACES, ids=lambda space: type(space).__name__)
def test_every_space_and_its_samples_come_through(space: spaces.Space[object]) -> None:
    again = codec.built(eval(repr(codec.described(space))))
    assert again == space
    space.seed(4)
    for _ in range(5):
        sample = space.sample()
        assert again.contains(codec.decoded(eval(repr(codec.encoded(sample)))))


def test_what_is_no_plain_data_is_shown_and_not_carried_over() -> None:
    assert codec.decoded(codec.encoded_info({"x": [object]})) == {"x": [repr(object)]}
    assert codec.decoded(codec.encoded(float("nan"))) != 0
    with pytest.raises(TypeError):
        codec.encoded(np.array([object()]))
    with pytest.raises(TypeError):
        codec.decoded(("array", "O", (1,), b"12345678"))


def test_an_environment_of_the_shell() -> None:
    def reward(sandbox: ckpt.Sandbox) -> float:
        return float(sandbox.files.exists("/root/won"))

    env = ShellEnv(reward=reward, prepare="echo 41 > /root/n", max_steps=3, timeout=1)
    check = gymnasium.wrappers.OrderEnforcing(env)
    observation, _ = check.reset(seed=1)
    assert env.observation_space.contains(observation)
    assert check.step("cd /tmp; n=$(cat /root/n); echo err >&2")[0]["output"] == "err\n"
    state = env.save_state()
    observation, worth, over, cut, _ = check.step('echo "$PWD $((n + 1))"; touch /root/won')
    assert (observation["output"], worth, over, cut) == ("/tmp 42\n", 1.0, True, False)
    assert env.observation_space.contains(observation)
    env.load_state(state)
    (branch,) = env.branch(1, state)
    observation, worth, over, cut, _ = env.step("exit_code() { return 7; }; exit_code")
    assert (observation["exit_code"], worth, over, cut) == (7, 0.0, False, False)
    assert env.step("sleep 60 & wait")[3]
    assert branch.step("echo $n")[0]["output"] == "41\n"
    check.reset()
    assert env.step("echo ${n-none}")[0]["output"] == "none\n"
    branch.close()
    env.close()
