"""Files of a sandbox."""

from __future__ import annotations

import io
import os
import tarfile

import pytest

import ckpt
from ckpt import _archives


def test_what_is_written_is_read(shared: ckpt.Sandbox) -> None:
    files = shared.files
    info = files.write("/root/deep/er/file", "häs", parents=True, mode=0o750, user="daemon")
    assert (info.size, info.mode, info.kind) == (4, 0o750, "file") and info.uid == 1
    assert files.read_text("/root/deep/er/file") == "häs"
    files.write("/root/deep/er/file", b"+", append=True)
    assert files.read("/root/deep/er/file", offset=1, limit=9) == "häs+".encode()[1:]
    files.write("/root/deep/er/file", b"new", atomic=True)
    assert files.read("/root/deep/er/file") == b"new"
    assert [entry.name for entry in files.list("/root/deep")] == ["er"]
    files.rename("/root/deep/er", "/root/deep/other name")
    assert files.exists("/root/deep/other name/file")
    files.remove("/root/deep", recursive=True)
    assert not files.exists("/root/deep")


def test_a_big_file_goes_both_ways(shared: ckpt.Sandbox) -> None:
    data = os.urandom(3 << 20)
    shared.files.write("/root/big", data)
    assert shared.files.read("/root/big") == data
    shared.files.remove("/root/big")


def test_what_is_not_there_is_told(shared: ckpt.Sandbox) -> None:
    for call in (shared.files.read, shared.files.list, shared.files.stat, shared.files.remove):
        with pytest.raises(ckpt.NotFound):
            call("/root/nothing")
    with pytest.raises(ckpt.CkptError):
        shared.files.mkdir("/root/a/b/c")


def test_directories_are_made_and_removed(shared: ckpt.Sandbox) -> None:
    shared.files.mkdir("/root/-odd", mode=0o700)
    assert shared.files.stat("/root/-odd").mode == 0o700
    shared.files.mkdir("/root/-odd", parents=True)
    shared.files.write("/root/-odd/x", "")
    with pytest.raises(ckpt.CkptError):
        shared.files.remove("/root/-odd")
    shared.files.remove("/root/-odd", recursive=True)


def test_trees_are_copied_in_and_out(shared: ckpt.Sandbox, tmp_path) -> None:
    source = tmp_path / "project"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "run").write_text("#!/bin/sh\n")
    (source / "sub" / "run").chmod(0o755)
    (source / "link").symlink_to("sub/run")
    assert shared.files.copy_in(source, "/root/") == []
    assert (
        shared.exec("cat /root/project/link; stat -c %a%u /root/project/sub/run").stdout
        == "#!/bin/sh\n7550\n"
    )
    shared.files.copy_in(f"{source}/.", "/root/contents")
    assert shared.files.exists("/root/contents/sub/run")
    shared.files.copy_in(source / "sub" / "run", "/root/renamed")
    assert shared.files.read_text("/root/renamed") == "#!/bin/sh\n"
    back = shared.files.copy_out("/root/project", tmp_path / "back")
    assert back == tmp_path / "back" and (back / "link").readlink().name == "run"
    assert (back / "sub" / "run").stat().st_mode & 0o777 == 0o755
    into = shared.files.copy_out("/root/renamed", tmp_path)
    assert into == tmp_path / "renamed" and into.read_text() == "#!/bin/sh\n"
    with pytest.raises(ckpt.NotFound):
        shared.files.copy_out("/root/nothing", tmp_path)
    with pytest.raises(ckpt.NotFound):
        shared.files.copy_in(tmp_path / "nothing", "/root")


def test_a_link_of_the_sandbox_leads_nowhere_on_this_machine(shared: ckpt.Sandbox, tmp_path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("untouched")
    shared.exec(f"mkdir -p /root/evil {tmp_path}; ln -s {outside} /root/evil/file")
    shared.files.copy_out("/root/evil", tmp_path / "got")
    assert (tmp_path / "got" / "file").is_symlink()
    with pytest.raises(ckpt.CkptError):
        shared.files.write("/root/evil/file", "x")
    assert outside.read_text() == "untouched"


@pytest.mark.parametrize("kind", ["dots", "absolute", "through a link", "hard link"])
def test_an_archive_that_leads_out_is_refused(tmp_path, kind) -> None:
    goal, outside = tmp_path / "goal", tmp_path / "outside"
    goal.mkdir()
    outside.mkdir()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:

        def add(name: str, **fields: object) -> None:
            member = tarfile.TarInfo(name)
            for key, value in fields.items():
                setattr(member, key, value)
            archive.addfile(member, io.BytesIO(b"evil"[: member.size]))

        if kind == "dots":
            add("a/../../outside/x", size=4)
        elif kind == "absolute":
            add(f"{outside}/x", size=4)
        elif kind == "through a link":
            add("a", type=tarfile.SYMTYPE, linkname=str(outside))
            add("a/x", size=4)
        else:
            (outside / "secret").write_text("secret")
            add("x", type=tarfile.LNKTYPE, linkname="../../outside/secret")
    packed.seek(0)
    with pytest.raises(ckpt.CkptError, match="leads out"):
        _archives.unpack(packed, "/evil", goal)
    assert not list(goal.iterdir()) and not (outside / "x").exists()


def test_what_cannot_be_read_is_told_and_leaves_nothing(shared: ckpt.Sandbox) -> None:
    class Broken(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise OSError(5, "the source is broken")

    with pytest.raises(OSError, match="the source is broken"):
        shared.files.unpack(Broken(), "/srv")
    assert shared.files.list("/srv") == []


@pytest.mark.parametrize("second", ["file", "directory"])
def test_a_link_that_came_before_is_not_followed(tmp_path, second: str) -> None:
    outside, goal = tmp_path / "outside", tmp_path / "goal"
    goal.mkdir()
    outside.write_text("of the host") if second == "file" else outside.mkdir(mode=0o700)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        link = tarfile.TarInfo("top/x")
        link.type, link.linkname = tarfile.SYMTYPE, str(outside)
        archive.addfile(link)
        again = tarfile.TarInfo("top/x")
        again.type, again.mode = (tarfile.REGTYPE if second == "file" else tarfile.DIRTYPE), 0o777
        archive.addfile(again, io.BytesIO())
    packed.seek(0)
    with pytest.raises(ckpt.CkptError, match="two entries"):
        _archives.unpack(packed, "/top", goal)
    assert not list(goal.iterdir())
    assert (
        outside.read_text() == "of the host" if second == "file" else outside.stat().st_mode & 0o777 == 0o700
    )
