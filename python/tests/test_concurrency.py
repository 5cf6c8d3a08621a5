"""Threads, event loops, forked and spawned processes."""

from __future__ import annotations

import asyncio
import concurrent.futures
import io
import multiprocessing
import os
import resource
import signal
import subprocess
import tarfile
import time

import pytest

import ckpt

MANY = 250


def test_threads_share_a_sandbox(sb: ckpt.Sandbox) -> None:
    def work(number: int) -> str:
        return sb.exec(f"echo {number}").stdout

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert list(pool.map(work, range(100))) == [f"{n}\n" for n in range(100)]


def test_a_fresh_client_is_shared_from_its_first_call(sb: ckpt.Sandbox) -> None:
    client = ckpt.Client()
    same = ckpt.Sandbox(sb.name, client)
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        said = list(pool.map(lambda number: same.exec(f"sleep 0.01; echo {number}").stdout, range(64)))
    client.close()
    assert said == [f"{n}\n" for n in range(64)]

    async def scenario() -> list[str]:
        fresh = ckpt.AsyncSandbox(sb.name, ckpt.AsyncClient())
        results = await asyncio.gather(*(fresh.exec(f"sleep 0.01; echo {number}") for number in range(64)))
        return [result.stdout for result in results]

    assert asyncio.run(scenario()) == said


def in_child(sb: ckpt.Sandbox, number: int) -> str:
    return sb.exec(f"echo {number}").stdout


def test_a_forked_child_has_connections_of_its_own(sb: ckpt.Sandbox) -> None:
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: sb.exec("true"), range(8)))
    children = []
    for number in range(4):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            said = "".join(in_child(sb, number * 100 + n) for n in range(20))
            os.write(writing, said.encode())
            os._exit(0)
        os.close(writing)
        children.append((child, reading))
    own = [in_child(sb, 1000 + n) for n in range(40)]
    assert own == [f"{1000 + n}\n" for n in range(40)]
    for number, (child, reading) in enumerate(children):
        with os.fdopen(reading, "rb") as pipe:
            assert pipe.read().decode() == "".join(f"{number * 100 + n}\n" for n in range(20))
        assert os.waitpid(child, 0)[1] == 0


def test_a_forked_child_removes_nothing_of_its_parent() -> None:
    with ckpt.Sandbox.create() as sb:
        child = os.fork()
        if child == 0:
            with sb:
                pass
            os._exit(0)
        os.waitpid(child, 0)
        assert sb.exec("echo alive").stdout == "alive\n"


def test_an_interrupted_call_kills_its_command(sb: ckpt.Sandbox) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    with pytest.raises(KeyboardInterrupt):
        sb.exec("sleep 4322")
    signal.signal(signal.SIGALRM, previous)
    for _ in range(100):
        if sb.exec("sleep 0.02; pgrep -f 'sleep 432[2]'").exit_code == 1:
            return
    pytest.fail("the command runs on")


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_sandboxes_go_to_worker_processes(sb: ckpt.Sandbox, method: str) -> None:
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.starmap(in_child, [(sb, n) for n in range(8)]) == [f"{n}\n" for n in range(8)]


def test_many_sandboxes_in_one_loop() -> None:
    async def one(number: int) -> str:
        async with ckpt.AsyncSandbox.create(name=f"many-{number}") as sb:
            shell = sb.session()
            await shell.exec(f"x={number}")
            return (await shell.exec("echo $x")).stdout

    async def all_of_them() -> list[str]:
        return await asyncio.gather(*(one(number) for number in range(MANY)))

    assert asyncio.run(all_of_them()) == [f"{n}\n" for n in range(MANY)]


def test_waiting_in_one_sandbox_holds_no_other_up() -> None:
    async def scenario() -> float:
        async with ckpt.AsyncSandbox.create() as slow, ckpt.AsyncSandbox.create() as fast:
            waiting = asyncio.create_task(slow.exec("sleep 3"))
            await asyncio.sleep(0.05)
            for number in range(10):
                assert (await fast.exec(f"echo {number}")).stdout == f"{number}\n"
            assert not waiting.done()
            waiting.cancel()
            return time.monotonic()

    asyncio.run(scenario())


def test_a_cancelled_task_kills_its_command() -> None:
    async def scenario() -> None:
        async with ckpt.AsyncSandbox.create() as sb:
            task = asyncio.create_task(sb.exec("sleep 4321"))
            while (await sb.exec("sleep 0.02; pgrep -f 'sleep 432[1]'")).exit_code != 0:
                pass
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            for _ in range(100):
                if (await sb.exec("pgrep -f 'sleep 432[1]'")).exit_code == 1:
                    return
                await asyncio.sleep(0.02)
            pytest.fail("the command runs on")

    asyncio.run(scenario())


def test_a_cancelled_task_leaves_a_session_to_the_next(sb: ckpt.Sandbox) -> None:
    async def scenario() -> None:
        same = ckpt.AsyncSandbox(sb.name)
        shell, py = same.session(), await same.python()
        await shell.exec("n=41")
        for endless in ("sleep 4329; n=0", "while :; do :; done; n=0", "(sleep 4328); n=0"):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(shell.exec(endless), 0.5)
            assert (await shell.exec("echo $((n + 1))", timeout=60)).stdout == "42\n"
        assert (await same.exec("pgrep -f 'sleep 432[89]'")).exit_code == 1
        await py.run("n = 41")
        for endless in ("import time; time.sleep(4327); n = 0", "while True: pass"):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(py.run(endless), 0.5)
            assert await py.eval("n + 1", timeout=60) == 42

    asyncio.run(scenario())


def test_one_object_in_two_loops(sb: ckpt.Sandbox) -> None:
    same = ckpt.AsyncSandbox(sb.name)

    async def scenario() -> str:
        return (await same.exec("echo hi")).stdout

    assert [asyncio.run(scenario()) for _ in range(2)] == ["hi\n", "hi\n"]


def test_the_async_door_does_what_the_other_does(tmp_path) -> None:
    async def scenario() -> None:
        sb = await ckpt.AsyncSandbox.create()
        async with sb:
            await sb.files.write("/root/x", b"1" * 400_000)
            assert len(await sb.files.read("/root/x")) == 400_000
            assert (await sb.files.copy_out("/root/x", tmp_path)).stat().st_size == 400_000
            await sb.files.copy_in(tmp_path / "x", "/root/y")
            snapshot = await sb.save("async")
            py = await sb.python()
            assert await py.eval("1 + 1") == 2
            stream = await sb.stream(["cat"], stdin=True)
            await stream.write(b"z" * 1_000_000)
            await stream.close_stdin()
            assert len((await stream.collect())[0]) == 1_000_000
            forks = await snapshot.fork(2)
            for fork in forks:
                assert await fork.files.exists("/root/y")
                await fork.remove()
            await sb.restore("async")
            assert [each.id for each in await ckpt.AsyncTree().path("async")] == [snapshot.id]
        await snapshot.delete()
        ckpt.AsyncClient.default().close()

    asyncio.run(scenario())


def test_a_loop_that_saw_no_server_end_sends_and_receives_files(sb: ckpt.Sandbox) -> None:
    """A connection that it kept is closed, which it has not heard of yet."""

    tar = b"".join(sb.files.pack("/etc/hostname"))

    def stop() -> None:
        subprocess.run([os.environ["CKPT_BIN"], "serve", "--stop"], check=True, capture_output=True)

    async def scenario() -> bytes:
        same = ckpt.AsyncSandbox(sb.name)
        await same.info()
        stop()
        await same.files.unpack(io.BytesIO(tar), "/srv")
        await same.info()
        stop()
        return b"".join([piece async for piece in same.files.pack("/srv")])

    with tarfile.open(fileobj=io.BytesIO(asyncio.run(scenario()))) as archive:
        assert "srv/hostname" in archive.getnames()


def test_more_commands_at_once_than_a_server_takes_connections(tmp_path) -> None:
    """Half of a server's descriptors are for clients: here it takes 100 connections, and none is cut off."""

    def few_descriptors() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))

    commands = [os.environ["CKPT_BIN"], "serve", "--root", str(tmp_path)]
    with subprocess.Popen(commands, preexec_fn=few_descriptors, stderr=subprocess.DEVNULL) as server:
        while not (tmp_path / "server.sock").exists():
            assert server.poll() is None
            time.sleep(0.02)
        client = ckpt.AsyncClient(tmp_path, start=False)

        async def one(sb: ckpt.AsyncSandbox, number: int) -> str:
            if number % 3:
                return (await sb.exec(f"sleep 0.5; echo {number}", check=True)).stdout
            async with await sb.stream(f"sleep 0.5; echo {number}") as stream:
                return (await stream.collect())[0].decode()

        async def all_of_them() -> list[str]:
            # PID 1 of each has as few descriptors, and three for each command.
            boxes = [await ckpt.AsyncSandbox.create(client=client) for _ in range(10)]
            said = await asyncio.gather(*(one(boxes[number % 10], number) for number in range(MANY)))
            for sb in boxes:
                await sb.remove()
            return said

        try:
            assert asyncio.run(all_of_them()) == [f"{number}\n" for number in range(MANY)]
        finally:
            ckpt.Client(tmp_path, start=False).shutdown()


def test_a_sandbox_takes_commands_from_many_for_a_long_time(sb: ckpt.Sandbox) -> None:
    """Exits are kept for whoever asks again, and leave room for what many callers start at once."""

    async def one(same: ckpt.AsyncSandbox) -> None:
        for number in range(40):
            assert (await same.exec(["echo", str(number)])).stdout == f"{number}\n"

    async def all_of_them() -> None:
        same = ckpt.AsyncSandbox(sb.name)
        await asyncio.gather(*(one(same) for _ in range(60)))

    asyncio.run(all_of_them())
