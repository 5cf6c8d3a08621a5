"""Deep Agents over a sandbox, its own graph with a scripted model; and what deepagents_sandbox has."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from deepagents import create_deep_agent
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, ToolMessage

import ckpt
from ckpt.adapters.deepagents import NativeSandbox, Sandbox, SandboxConfig


@pytest.fixture(scope="module")
def backend() -> Iterator[Sandbox]:
    with Sandbox(SandboxConfig(max_output_bytes=1000)) as made:
        yield made


class Scripted(GenericFakeChatModel):
    """Takes any tools, and calls those that its script says."""

    def bind_tools(self, *_: Any, **__: Any) -> Scripted:
        return self


def calls(*steps: tuple[str, dict[str, Any]]) -> Scripted:
    messages = [
        AIMessage("", tool_calls=[{"name": name, "args": arguments, "id": f"call-{number}"}])
        for number, (name, arguments) in enumerate(steps)
    ]
    return Scripted(messages=iter([*messages, AIMessage("done")]))


def test_an_agent_works_breaks_things_and_rolls_back(backend: Sandbox) -> None:
    model = calls(
        ("write_file", {"file_path": "/workspace/task.py", "content": "print(6 * 7)\n"}),
        ("checkpoint", {"message": "before the risky part"}),
        ("execute", {"command": "rm task.py; nohup sleep 1000 >/dev/null 2>&1 & echo broken"}),
        ("rollback", {"checkpoint": "nothing"}),
        ("rollback", {}),
        ("edit_file", {"file_path": "/workspace/task.py", "old_string": "6", "new_string": "60"}),
        ("execute", {"command": "python3 task.py; pgrep -c sleep; exit 3"}),
        ("grep", {"pattern": "print", "path": "/workspace"}),
        ("read_file", {"file_path": "/workspace/task.py"}),
    )
    agent = create_deep_agent(model=model, backend=backend, tools=backend.tools())
    said = agent.invoke({"messages": [("user", "go")]}, {"recursion_limit": 100})["messages"]
    results = [str(message.content) for message in said if isinstance(message, ToolMessage)]
    assert said[-1].content == "done" and len(results) == 9
    assert results[1].startswith("checkpoint ") and "broken" in results[2]
    assert "is no checkpoint" in results[3] and results[1].split()[1] in results[4]
    assert "420" in results[6] and "\n0\n" in results[6] and "3" in results[6]
    assert "/workspace/task.py" in results[7] and "print(60 * 7)" in results[8]
    snapshot = backend.sandbox.snapshot()
    assert snapshot is not None and snapshot.message == "before the risky part"


def test_commands_run_as_a_user_with_caps_and_timeouts(backend: Sandbox) -> None:
    done = backend.execute("id -u; pwd; echo $HOME $TMPDIR; echo err >&2")
    assert (done.output, done.exit_code) == ("1000\n/workspace\n/workspace /tmp\n\nerr\n", 0)
    assert backend.execute("touch /etc/x").exit_code == 1
    long = backend.execute("head -c 5000 /dev/zero | tr '\\0' x")
    assert long.truncated and len(long.output) == 1000
    late = backend.execute("echo begun; sleep 60", timeout=1)
    assert (late.output, late.exit_code) == ("begun\n", -1)


def test_files_and_their_error_codes(backend: Sandbox) -> None:
    backend.execute("mkdir -p d; ln -s /etc/passwd out; echo secret > hidden; chmod 0 hidden")
    up = [
        ("/workspace/a/b.bin", b"\x00\xff"),
        ("/tmp/t", b"t"),
        ("/etc/x", b""),
        ("x", b""),
        ("/workspace/d", b""),
        ("/workspace/../etc/x", b""),
        ("/workspace/out", b"root::0:0"),
    ]
    codes = [response.error for response in backend.upload_files(up)]
    assert codes[:5] == [None, None, "permission_denied", "invalid_path", "is_directory"]
    assert codes[5] in ("invalid_path", "permission_denied") and codes[6] == "permission_denied"
    down = backend.download_files(
        ["/workspace/a/b.bin", "/tmp/t", "/workspace/none", "/workspace/hidden", "/tmp", "/etc/passwd", "rel"]
    )
    assert [response.content for response in down[:2]] == [b"\x00\xff", b"t"]
    assert [response.error for response in down[2:]] == [
        "file_not_found",
        "permission_denied",
        "is_directory",
        "permission_denied",
        "invalid_path",
    ]
    assert backend.execute("stat -c %u a/b.bin").output == "1000\n"


@pytest.mark.anyio
async def test_the_native_surface() -> None:
    config = SandboxConfig(memory_limit_mb=256, max_pids=64, extra_env={"MODE": "test"}, timeout_seconds=1)
    native = NativeSandbox(config)
    with pytest.raises(RuntimeError):
        await native.execute("true")
    async with native:
        assert (await native.upload_files([("d/f", b"1")]))[0].success
        results = await native.download_files(["d/f", "../x", "/abs", "none", "d"])
        assert [result.content for result in results] == [b"1", None, None, None, None]
        assert [result.error for result in results[1:]] == [
            "Path escapes workspace: ../x",
            "Path must be relative to the workspace: /abs",
            "No such file or directory",
            "Is a directory",
        ]
        done = await native.execute("echo $MODE; echo err >&2; exit 7")
        assert (done.exit_code, done.stdout, done.stderr, done.timed_out) == (7, "test\n", "err\n", False)
        late = await native.execute("sleep 60")
        assert (late.exit_code, late.timed_out) == (-1, True)
        eater = "python3 -c 'x = bytearray(1 << 30); print(len(x))'"
        assert (await native.execute(eater, timeout=30)).oom_killed
        for wrong in ("", "a\0b"):
            with pytest.raises(ValueError):
                await native.execute(wrong)


def test_a_dead_sandbox_is_no_output() -> None:
    with Sandbox() as backend:
        os.kill(backend.sandbox.info().pid or 0, 9)
        with pytest.raises(ckpt.SandboxDied):
            backend.execute("true")
    with pytest.raises(RuntimeError):
        backend.execute("true")
