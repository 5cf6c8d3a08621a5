"""What a newcomer gets wrong is answered with cause and remedy."""

from __future__ import annotations

import math
import pickle
import resource

import pytest

import ckpt


@pytest.mark.parametrize(
    ("option", "meant"),
    [("memroy", "memory"), ("mem_limit", "memory"), ("working_dir", "workdir"), ("network_mode", "net")],
)
def test_an_option_that_is_called_otherwise(option: str, meant: str) -> None:
    with pytest.raises(ckpt.InvalidOption, match=f"there is no option {option}") as refused:
        ckpt.Sandbox.create(**{option: "1"})
    assert refused.value.hint == f"did you mean {meant}?"


def test_an_option_like_no_other() -> None:
    with pytest.raises(ckpt.InvalidOption) as refused:
        ckpt.Sandbox.create(xyzzy=1)
    assert "options.md" in refused.value.hint


def test_a_root_that_cannot_be_one(tmp_path) -> None:
    (tmp_path / "file").touch()
    for root in (tmp_path / "file", tmp_path / "file" / "below", "/proc/none"):
        with pytest.raises(ckpt.CkptError, match=str(root)) as refused:
            ckpt.Client(root).version()
        assert "choose another root" in refused.value.hint


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": math.inf},
        {"timeout": math.nan},
        {"timeout": 0},
        {"max_output": -1},
        {"env": {"A": "\udc80"}},
    ],
    ids=str,
)
def test_a_value_without_sense(shared: ckpt.Sandbox, options) -> None:
    with pytest.raises(ckpt.InvalidOption) as refused:
        shared.exec("true", **options)
    assert "no JSON" not in str(refused.value)


def test_words_that_are_no_texts_and_variables_without_a_value(shared: ckpt.Sandbox) -> None:
    with pytest.raises(ckpt.InvalidOption, match="texts, and not bytes"):
        shared.exec(["cat", b"/etc/hostname"])
    assert shared.exec("echo ${A-unset}", env={"A": None}).stdout == "unset\n"
    assert not shared.files.exists("/etc/passwd/below")


def test_a_client_that_starts_no_server_starts_none_elsewhere(tmp_path) -> None:
    client = pickle.loads(pickle.dumps(ckpt.Client(tmp_path, start=False)))
    with pytest.raises(ckpt.ServerUnavailable):
        client.version()


def test_what_is_not_there(shared: ckpt.Sandbox) -> None:
    with pytest.raises(ckpt.CommandFailed, match="exec nosuch: No such file"):
        shared.exec(["nosuch"], check=True)
    with pytest.raises(ckpt.CommandFailed, match="command not found"):
        shared.exec("nosuch", check=True)
    with pytest.raises(ckpt.SnapshotNotFound, match='no snapshot "before"') as missing:
        shared.restore("before")
    assert missing.value.hint
    with pytest.raises(ckpt.NotFound, match="root filesystem"):
        ckpt.Sandbox.create("python:3.11")


def test_no_descriptor_left() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    client = ckpt.Client(start=False)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(ckpt.ServerUnavailable) as refused:
            client.version()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "ulimit -n" in refused.value.hint
