"""run, terminals, background commands, popen and the async twins."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ckpt.compat.nitrobox import Sandbox, SandboxError

from .conftest import Maker


def test_run_merges_both_streams_in_order(kept: Sandbox) -> None:
    assert kept.run("echo one; echo two >&2; echo three") == ("one\ntwo\nthree\n", 0)
    assert kept.run("exit 7") == ("", 7)
    assert kept.run(["printf", "%s|", "a b", "$HOME"]) == ("a b|$HOME|", 0)
    assert kept.run("printf '\\x80ok'") == ("\\x80ok", 0)


def test_what_is_cut_off_is_said(kept: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    output, code = kept.run("head -c 40m /dev/zero | tr '\\0' x")
    assert (len(output), code) == (32 << 20, 0) and "32 MiB are kept" in caplog.text


def test_run_is_a_fresh_bash_in_the_working_directory(kept: Sandbox) -> None:
    assert kept.run("pwd; cd /; X=1; [[ -n $BASH ]]") == ("/workspace\n", 0)
    assert kept.run("echo $PWD-$X-") == ("/workspace--\n", 0)


def test_environment(make: Maker) -> None:
    assert make(environment={"MINE": "a b"}).run("echo $MINE-$HOME-$LANG-$TERM") == (
        "a b-/root-C.UTF-8-xterm-256color\n", 0,
    )  # fmt: skip
    box = make(environment={"TERM": "vt100"}, tty=True)
    assert box.run("echo $TERM-$NO_COLOR") == ("vt100-1\n", 0)


def test_timeout(kept: Sandbox) -> None:
    assert kept.run("echo before; sleep 60", timeout=1) == ("Command timed out after 1 seconds", 124)
    assert kept.run("pgrep -x sleep; echo still here") == ("still here\n", 0)
    assert kept.run("sleep 0.1; echo no limit", timeout=0) == ("no limit\n", 0)


def test_terminal(make: Maker) -> None:
    box = make(tty=True)
    assert box.run("test -t 0 && test -t 1 && echo yes") == ("yes\n", 0)
    assert box.run("false")[1] == 1
    box.write_stdin("typed before\n")
    assert box.run("read line; echo got $line") == ("got typed before\n", 0)
    answers: list[tuple[str, int]] = []
    waiting = threading.Thread(target=lambda: answers.append(box.run("read line; echo got $line")))
    waiting.start()
    time.sleep(0.3)
    box.write_stdin(b"typed meanwhile\n")
    waiting.join(30)
    assert answers == [("got typed meanwhile\n", 0)]
    assert box.run("sleep 60", timeout=1) == ("Command timed out after 1 seconds", 124)
    # One terminal is for one command at a time.
    with ThreadPoolExecutor(4) as pool:
        outputs = list(pool.map(box.run, [f"sleep 0.1; echo {number}" for number in range(4)]))
    assert outputs == [(f"{number}\n", 0) for number in range(4)]


def test_write_stdin_needs_a_terminal(kept: Sandbox) -> None:
    with pytest.raises(RuntimeError, match="tty"):
        kept.write_stdin("x")


def test_background(box: Sandbox) -> None:
    handle = box.run_background("pwd; echo err >&2; for i in 1 2; do echo $i; sleep 0.1; done")
    assert len(handle) == 8
    for _ in range(100):
        output, running = box.check_background(handle)
        if not running:
            break
        time.sleep(0.05)
    assert (output, running) == ("/workspace\nerr\n1\n2\n", False)
    other = box.run_background(["sleep", "600"])
    listed = box.list_background()
    assert set(listed) == {handle, other}
    assert listed[other]["running"] and not listed[handle]["running"]
    assert box.run(f"kill -0 {listed[other]['pid']}")[1] == 0
    assert box.stop_background(other) == "" and other not in box.list_background()
    assert box.run("pgrep -x sleep")[1] == 1
    assert box.stop_background(handle) == "/workspace\nerr\n1\n2\n"
    assert box.check_background("nobody") == ("", False) and box.stop_background("nobody") == ""


def test_background_goes_with_reset_and_comes_back_with_restore(box: Sandbox) -> None:
    handle = box.run_background("while :; do sleep 0.1; done")
    pid = box.list_background()[handle]["pid"]
    box.snapshot("with")
    box.stop_background(handle)
    box.restore("with")
    assert box.list_background() == {handle: {"pid": pid, "running": True}}
    box.reset()
    assert box.list_background() == {} and box.check_background(handle) == ("", False)


def test_popen(box: Sandbox) -> None:
    with box.popen("cat; echo done >&2; pwd; exit 3") as process:
        assert isinstance(process, subprocess.Popen)
        out, err = process.communicate(b"hello\n", timeout=30)
    assert (out, err, process.returncode) == (b"hello\n/workspace\n", b"done\n", 3)
    with box.popen(["python3", "-uc", "while True: print(input()[::-1])"], text=True) as echo:
        for word in ("abc", "def"):
            echo.stdin.write(word + "\n")
            echo.stdin.flush()
            assert echo.stdout.readline() == word[::-1] + "\n"
        echo.stdin.close()
        assert echo.wait(30) == 1 and "EOFError" in echo.stderr.read()
    done = box.popen(
        "echo $A; pwd", stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT, env={"A": "1"}, cwd="/"
    )
    assert done.communicate(timeout=30) == (b"1\n/\n", None)


def test_popen_signals(box: Sandbox) -> None:
    with box.popen("trap 'echo term; exit 5' TERM; echo up; while :; do sleep 0.05; done") as process:
        assert process.stdout.readline() == b"up\n"
        process.terminate()
        assert process.communicate(timeout=30)[0] == b"term\n" and process.returncode == 5
    with box.popen("trap '' TERM INT; echo up; sleep 600 & sleep 600") as process:
        assert process.stdout.readline() == b"up\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.2)
        process.kill()
        assert process.wait(30) == 128 + signal.SIGKILL and process.poll() is not None
    # PID 1 reaps what lost its parent.
    for _ in range(100):
        left = box.run("pgrep -ax sleep")
        if left == ("", 1):
            break
        time.sleep(0.05)
    assert left == ("", 1)


def test_popen_of_what_throws_its_environment_away(box: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    with box.popen(["env", "-i", "sh", "-c", "echo up; exec sleep 600"]) as process:
        assert process.stdout.readline() == b"up\n"
        process.kill()
        assert process.wait(30) == -signal.SIGKILL and "runs on" in caplog.text
    box.run("pkill sleep")


def test_async_twins(box: Sandbox) -> None:
    async def everything() -> None:
        outputs = await asyncio.gather(*(box.arun(f"echo {number}") for number in range(8)))
        assert outputs == [(f"{number}\n", 0) for number in range(8)]
        assert (await box.arun("sleep 60", timeout=1))[1] == 124
        await box.arun("echo 1 > f")
        assert await box.asnapshot("one") == "one"
        await box.arun("echo 2 > f")
        await box.arestore("one")
        assert await box.arun("cat f") == ("1\n", 0)
        await box.areset()
        assert (await box.arun("cat f"))[1] == 1
        await box.adelete()

    asyncio.run(everything())
    with pytest.raises(SandboxError):
        box.run("true")


def test_dead_sandbox_is_not_replaced(box: Sandbox) -> None:
    box.run("echo 1 > f")
    box.snapshot()
    pid = int(Path(box.rootfs).parts[2])
    import os

    os.kill(pid, signal.SIGKILL)
    with pytest.raises(SandboxError):
        for _ in range(100):
            box.run("true")
            time.sleep(0.02)
    box.restore()
    assert box.run("cat f") == ("1\n", 0)
