"""Snapshots that go from one store to another."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import ckpt


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[ckpt.Client]:
    """Another store with a server of its own."""
    root = tempfile.mkdtemp(prefix="ckpt-python-elsewhere-")
    client = ckpt.Client(root)
    yield client
    for sandbox in client.sandboxes():
        ckpt.Sandbox(sandbox.name, client).remove()
    server = Path(f"/proc/{client.version().pid}")
    client.shutdown()
    client.close()
    deadline = time.monotonic() + 30
    while server.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    shutil.rmtree(root)


@pytest.fixture
def saved(sb: ckpt.Sandbox) -> Iterator[list[ckpt.Snapshot]]:
    """A snapshot and its child, of a shell that remembers."""
    shell = sb.session("main")
    shell.exec("n=41; echo 1 > /root/file")
    first = sb.save(message="first")
    shell.exec("n=42; echo 2 > /root/file")
    yield [first, sb.save()]
    sb.remove()
    ckpt.Tree().delete(first, subtree=True)


def test_a_snapshot_goes_to_another_store(
    saved: list[ckpt.Snapshot], elsewhere: ckpt.Client, tmp_path: Path
) -> None:
    first, second = saved
    there = ckpt.Tree(elsewhere)
    whole = first.export(tmp_path / "first.tar.zst")
    assert whole.stat().st_mode & 0o777 == 0o600 and whole.read_bytes()[:4] == b"\x28\xb5\x2f\xfd"
    came = there.import_(whole, tag="came")
    assert came.imported == [first.id] == [came.snapshot] and came.new_objects > 0
    assert there.get("came").message == "first"
    again = there.import_(whole)
    assert (again.imported, again.known) == ([], [first.id])

    # What is there need not travel.
    names = {(each.kind, each.id) for each in there.objects()}
    assert {(each.kind, each.id) for each in first.objects()} <= names
    rest = io.BytesIO(b"".join(second.archive(have=there.objects(), level=19)))
    assert len(rest.getvalue()) < whole.stat().st_size
    assert there.import_(rest).imported == [second.id]
    (fork,) = there.get(second.id).fork()
    assert fork.session("main").exec("echo $n; cat /root/file").stdout == "42\n2\n"
    fork.remove()
    there.delete("came", subtree=True)
    both = there.import_(second.export(tmp_path / "both", ancestors=True))
    assert both.imported == [first.id, second.id]
    there.delete(first.id, subtree=True)
    elsewhere.close()


def test_what_is_no_whole_archive_leaves_nothing(
    saved: list[ckpt.Snapshot], elsewhere: ckpt.Client, tmp_path: Path
) -> None:
    there = ckpt.Tree(elsewhere)
    whole = saved[0].export(tmp_path / "whole", level=0).read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 1
    for data in (b"", b"no archive", whole[: len(whole) // 2], bytes(damaged)):
        with pytest.raises(ckpt.CkptError):
            there.import_(io.BytesIO(data))
    with pytest.raises(ckpt.CkptError, match=r"max|larger|bytes|limit"):
        there.import_(tmp_path / "whole", max_bytes="1k")
    assert there.snapshots() == [] and there.objects() == []
    elsewhere.close()


def test_an_export_that_fails_leaves_no_file(sb: ckpt.Sandbox, tmp_path: Path) -> None:
    gone = sb.save()
    sb.remove()
    gone.delete()
    for place in (tmp_path / "x", tmp_path / "nowhere" / "x"):
        with pytest.raises((ckpt.SnapshotNotFound, FileNotFoundError)):
            gone.export(place)
    assert os.listdir(tmp_path) == []


def test_archives_in_asyncio(saved: list[ckpt.Snapshot], elsewhere: ckpt.Client, tmp_path: Path) -> None:
    async def main() -> None:
        snapshot = await ckpt.AsyncSnapshot.get(saved[0].id)
        path = await snapshot.export(tmp_path / "x")
        client = ckpt.AsyncClient(elsewhere.root)
        tree = ckpt.AsyncTree(client)
        assert (await tree.import_(str(path))).imported == [snapshot.id]
        assert await tree.objects() == await snapshot.objects()
        await tree.delete(snapshot.id)
        client.close()
        ckpt.AsyncClient.default().close()

    asyncio.run(main())
