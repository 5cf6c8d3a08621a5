"""What becomes of sandboxes whose process is gone."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import ckpt
from ckpt.compat.nitrobox import Sandbox, SandboxConfig


def test_cleanup_stale(tmp_path: Path) -> None:
    base = tmp_path / "envs"
    program = textwrap.dedent(f"""
        import os
        from ckpt.compat.nitrobox import Sandbox, SandboxConfig
        box = Sandbox(SandboxConfig(image="host", env_base_dir={str(base)!r}), name="left")
        box.snapshot()
        box.snapshot("second")
        box.fs_snapshot({str(tmp_path / "kept")!r})
        print(box._native.name, flush=True)
        os._exit(1)
        """)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    name = done.stdout.strip()
    with Sandbox(SandboxConfig(image="host", env_base_dir=str(base)), name="alive") as alive:
        assert ckpt.Sandbox.get(name).info().state == "running"
        assert [each.message for each in ckpt.Tree().snapshots() if each.info.sandbox == name] == [
            "snapshot 0", "snapshot second", f"fs_snapshot {tmp_path}/kept",
        ]  # fmt: skip
        assert Sandbox.cleanup_stale(str(base)) == 1
        # What a path stands for is whoever's who has the path.
        (left,) = ckpt.Tree().snapshots()
        assert left.message == f"fs_snapshot {tmp_path}/kept"
        alive.fs_restore(str(tmp_path / "kept"))
        assert Sandbox.cleanup_stale(str(base)) == 0
        with pytest.raises(ckpt.SandboxNotFound):
            ckpt.Sandbox.get(name)
        assert alive.run("echo yes") == ("yes\n", 0)
    assert list(base.iterdir()) == []
    assert Sandbox.cleanup_stale(str(tmp_path / "nothing")) == 0


def test_a_forked_child_takes_nothing_away(tmp_path: Path) -> None:
    program = textwrap.dedent(f"""
        import os, sys
        from ckpt.compat.nitrobox import Sandbox, SandboxConfig
        with Sandbox(SandboxConfig(image="host", env_base_dir={str(tmp_path)!r}), name="parent") as box:
            if os.fork() == 0:
                child = Sandbox(SandboxConfig(image="host", env_base_dir={str(tmp_path)!r}), name="child")
                print(child._native.name, *box.run("echo ok"), flush=True)
                sys.exit(3)
            assert os.waitstatus_to_exitcode(os.wait()[1]) == 3
            assert box.run("echo still") == ("still\\n", 0)
        """)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    name, word, code = done.stdout.split()
    assert (word, code) == ("ok", "0")
    # The child's own went with the child.
    with pytest.raises(ckpt.SandboxNotFound):
        ckpt.Sandbox.get(name)


def test_sandboxes_end_with_their_process(tmp_path: Path) -> None:
    program = textwrap.dedent(f"""
        from ckpt.compat.nitrobox import Sandbox, SandboxConfig
        box = Sandbox(SandboxConfig(image="host", env_base_dir={str(tmp_path)!r}), name="left")
        print(box._native.name, flush=True)
        """)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ
    )
    with pytest.raises(ckpt.SandboxNotFound):
        ckpt.Sandbox.get(done.stdout.strip())
    assert list(tmp_path.iterdir()) == []
