"""Making and ending, snapshots, checkpoints, and what is left of a process that is gone."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

import ckpt
from ckpt.compat.nitrobox import (
    CheckpointManager,
    ComposeProject,
    QemuVM,
    Sandbox,
    SandboxConfig,
    SandboxConfigError,
    SandboxError,
    SandboxInitError,
    SandboxKernelError,
    SandboxTimeoutError,
    SharedNetwork,
    get_image_config,
)
from ckpt.compat.nitrobox.errors import translated
from ckpt.compat.nitrobox.image import ImageConfig
from ckpt.compat.nitrobox.rootfs import prepare_rootfs_from_docker

from .conftest import Maker


def test_life(tmp_path: Path) -> None:
    config = SandboxConfig(image="host", env_base_dir=str(tmp_path / "envs"))
    with Sandbox(config, name="life") as box:
        assert box.rootfs.exists() and "life" in repr(box) and "overlayfs" in repr(box)
        name = box._native.name
        assert ckpt.Sandbox.get(name).info().state == "running"
        # Names need not be unique.
        with Sandbox(config, name="life") as other:
            assert other.run("echo 2") == ("2\n", 0)
        assert box.run("echo 1") == ("1\n", 0)
    box.delete()
    assert not (tmp_path / "envs" / "life").exists()
    with pytest.raises(ckpt.SandboxNotFound):
        ckpt.Sandbox.get(name)


def test_both_names_of_the_package() -> None:
    from ckpt.compat import agentdocker_lite
    from ckpt.compat.agentdocker_lite import backends, checkpoint, compose, sandbox, vm

    assert agentdocker_lite.Sandbox is agentdocker_lite.SandboxBase is sandbox.Sandbox is Sandbox
    assert (
        backends.SandboxBase is Sandbox and backends.SandboxConfig is sandbox.SandboxConfig is SandboxConfig
    )
    assert checkpoint.CheckpointManager is CheckpointManager
    assert (compose.ComposeProject, compose.SharedNetwork, vm.QemuVM) == (
        ComposeProject,
        SharedNetwork,
        QemuVM,
    )
    assert Sandbox.SUPPORTED_FS_BACKENDS == ("overlayfs", "btrfs")


def test_what_cannot_be_made(tmp_path: Path) -> None:
    for fields, error in (
        ({"image": ""}, SandboxConfigError),
        ({"image": str(tmp_path / "nothing")}, SandboxInitError),
        ({"image": "host", "fs_backend": "zfs"}, SandboxConfigError),
        ({"image": "host", "volumes": ["nowhere"]}, SandboxConfigError),
        ({"image": "host", "cap_add": ["NO_SUCH"]}, SandboxConfigError),
        ({"image": "host", "pids_max": "many"}, SandboxConfigError),
    ):
        with pytest.raises(error) as caught:
            Sandbox(SandboxConfig(env_base_dir=str(tmp_path), **fields))
        assert isinstance(caught.value, SandboxError)
    for later in (
        lambda: Sandbox(SandboxConfig(image="ubuntu:22.04")), lambda: get_image_config("python:3.11"),
        lambda: prepare_rootfs_from_docker("ubuntu:22.04", "rootfs"), lambda: QemuVM.check_available(),
        lambda: ComposeProject("compose.yml"), lambda: SharedNetwork("net"), lambda: QemuVM(None, disk="x"),
    ):  # fmt: skip
        with pytest.raises(NotImplementedError, match="ckpt has no"):
            later()
    assert get_image_config("host") is None
    words = {"cmd", "entrypoint", "env", "working_dir", "exposed_ports", "diff_ids"}
    assert set(ImageConfig.__annotations__) == words
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ckpt.InvalidOption, SandboxConfigError),
        (ckpt.NotPermitted, SandboxKernelError),
        (ckpt.NotInstalled, SandboxKernelError),
        (ckpt.CannotSave, SandboxError),
        (ckpt.NoSpace, SandboxInitError),
    ],
)
def test_kinds_of_errors(error: type[ckpt.CkptError], kind: type[SandboxError]) -> None:
    otherwise = kind if kind is SandboxInitError else SandboxError
    with pytest.raises(kind, match="why") as caught, translated(otherwise):
        raise error("why")
    # agentdocker-lite raises RuntimeError, and ValueError for a configuration.
    assert isinstance(caught.value, RuntimeError) and isinstance(caught.value.__cause__, error)
    assert isinstance(caught.value, ValueError) == (kind is SandboxConfigError)


def test_a_command_out_of_time_is_an_error_of_time(kept: Sandbox) -> None:
    with pytest.raises(SandboxTimeoutError), translated():
        kept._native.exec("sleep 60", timeout=0.1, check=True)


def test_reset(box: Sandbox) -> None:
    for round in range(3):
        box.run(f"echo {round} > file; rm -f /etc/hostname; rmdir /workspace 2>/dev/null")
        box.reset()
        assert box.run("pwd; ls; test -e /etc/os-release") == ("/workspace\n", 0)


def test_snapshots(box: Sandbox) -> None:
    with pytest.raises(FileNotFoundError, match="No snapshots available"):
        box.restore()
    box.run("echo 0 > f")
    assert box.snapshot() == 0
    box.run("echo b > f")
    assert box.snapshot("b") == "b"
    box.run("echo a > f")
    assert box.snapshot("a") == "a"
    assert box.snapshot(7) == 7
    assert box.snapshot() == 8
    # By time, not by name.
    assert box.list_snapshots() == [0, "b", "a", 7, 8]
    box.restore("b")
    assert box.run("cat f") == ("b\n", 0)
    box.restore(0)
    assert box.run("cat f") == ("0\n", 0)
    # An earlier number is not used again, before or after a restore or a deletion.
    assert box.snapshot() == 9
    box.delete_snapshot(9)
    box.delete_snapshot("b")
    box.delete_snapshot("nothing")
    assert box.list_snapshots() == [0, "a", 7, 8] and box.snapshot() == 10
    with pytest.raises(FileNotFoundError, match=r"Snapshot 'b' not found. Available: \[0, 'a', 7, 8, 10\]"):
        box.restore("b")
    with pytest.raises(FileExistsError):
        box.snapshot("a")
    box.restore("a")
    assert box.run("cat f") == ("a\n", 0)
    box.restore()
    assert box.run("cat f") == ("0\n", 0)


def test_snapshots_go_with_the_sandbox(make: Maker) -> None:
    before = {snapshot.id for snapshot in ckpt.Tree().snapshots()}
    box = make()
    for _ in range(3):
        box.snapshot()
    box.delete_snapshot(0)
    box.restore(1)
    box.delete()
    assert {snapshot.id for snapshot in ckpt.Tree().snapshots()} == before


def test_files_alone(box: Sandbox, tmp_path: Path) -> None:
    box.run("echo 1 > f")
    box.run_background("sleep 600")
    path = str(tmp_path / "deep" / "fs")
    box.fs_snapshot(path)
    with pytest.raises(FileExistsError):
        box.fs_snapshot(path)
    box.run("echo 2 > f; ln -s / escape")
    for _ in range(2):
        box.fs_restore(path)
        assert box.run("cat f; ls; pgrep -x sleep") == ("1\nf\n", 1)
    with pytest.raises(FileNotFoundError, match="Snapshot not found"):
        box.fs_restore(str(tmp_path / "nothing"))
    with pytest.raises(NotADirectoryError):
        box.fs_snapshot(__file__ + "/nowhere")
    assert len(ckpt.Tree().snapshots()) == 1


def test_files_are_those_of_the_instant(box: Sandbox, tmp_path: Path) -> None:
    box.run_background("while :; do date +%s%N > part; mv part now; done")
    box.run("until test -e now; do :; done")
    path = tmp_path / "fs"
    box.fs_snapshot(str(path))
    snapshot = ckpt.Snapshot.get(json.loads((path / "ckpt.json").read_text())["snapshot"])
    for _ in range(3):
        box.fs_restore(str(path))
        assert box.run("cat now")[0].encode() == snapshot.read("/workspace/now")
        assert [each["running"] for each in box.list_background().values()] == [False]
    box.reset()
    snapshot.delete()
    with pytest.raises(FileNotFoundError, match=r"Snapshot not found: .* was deleted"):
        box.fs_restore(str(path))
    with pytest.raises(FileNotFoundError, match=r"Checkpoint not found: .* was deleted"):
        CheckpointManager(box).restore(str(path))


def test_checkpoints(box: Sandbox, tmp_path: Path) -> None:
    manager = CheckpointManager(box)
    assert CheckpointManager.check_available() is True
    secret = "read t < /proc/sys/kernel/random/uuid; while :; do echo $t > part; mv part t; sleep 0.02; done"
    said = "rm -f t; until cat t 2>/dev/null; do sleep 0.01; done"
    handle = box.run_background(secret)
    pid = box.list_background()[handle]["pid"]
    token = box.run(said, timeout=30)
    path = str(tmp_path / "checkpoint")
    manager.save(path, track_mem=False)
    with pytest.raises(FileExistsError):
        manager.save(path)
    for round in range(3):
        if round < 2:
            box.stop_background(handle)
        manager.restore(path)
        assert box.list_background()[handle] == {"pid": pid, "running": True}
        # It is in memory alone.
        assert box.run(said, timeout=30) == token and token[1] == 0
    with pytest.raises(FileNotFoundError, match="Checkpoint not found"):
        manager.restore(str(tmp_path / "nothing"))
    stopped = str(tmp_path / "stopped")
    manager.save(stopped, leave_running=False)
    with pytest.raises(SandboxError):
        box.run("true")
    manager.restore(stopped)
    assert box.run("echo awake") == ("awake\n", 0)


def test_failed_checkpoint_leaves_nothing(box: Sandbox, tmp_path: Path) -> None:
    program = (
        "import ctypes, time; libc = ctypes.CDLL(None); p = (ctypes.c_char * 120)();"
        "fd = libc.syscall(425, 4, p); print(fd, flush=True); time.sleep(600)"
    )
    box_free = Sandbox(
        SandboxConfig(image="host", seccomp=False, env_base_dir=str(tmp_path / "e")), name="free"
    )
    with box_free:
        handle = box_free.run_background(["python3", "-uc", program])
        for _ in range(200):
            if box_free.check_background(handle)[0].strip():
                break
            time.sleep(0.02)
        if box_free.check_background(handle)[0].strip() == "-1":
            pytest.skip("this kernel gives a program no io_uring, so there is nothing that cannot be saved")
        with pytest.raises(RuntimeError, match="io_uring") as caught:
            CheckpointManager(box_free).save(str(tmp_path / "x"))
        assert isinstance(caught.value, SandboxError)
        assert not (tmp_path / "x").exists()
        assert box_free.check_background(handle)[1]
