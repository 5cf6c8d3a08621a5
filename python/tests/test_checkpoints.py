"""Saving, rolling back, forking, and the tree."""

from __future__ import annotations

import pytest

import ckpt

# io_uring_setup(2): what CRIU cannot save.
IO_URING = """
import ctypes, time
ring = ctypes.CDLL(None).syscall(425, 4, ctypes.create_string_buffer(120))
print(ring, flush=True)
time.sleep(1000)
"""


def test_a_restore_brings_back_files_memory_and_pids(sb: ckpt.Sandbox) -> None:
    shell = sb.session()
    shell.exec("v=before; echo before > /root/file; sleep 1000 & pid=$!")
    pid = shell.exec("echo $pid").stdout
    ready = sb.save("ready", "all is before")
    assert ready.tags == ["ready"] and ready.message == "all is before" and ready.parent_id is None
    shell.exec("v=after; echo after > /root/file; kill $pid")
    result = sb.restore(ready)
    assert result.snapshot == ready.id
    said = shell.exec("echo $v; cat /root/file; echo $pid; kill -0 $pid && echo lives").stdout
    assert said == f"before\nbefore\n{pid}lives\n"
    assert sb.snapshot() == ready
    sb.remove()
    ready.delete()


def test_forks_go_their_own_ways(sb: ckpt.Sandbox) -> None:
    shell = sb.session("main")
    shell.exec("x=1")
    snapshot = sb.save()
    forks = snapshot.fork(3, prefix="way")
    assert [fork.name for fork in forks] == ["way-1", "way-2", "way-3"]
    for number, fork in enumerate(forks):
        fork.session("main").exec(f"x=$((x + {number})); echo $x > /root/x")
    assert [fork.session("main").exec("echo $x; cat /root/x").stdout for fork in forks] == [
        "1\n1\n",
        "2\n2\n",
        "3\n3\n",
    ]
    assert shell.exec("echo $x; ls /root").stdout == "1\n"
    child = forks[1].save()
    assert child.parent() == snapshot
    for fork in forks:
        fork.remove()
    sb.remove()
    ckpt.Tree().delete(snapshot, subtree=True)


def test_reset_goes_back_to_the_base(sb: ckpt.Sandbox) -> None:
    sb.exec("touch /root/file")
    sb.reset()
    assert not sb.files.exists("/root/file")
    assert sb.snapshot() is None


def test_save_and_stop_waits_for_a_restore(sb: ckpt.Sandbox) -> None:
    sb.session("s").exec("x=5")
    snapshot = sb.save(stop=True)
    assert sb.info().state == "stopped"
    with pytest.raises(ckpt.WrongState):
        sb.exec("true")
    sb.restore()
    assert sb.session("s").exec("echo $x").stdout == "5\n"
    sb.remove()
    snapshot.delete()


def test_what_cannot_be_saved_is_named() -> None:
    with ckpt.Sandbox.create(seccomp="unconfined") as sb:
        job = sb.start(["python3", "-c", IO_URING])
        ring = int(next(job.follow()))
        if ring < 0:
            pytest.fail("the kernel gives no io_uring, so there is nothing to refuse")
        told = sb.check()
        assert not told.savable and told.problems[0].id == "io-uring"
        with pytest.raises(ckpt.CannotSave) as refused:
            sb.save("never")
        assert refused.value.process == "python3" and refused.value.pid == job.info.pid
        assert "io_uring" in refused.value.object and refused.value.hint
        assert sb.exec("echo alive").stdout == "alive\n"
        with pytest.raises(ckpt.SnapshotNotFound):
            ckpt.Snapshot.get("never")
        job.stop()
        assert sb.check().savable


def test_a_suspended_restore_lets_nothing_run_on(sb: ckpt.Sandbox) -> None:
    sb.start("while :; do date +%s%N > part; mv part now; done", cwd="/root", id="clock")
    while not sb.files.exists("/root/now"):
        pass
    snapshot = sb.save()
    then = snapshot.read("/root/now")
    for signal, goes_on in ((9, False), (18, True)):
        sb.restore(snapshot, suspended=True)
        assert sb.files.read("/root/now") == then and sb.job("clock").info.state == "running"
        sb.kill(signal)
        if goes_on:
            while sb.files.read("/root/now") == then:
                pass
        else:
            assert sb.job("clock").wait().signal == 9 and sb.files.read("/root/now") == then
    sb.remove()
    snapshot.delete()


def test_the_tree(sb: ckpt.Sandbox) -> None:
    tree = ckpt.Tree()
    sb.exec("echo 1 > /root/n")
    first = sb.save("first")
    sb.exec("echo 2 > /root/n")
    second = sb.save()
    sb.restore(first)
    sb.exec("echo 3 > /root/n; sleep 1000 &")
    third = sb.save(message="the third")
    assert [each.id for each in tree.path(third)] == [first.id, third.id]
    assert tree.children(first) == [second, third] == first.children()
    assert tree.roots() == [first] and tree.subtree("first") == [first, second, third]
    assert tree.parents() == {first.id: None, second.id: first.id, third.id: first.id}
    assert tree.get("first") == first == tree.get(f"{third.id}~1")
    diff = tree.diff(first, third, patch=True)
    change = next(each for each in diff.files if each.path == "/root/n")
    assert change.change == "modified" and "+3" in change.patch and "-1" in change.patch
    assert first.diff(second).files[0].path == "/root/n"
    assert third.read("/root/n") == b"3\n"
    assert tree.verify(third).damage == [] and tree.usage(third).snapshots[0].id == third.id
    second.tag("other")
    assert second.tags == ["other"] and tree.get("other") == second
    with pytest.raises(ckpt.NameTaken):
        third.tag("first")
    second.untag("other")
    assert second.refresh().tags == []
    with pytest.raises(ckpt.InUse):
        first.delete()
    assert second.delete().deleted == [second.id]
    assert tree.gc().removed is not None
    assert [each.id for each in tree.gc(keep_last=1, max_bytes="1k", dry_run=True).deleted] == [first.id]
    assert tree.gc(keep_last=1, keep_tagged=True).deleted == []
    with pytest.raises(ckpt.SnapshotNotFound):
        second.refresh()
    sb.remove()
    assert sorted(tree.delete("first", subtree=True).deleted) == sorted([first.id, third.id])


def test_a_snapshot_can_be_looked_into(sb: ckpt.Sandbox, tmp_path) -> None:
    # It is a bash until it has become a sleep.
    begun = "until [ $(cat /proc/$!/comm) = sleep ]; do :; done"
    sb.exec(f"exec 7</etc/hostname; sleep 1000 >/dev/null 2>&1 & {begun}", timeout=30, check=True)
    snapshot = sb.save()
    inspection = snapshot.inspect(files=True)
    sleeping = next(each for each in inspection.processes if each.command == "sleep")
    assert any(file.fd == 7 and file.path.endswith("/etc/hostname") for file in sleeping.files)
    core = snapshot.core(tmp_path / "core", pid=sleeping.pid)
    assert core.read_bytes()[:4] == b"\x7fELF"
    with pytest.raises(ckpt.NotFound):
        snapshot.inspect(pid=99999)
    sb.remove()
    snapshot.delete()


def test_the_doctor_tries_the_machine_out() -> None:
    report = ckpt.Client().doctor(self_test=True)
    assert {"self-test", "criu"} <= {each.name for each in report.checks}
    assert [each for each in report.checks if each.status == "failed"] == []
