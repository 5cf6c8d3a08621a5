"""The death of a sandbox is told from the failure of a task, and nothing takes its place by itself."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import threading
import time

import pytest

import ckpt


def kill(sb: ckpt.Sandbox) -> None:
    os.kill(sb.info().pid, signal.SIGKILL)


def test_a_dead_sandbox_says_so_everywhere(sb: ckpt.Sandbox) -> None:
    snapshot = sb.save()
    kill(sb)
    calls = [
        lambda: sb.exec("true"),
        lambda: sb.save(),
        lambda: sb.files.read("/etc/hostname"),
        lambda: sb.files.write("/root/x", "x"),
        lambda: sb.files.list("/"),
        lambda: sb.stream("true"),
        lambda: sb.session().exec("true"),
        lambda: sb.start("true"),
        lambda: sb.python(),
        lambda: sb.stats(),
    ]
    for call in calls:
        with pytest.raises(ckpt.SandboxDied) as died:
            call()
        assert died.value.sandbox == sb.name and died.value.last_snapshot == snapshot.id
    assert sb.info().state == "dead"
    error = pickle.loads(pickle.dumps(died.value))
    assert error.last_snapshot == snapshot.id and str(error) == str(died.value)
    sb.restore()
    assert sb.exec("echo again").stdout == "again\n"
    sb.remove()
    snapshot.delete()


def test_death_in_the_middle_of_a_command(sb: ckpt.Sandbox) -> None:
    killer = threading.Timer(0.3, kill, (sb,))
    killer.start()
    with pytest.raises(ckpt.SandboxDied) as died:
        sb.exec("sleep 100")
    killer.join()
    assert died.value.last_snapshot is None


def test_death_in_the_middle_of_a_stream(sb: ckpt.Sandbox) -> None:
    stream = sb.stream("echo begun; sleep 100")
    assert stream.read().data == b"begun\n"
    kill(sb)
    with pytest.raises(ckpt.SandboxDied):
        stream.read()


def test_a_failing_command_is_no_death(sb: ckpt.Sandbox) -> None:
    with pytest.raises(ckpt.CommandError):
        sb.exec("kill -9 $$", check=True)
    assert sb.info().state == "running"


def test_servers_are_replaced_while_a_command_runs(sb: ckpt.Sandbox) -> None:
    counted: list[str] = []
    script = "for i in $(seq 60); do echo $i; sleep 0.05; done"
    caller = threading.Thread(target=lambda: counted.append(sb.exec(script).stdout))
    caller.start()
    pids = {ckpt.Client().version().pid}
    for _ in range(2):
        time.sleep(0.3)
        subprocess.run([os.environ["CKPT_BIN"], "serve", "--upgrade"], check=True, capture_output=True)
        pids.add(ckpt.Client().version().pid)
    caller.join()
    assert counted == ["".join(f"{number}\n" for number in range(1, 61))] and len(pids) == 3
