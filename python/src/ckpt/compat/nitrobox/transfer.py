"""Files between this machine and a sandbox."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

from ... import errors
from ..._sync.sandbox import Sandbox as Native
from .errors import translated


class Transfer:
    """The part of a sandbox that deals with files.

    No path leads out of the sandbox, whatever links lie there.
    """

    _native: Native

    def copy_to(self, local_path: str, container_path: str) -> None:
        """Copies a file or directory of this machine into the sandbox; missing directories are made.

        What a directory holds is added to what a directory of that name in the sandbox has.
        """
        inside = _absolute(container_path)
        # What is named is followed, as cp does; links in a directory stay links.
        source = Path(local_path).resolve()
        if not source.exists():
            raise FileNotFoundError(f"there is no {local_path} here")
        with translated():
            if source.is_dir():
                self._native.files.copy_in(f"{source}/.", inside)
                return
            if self._kind(inside) == "directory":
                inside = f"{inside}/{Path(local_path).name}"
            self._native.files.mkdir(os.path.dirname(inside), parents=True)
            self._native.files.copy_in(source, inside)

    def copy_from(self, container_path: str, local_path: str) -> None:
        """Copies a file or directory of the sandbox to this machine; missing directories are made.

        Raises `FileNotFoundError` where the sandbox has no such file.
        """
        inside = _absolute(container_path)
        kind = self._kind(inside)
        if kind is None:
            raise FileNotFoundError(f"File {container_path} does not exist in the sandbox.")
        place = Path(local_path)
        if kind != "directory" and place.is_dir():
            place = place / Path(inside).name
        place.parent.mkdir(parents=True, exist_ok=True)
        with translated():
            found = self._native.exec(["readlink", "-f", "--", inside], check=True)
            source = os.fsdecode(found.stdout_bytes.removesuffix(b"\n"))
            if kind != "directory" or not place.exists():
                self._native.files.copy_out(source, place)
                return
            with tempfile.TemporaryDirectory(dir=place.parent) as beside:
                copied = self._native.files.copy_out(source, Path(beside) / "copy")
                _merge(copied, place)

    def read_file(self, container_path: str) -> str:
        """The bytes of a file, each as the character of its number (Latin-1).

        Raises `FileNotFoundError` where the sandbox has no such file, and `IsADirectoryError`.
        """
        with translated():
            try:
                return self._native.files.read(_absolute(container_path)).decode("latin-1")
            except (errors.SandboxNotFound, errors.SnapshotNotFound):
                raise
            except errors.NotFound:
                raise FileNotFoundError(f"File {container_path} does not exist in the sandbox.") from None
            except errors.InvalidOption as error:
                raise _of_directory(error, container_path) from None

    def write_file(self, container_path: str, content: str | bytes) -> None:
        """Writes a file, a text as UTF-8; missing directories are made. Raises `IsADirectoryError`."""
        with translated():
            try:
                self._native.files.write(_absolute(container_path), content, parents=True)
            except errors.InvalidOption as error:
                raise _of_directory(error, container_path) from None

    def _kind(self, path: str) -> str | None:
        """What is at a path, links followed; `None` where nothing is."""
        with translated():
            try:
                return str(self._native.files.stat(path, follow=True).kind)
            except errors.SandboxNotFound:
                raise
            except errors.NotFound:
                return None


def _of_directory(error: errors.InvalidOption, path: str) -> Exception:
    """What Python raises where a file is wanted and a directory is there; else the error itself."""
    if os.strerror(errno.EISDIR) not in str(error):
        return error
    return IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)


def _merge(source: Path, destination: Path) -> None:
    """Moves what a directory holds into another; files and links of the same name make way."""
    for entry in source.iterdir():
        place = destination / entry.name
        if entry.is_dir() and not entry.is_symlink() and place.is_dir() and not place.is_symlink():
            _merge(entry, place)
            continue
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        entry.replace(place)


def _absolute(path: str) -> str:
    return "/" + os.fspath(path).lstrip("/")
