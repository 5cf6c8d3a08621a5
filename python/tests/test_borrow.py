"""Sessions that are borrowed: their calls go to bash without the server."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

import ckpt


@pytest.fixture
def shell(shared: ckpt.Sandbox) -> Iterator[ckpt.BorrowedSession]:
    """A session that is borrowed already."""
    session = shared.session()
    session.exec("n=1")
    with session.borrow() as borrowed:
        borrowed.exec("true", check=True)
        assert borrowed._loan is not None
        yield borrowed
    session.close()


def test_a_call_is_what_it_is_in_a_session(shell: ckpt.BorrowedSession) -> None:
    shell.exec('cd /usr; n=$((n + 1)); f() { echo "f $1" >&2; return 3; }')
    result = shell.exec("pwd; echo $n; f x")
    assert (result.stdout, result.stderr, result.exit_code) == ("/usr\n2\n", "f x\n", 3)
    assert not (result.timed_out or result.oom_killed or result.truncated or result.signal)
    assert 0 < result.duration < 60 and result.command == "pwd; echo $n; f x"
    assert shell.exec(["printf", "%s|", "a b", "$n"]).stdout == "a b|$n|"
    assert shell.exec("echo $A; pwd", env={"A": "x y"}, cwd="/").stdout == "x y\n/\n"
    assert shell.exec("echo ${A-none}; pwd").stdout == "none\n/\n"
    assert shell.exec("if then").exit_code == 2
    assert shell.exec("set -x; set +x; cat").stdout == ""
    with pytest.raises(ckpt.CommandFailed, match="why") as failed:
        shell.exec("echo why >&2; (exit 9)", check=True)
    assert failed.value.result.exit_code == 9
    assert shell._loan is not None


def test_what_is_no_call_is_refused(shell: ckpt.BorrowedSession) -> None:
    for wrong in (
        {"timeout": 0},
        {"timeout": float("nan")},
        {"timeout": float("inf")},
        {"env": {"a b": "c"}},
    ):
        with pytest.raises(ckpt.InvalidOption):
            shell.exec("true", **wrong)
    for text in ("echo \0", "echo \udcff"):
        with pytest.raises(ckpt.InvalidOption):
            shell.exec(text)
    with pytest.raises(ckpt.InvalidOption):
        shell.exec(b"true")
    assert shell.exec("echo fine").stdout == "fine\n"


def test_much_output_arrives_whole(shell: ckpt.BorrowedSession) -> None:
    result = shell.exec(
        "head -c 1048576 /dev/zero; head -c 1048576 /dev/zero | tr '\\0' '\\377' >&2; (exit 4)"
    )
    assert result.stdout_bytes == bytes(1 << 20) and result.stderr_bytes == b"\xff" * (1 << 20)
    assert result.exit_code == 4
    both = shell.exec("for i in $(seq 20000); do echo $i; echo $i >&2; done")
    assert both.stdout == both.stderr == "".join(f"{n}\n" for n in range(1, 20001))
    assert shell.exec("true").stdout == ""


def test_a_short_text_after_a_long_one(shell: ckpt.BorrowedSession) -> None:
    lines = "".join(f"x{n}=ä{n}\n" for n in range(20000))
    assert len(lines) > 200_000 and shell.exec(lines + "echo $x19999").stdout == "ä19999\n"
    assert shell.exec("echo short").stdout == "short\n"


def test_bash_may_end(shell: ckpt.BorrowedSession) -> None:
    result = shell.exec("echo last; exit 3")
    assert (result.stdout, result.exit_code, result.timed_out) == ("last\n", 3, False)
    assert shell.exec("echo ${n-fresh}").stdout == "fresh\n"
    assert shell.exec("kill -KILL $$").exit_code == 137
    assert shell.exec("echo again").stdout == "again\n"


def test_a_timeout_kills_the_command_and_not_bash(shell: ckpt.BorrowedSession) -> None:
    late = shell.exec("echo begun; sleep 1234 & wait", timeout=0.3)
    assert late.timed_out and late.exit_code == 124 and late.stdout == "begun\n"
    assert 0.3 <= late.duration < 10
    assert shell._session._sandbox.exec("pgrep -f 'sleep 123[4]'").exit_code == 1
    assert shell.exec("echo $n", timeout=60).stdout == "1\n"
    with pytest.raises(ckpt.CommandTimeout) as raised:
        shell.exec("n=2; echo part; sleep 60", timeout=0.2, check=True)
    assert raised.value.stdout == "part\n"
    assert shell.exec("echo $n").stdout == "2\n"


def test_a_background_job_holds_nothing_up(shell: ckpt.BorrowedSession) -> None:
    assert shell.exec("sleep 100 & echo $! > /tmp/job").ok
    assert shell.exec("yes & sleep 0.2; kill $!; wait $!").stdout.startswith("y\ny\n")
    assert shell.exec("kill $(cat /tmp/job); echo gone").stdout.endswith("gone\n")


def test_bash_may_close_its_output(shell: ckpt.BorrowedSession) -> None:
    assert shell.exec("exec >/dev/null; echo lost; echo kept >&2; sleep 0.1").stderr == "kept\n"
    assert shell.exec("echo still >&2").stderr == "still\n"


def test_somebody_elses_call_comes_at_once(shell: ckpt.BorrowedSession) -> None:
    other = shell._session._sandbox.session(shell.name)
    for number in range(10):
        assert shell.exec(f"n={number}; echo mine").stdout == "mine\n"
        assert other.exec("echo $n").stdout == f"{number}\n"
    assert shell.exec("echo $n").stdout == "9\n" and shell._loan is not None


def test_two_borrowers_get_their_own(shell: ckpt.BorrowedSession) -> None:
    failures = []

    def work(name: str) -> None:
        try:
            with shell._session.borrow() as borrowed:
                for number in range(50):
                    assert borrowed.exec(f"echo {name} {number}; ls /nowhere").stdout == f"{name} {number}\n"
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_threads_take_turns(shell: ckpt.BorrowedSession) -> None:
    said: dict[int, str] = {}

    def work(number: int) -> None:
        said[number] = shell.exec(f"echo {number}").stdout

    threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == {number: f"{number}\n" for number in range(20)}


def test_a_save_stops_a_call_and_it_goes_on(sb: ckpt.Sandbox) -> None:
    with sb.session("main").borrow() as shell:
        shell.exec("n=1")
        assert shell.exec("echo $n").stdout == "1\n"
        results: list[ckpt.Result] = []
        thread = threading.Thread(target=lambda: results.append(shell.exec("echo a; sleep 1; echo done")))
        thread.start()
        time.sleep(0.3)
        snapshot = sb.save()
        thread.join()
        assert results[0].stdout == "a\ndone\n" and results[0].ok
        assert shell.exec("echo $n").stdout == "1\n" and shell._loan is not None
        # In the fork nobody has borrowed it, and its call goes on for nobody.
        (fork,) = snapshot.fork(1)
        with fork, fork.session("main").borrow() as other:
            assert other.exec("echo $n; n=2").stdout == "1\n"
            assert other.exec("echo $n").stdout == "2\n"
        assert shell.exec("echo $n").stdout == "1\n"
    sb.remove()
    snapshot.delete()


def test_a_restore_between_calls_is_not_noticed(sb: ckpt.Sandbox) -> None:
    with sb.session("main").borrow() as shell:
        shell.exec("n=1")
        shell.exec("cd /usr")
        snapshot = sb.save()
        shell.exec("n=2; cd /")
        for _ in range(3):
            sb.restore(snapshot)
            assert shell.exec("echo $n; pwd; n=2").stdout == "1\n/usr\n"
            assert shell.exec("echo $n").stdout == "2\n"
    sb.remove()
    snapshot.delete()


def test_a_restore_under_a_call_is_an_error(sb: ckpt.Sandbox) -> None:
    with sb.session("main").borrow() as shell:
        shell.exec("n=1")
        shell.exec("true")
        snapshot = sb.save()
        failed = during(shell, "n=2; sleep 100", lambda: sb.restore(snapshot))
        assert isinstance(failed, ckpt.WrongState) and "rolled back" in str(failed)
        assert shell.exec("echo $n").stdout == "1\n"
        assert shell.exec("true").ok and shell._loan is not None
    sb.remove()
    snapshot.delete()


def test_a_sandbox_that_goes_under_a_call() -> None:
    with ckpt.Sandbox.create() as sb, sb.session("main").borrow() as shell:
        shell.exec("true")
        assert isinstance(during(shell, "sleep 100", sb.remove), ckpt.WrongState)
        with pytest.raises(ckpt.SandboxNotFound):
            shell.exec("true")


def test_a_sandbox_that_dies_under_a_call(sb: ckpt.Sandbox) -> None:
    with sb.session("main").borrow() as shell:
        shell.exec("true")
        pid = sb.info().pid
        assert isinstance(during(shell, "sleep 100", lambda: os.kill(pid, signal.SIGKILL)), ckpt.SandboxDied)


def during(shell: ckpt.BorrowedSession, command: str, act) -> BaseException | None:
    """What a call raises while something is done to its sandbox."""
    raised: list[BaseException] = []

    def call() -> None:
        try:
            shell.exec(command)
        except BaseException as error:
            raised.append(error)

    shell.exec("true")
    assert shell._loan is not None
    thread = threading.Thread(target=call)
    thread.start()
    time.sleep(0.3)
    act()
    thread.join()
    return raised[0] if raised else None


def test_a_server_that_is_replaced(sb: ckpt.Sandbox) -> None:
    with sb.session("main").borrow() as shell:
        shell.exec("n=1")
        shell.exec("true")
        pid = ckpt.Client().version().pid
        thread = threading.Timer(0.3, os.kill, (pid, signal.SIGKILL))
        thread.start()
        assert shell.exec("sleep 0.6; echo done").stdout == "done\n"
        thread.join()
        for _ in range(3):
            assert shell.exec("echo $n").stdout == "1\n"
        assert shell._loan is not None and ckpt.Client().version().pid != pid


def test_a_long_call_survives_its_server(sb: ckpt.Sandbox) -> None:
    shell = sb.session()
    shell.exec("n=1")
    with shell.borrow() as borrowed:
        borrowed.exec("true", check=True)
        pid = ckpt.Client.default().version().pid
        killer = threading.Timer(0.3, os.kill, (pid, signal.SIGKILL))
        killer.start()
        result = borrowed.exec("echo begun; sleep 2; echo $n", check=True)
        killer.join()
        assert result.stdout == "begun\n1\n"
        assert borrowed.exec("echo $n", check=True).stdout == "1\n"


def test_a_paused_sandbox_is_told_of(sb: ckpt.Sandbox) -> None:
    shell = sb.session()
    shell.exec("n=1")
    with shell.borrow() as borrowed:
        borrowed.exec("true", check=True)
        sb.pause()
        with pytest.raises(ckpt.WrongState, match="is paused"):
            borrowed.exec("n=2")
        sb.unpause()
        assert borrowed.exec("echo $n").stdout == "1\n"


def test_a_forked_child_holds_no_lock(shell: ckpt.BorrowedSession) -> None:
    child = threading.Timer(0.2, lambda: children.append(fork_and_sleep()))
    children: list[int] = []
    child.start()
    assert shell.exec("sleep 0.5; echo done").stdout == "done\n"
    child.join()
    try:
        assert shell._session.exec("echo other").stdout == "other\n"
        assert os.waitpid(children[0], os.WNOHANG) == (0, 0), "not only because the child has ended"
    finally:
        os.kill(children[0], signal.SIGKILL)
        os.waitpid(children[0], 0)


def fork_and_sleep() -> int:
    pid = os.fork()
    if pid == 0:
        time.sleep(40)
        os._exit(0)
    return pid


def test_closing_gives_it_back(shell: ckpt.BorrowedSession) -> None:
    session = shell._session
    shell.close()
    assert session.exec("echo $n").stdout == "1\n"
    with pytest.raises(ckpt.WrongState, match="given back"):
        shell.exec("true")
    shell.close()


ABANDONS = """
import ckpt, sys
shell = ckpt.Sandbox(sys.argv[1]).session(sys.argv[2]).borrow()
assert shell.exec("true").ok and shell._loan is not None
print("ready", flush=True)
shell.exec("echo stale; sleep 4321; n=2")
"""


def test_what_a_killed_borrower_left_is_nobodys(shell: ckpt.BorrowedSession) -> None:
    shell.close()
    words = [sys.executable, "-c", ABANDONS, shell._session._sandbox.name, shell.name]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as borrower:
        borrower.stdout.readline()
        time.sleep(0.2)
        borrower.kill()
    # Its call is ended, as one is whose caller goes away.
    assert shell._session.exec("echo $n own").stdout == "1 own\n"


def test_a_forked_child_borrows_for_itself(shell: ckpt.BorrowedSession) -> None:
    child = os.fork()
    if child == 0:
        said = shell.exec("echo $n; n=2").stdout
        os._exit(0 if said == "1\n" else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert shell.exec("echo $n").stdout == "2\n"


def test_an_interrupt_kills_the_command(shell: ckpt.BorrowedSession) -> None:
    # To the main thread: the kernel may pick another, and what waits here would not hear of it.
    timer = threading.Timer(0.3, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        shell.exec("echo stale; sleep 4321")
    timer.join()
    assert shell.exec("echo $n").stdout == "1\n"
    assert shell._session._sandbox.exec("pgrep -f 'sleep 432[1]'").exit_code == 1


def test_no_descriptor_is_lost(shared: ckpt.Sandbox) -> None:
    session = shared.session()
    session.exec("true")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with session.borrow() as shell:
            shell.exec("true")
            assert len(os.listdir("/proc/self/fd")) > before
            assert all(not os.get_inheritable(fd) for fd in shell._loan._descriptors)
            shell.exec("sleep 60", timeout=0.05)
            shell.exec("true")
    dropped = session.borrow()
    dropped.exec("true")
    del dropped, shell
    gc.collect()
    ckpt.Client.default().close()
    assert len(os.listdir("/proc/self/fd")) <= before
    session.close()


def test_coroutines_borrow_too(shared: ckpt.Sandbox) -> None:
    async def scenario() -> None:
        session = ckpt.AsyncSandbox(shared.name).session("async")
        async with session.borrow() as shell:
            await shell.exec("n=1")
            results = await asyncio.gather(*(shell.exec(f"echo {number}; n=1") for number in range(20)))
            assert [result.stdout for result in results] == [f"{number}\n" for number in range(20)]
            assert shell._loan is not None
            much = await shell.exec("head -c 1048576 /dev/zero; head -c 1048576 /dev/zero >&2; (exit 5)")
            assert (len(much.stdout_bytes), len(much.stderr_bytes), much.exit_code) == (1 << 20, 1 << 20, 5)
            ticks = 0
            waiting = asyncio.ensure_future(shell.exec("sleep 0.5; echo $n"))
            while not waiting.done():
                await asyncio.sleep(0.01)
                ticks += 1
            assert (await waiting).stdout == "1\n" and ticks > 10
            late = await shell.exec("echo part; sleep 60", timeout=0.2)
            assert late.timed_out and late.stdout == "part\n"
            assert (await shell.exec("echo $n; exit 7")).exit_code == 7
        assert (await session.exec("echo fresh")).stdout == "fresh\n"
        await session.close()

    asyncio.run(scenario())


def test_a_cancelled_task_kills_its_command(shared: ckpt.Sandbox) -> None:
    async def scenario() -> None:
        session = ckpt.AsyncSandbox(shared.name).session("cancelled")
        async with session.borrow() as shell:
            await shell.exec("n=1")
            await shell.exec("true")
            for _ in range(3):
                task = asyncio.ensure_future(shell.exec("echo stale; sleep 5432"))
                await asyncio.sleep(0.2)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert (await asyncio.wait_for(shell.exec("echo $n"), 30)).stdout == "1\n"
        assert (await ckpt.AsyncSandbox(shared.name).exec("pgrep -f 'sleep 543[2]'")).exit_code == 1
        await session.close()

    asyncio.run(scenario())


def test_a_coroutine_meets_others(sb: ckpt.Sandbox) -> None:
    async def scenario() -> None:
        sandbox = ckpt.AsyncSandbox(sb.name)
        async with sandbox.session("main").borrow() as shell:
            await shell.exec("n=1")
            await shell.exec("true")
            snapshot = await sandbox.save()
            assert (await sandbox.session("main").exec("n=2; echo $n")).stdout == "2\n"
            assert (await shell.exec("echo $n")).stdout == "2\n"
            await sandbox.restore(snapshot)
            assert (await shell.exec("echo $n")).stdout == "1\n"
        await sandbox.remove()
        await snapshot.delete()

    asyncio.run(scenario())
