"""Commands that are followed while they run, and jobs."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
import time

import pytest

import ckpt


def test_output_comes_as_it_is_printed(shared: ckpt.Sandbox) -> None:
    stream = shared.stream("echo one; read x; echo two $x >&2; exit 4", stdin=True)
    assert stream.read() == ckpt.Output("stdout", b"one\n")
    stream.write("go\n")
    assert stream.read() == ckpt.Output("stderr", b"two go\n")
    assert stream.read() is None
    assert stream.result.exit_code == 4 and stream.ended
    with pytest.raises(BrokenPipeError):
        stream.write("more")


def test_much_goes_both_ways_in_one_thread(shared: ckpt.Sandbox) -> None:
    stream = shared.stream(["cat"], stdin=True)
    data = os.urandom(2 << 20)
    stream.write(data)
    stream.close_stdin()
    assert stream.collect() == (data, b"")
    assert stream.result.ok


def test_a_reader_and_a_writer_in_two_threads(shared: ckpt.Sandbox) -> None:
    stream = shared.stream(["cat"], stdin=True)
    data = os.urandom(1 << 20)

    def write() -> None:
        for start in range(0, len(data), 100_000):
            stream.write(data[start : start + 100_000])
        stream.close_stdin()

    writer = threading.Thread(target=write)
    writer.start()
    out, _ = stream.collect()
    writer.join()
    assert out == data


def test_signals_and_terminals(shared: ckpt.Sandbox) -> None:
    script = "trap 'stty size; exit 5' INT; stty size; while :; do sleep 0.02; done"
    stream = shared.stream(script, tty=True, rows=10, columns=33)
    said = b""
    while b"10 33" not in said:
        said += stream.read().data
    stream.resize(20, 44)
    stream.signal(signal.SIGINT)
    assert b"20 44" in stream.collect()[0]
    assert stream.result.exit_code == 5


def test_leaving_a_stream_leaves_the_command(shared: ckpt.Sandbox) -> None:
    with shared.stream("echo begun; sleep 0.4; echo done", id="left") as stream:
        stream.read()
    with pytest.raises(ckpt.Cancelled):
        stream.read()
    again = shared.stream("ignored", id="left")
    assert again.collect()[0].endswith(b"done\n")


def test_a_timeout_ends_it(shared: ckpt.Sandbox) -> None:
    stream = shared.stream("echo x; sleep 60", timeout=0.2)
    assert stream.collect() == (b"x\n", b"")
    assert stream.result.timed_out


def test_a_killed_server_loses_no_byte(sb: ckpt.Sandbox) -> None:
    stream = sb.stream("for i in $(seq 1 60); do echo $i; sleep 0.02; done; cat", stdin=True)
    said = stream.read().data
    os.kill(ckpt.Client.default().version().pid, signal.SIGKILL)
    for output in stream:
        said += output.data
        if b"60\n" in said:
            break
    stream.write(b"and on")
    stream.close_stdin()
    rest, _ = stream.collect()
    assert said + rest == b"".join(b"%d\n" % n for n in range(1, 61)) + b"and on"


def test_what_has_arrived_is_read_though_nothing_can_be_sent(sb: ckpt.Sandbox) -> None:
    def stand_still() -> None:
        """The answer comes meanwhile, and the server goes."""
        time.sleep(0.5)
        subprocess.run([os.environ["CKPT_BIN"], "serve", "--stop"], check=True, capture_output=True)

    async def main() -> bytes:
        stream = await ckpt.AsyncSandbox(sb.name).stream(["cat"], stdin=True)
        await stream.write(b"first ")
        stand_still()
        await stream.write(b"second")
        await stream.close_stdin()
        return (await stream.collect())[0]

    assert asyncio.run(main()) == b"first second"


def test_a_call_survives_a_killed_server(sb: ckpt.Sandbox) -> None:
    pid = ckpt.Client.default().version().pid
    killer = threading.Timer(0.3, os.kill, (pid, signal.SIGKILL))
    killer.start()
    result = sb.exec("echo once >> /root/times; sleep 1; cat /root/times")
    killer.join()
    assert result.stdout == "once\n", "the command was run once, and its output found again"


def test_jobs_run_on_and_are_rolled_back(sb: ckpt.Sandbox) -> None:
    job = sb.start("i=0; while sleep 0.02; do i=$((i+1)); echo $i; done", id="count")
    first = next(job.follow())
    assert first.startswith(b"1\n")
    kept = job.stdout()
    snapshot = sb.save()
    time.sleep(0.2)
    sb.restore(snapshot)
    assert sb.job("cou").id == "count" and sb.job("count").info.state == "running"
    assert job.stdout().startswith(kept)
    assert job.stop(signal.SIGKILL).signal == signal.SIGKILL
    assert [each.id for each in sb.jobs()] == ["count"]
    job.remove()
    with pytest.raises(ckpt.NotFound):
        job.refresh()
    sb.remove()
    snapshot.delete()


def test_a_job_is_waited_for(shared: ckpt.Sandbox) -> None:
    job = shared.start(["sh", "-c", "echo out; echo err >&2; sleep 0.1; exit 9"])
    assert job.wait().exit_code == 9
    assert (job.stdout(), job.stderr()) == ("out\n", "err\n")
    assert b"".join(job.follow()) == b"out\n"


def test_files_are_written_whole_while_servers_are_killed(sb: ckpt.Sandbox) -> None:
    data = [bytes([number]) * 300_000 for number in range(60)]
    pids = [ckpt.Client.default().version().pid]

    def kill() -> None:
        for _ in range(3):
            time.sleep(0.15)
            pids.append(ckpt.Client().version().pid)
            os.kill(pids[-1], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    for number, content in enumerate(data):
        sb.files.write(f"/root/{number}", content)
        time.sleep(0.01)
    killer.join()
    assert [sb.files.read(f"/root/{number}") for number in range(len(data))] == data
    assert len(set(pids)) == 3
