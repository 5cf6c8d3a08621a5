"""Tar archives of this machine's files."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from .errors import CkptError, NotFound


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file of mode 0600 that gets its name when all of it is written; else nothing is left of it."""
    with tempfile.NamedTemporaryFile(dir=path.absolute().parent, prefix=".ckpt-", delete=False) as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def pack(source: Path, name: str | None, to: IO[bytes]) -> None:
    """Writes an archive of a file or directory, called `name` there (`None`: what the directory holds), and
    rewinds.

    Raises `NotFound` where it is not there.
    """
    if not source.exists() and not source.is_symlink():
        raise NotFound(f"there is no {source} on this machine")
    with tarfile.open(fileobj=to, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        if name is not None:
            archive.add(source, name)
        else:
            for entry in sorted(entry.name for entry in source.iterdir()):
                archive.add(source / entry, entry)
    to.seek(0)


def unpack(archive: IO[bytes], source: str, destination: Path) -> Path:
    """Unpacks an archive of one file or directory so that it lies in `destination`, or is called so.

    The entries are made in a fresh directory beside it and moved in one step, so nothing that is there
    already is followed. Raises `CkptError` for an archive that wants to write elsewhere.
    """
    into = destination.is_dir()
    above = destination if into else destination.parent
    if not above.is_dir():
        raise NotFound(f"there is no directory {above} on this machine")
    with tempfile.TemporaryDirectory(dir=above, prefix=".ckpt-copy-") as fresh:
        try:
            _extract(archive, Path(fresh))
        except (tarfile.TarError, EOFError) as error:
            raise CkptError("the sandbox's archive cannot be unpacked", cause=str(error)) from error
        found = [entry.name for entry in Path(fresh).iterdir()]
        if len(found) != 1:
            raise NotFound(f"the sandbox sent nothing of {source}")
        goal = above / found[0] if into else destination
        return _put(Path(fresh) / found[0], goal)


def _put(made: Path, goal: Path) -> Path:
    """Moves what was unpacked to its place; a directory that is there is added to."""
    if made.is_dir() and not made.is_symlink() and goal.is_dir() and not goal.is_symlink():
        for entry in list(made.iterdir()):
            _put(entry, goal / entry.name)
        return goal
    if goal.is_dir() and not goal.is_symlink():
        raise CkptError(f"{goal} is a directory, and what is copied is none")
    shutil.move(made, goal) if not goal.exists() and not goal.is_symlink() else made.replace(goal)
    return goal


def _extract(archive: IO[bytes], into: Path) -> None:
    """Makes an archive's entries: they belong to who calls, set-uid bits and device nodes stay behind."""
    directories = []
    trusted = {"filter": "fully_trusted"} if hasattr(tarfile, "fully_trusted_filter") else {}
    with tarfile.open(fileobj=archive, mode="r|") as opened:
        for member in opened:
            if member.isdev():
                continue
            _check(member, into)
            member.uid, member.gid, member.uname, member.gname = os.geteuid(), os.getegid(), "", ""
            member.mode &= 0o777
            if member.isdir():
                directories.append((into / member.name, member.mode, member.mtime))
                member.mode |= 0o700
            opened.extract(member, into, **trusted)  # type: ignore[arg-type]
    for path, mode, modified in reversed(directories):
        path.chmod(mode)
        os.utime(path, (modified, modified))


def _check(member: tarfile.TarInfo, into: Path) -> None:
    """Refuses an entry that would be made, or that is a hard link to something, outside of the directory."""
    inside = into.resolve()
    places = [(into / member.name).parent]
    if member.islnk():
        places.append(into / member.linkname)
    for place in places:
        if not place.resolve().is_relative_to(inside) or ".." in Path(member.name).parts:
            raise CkptError(f"the sandbox's archive has an entry {member.name!r}, which leads out of it")
    # A link that an earlier entry made would be followed by a file of its name.
    there = into / member.name
    if os.path.lexists(there) and not (member.isdir() and there.is_dir() and not there.is_symlink()):
        raise CkptError(f"the sandbox's archive has two entries {member.name!r}")
