# Generated from ../_async/files.py by scripts/generate-python; edit that one.
"""The files of a sandbox."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from .. import _archives
from .._io import blocking as io
from .._wire.http import target
from ..errors import CkptError, InternalError, InvalidOption, NotFound, SandboxNotFound, WrongState
from ..messages import FileInfo

if TYPE_CHECKING:
    from .sandbox import Sandbox

from ..options import PathLike

FileList = list[FileInfo]
Names = list[str]
SPOOL = 8 << 20


class Files:
    """Files of a sandbox; paths are absolute, and no link leads out of it.

        sb.files.write("/root/task.json", json.dumps(task))
        text = sb.files.read_text("/root/answer.txt")

    All raise `NotFound` for what is not there, and `SandboxDied`.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def read(self, path: PathLike, *, offset: int = 0, limit: int | None = None) -> bytes:
        """The bytes of a regular file, from `offset` on, `limit` at most."""
        try:
            return self._sandbox._client._transport.read(
                self._target("file", path, offset=offset, limit=limit)
            )
        except (WrongState, InternalError) as error:
            raise self._sandbox._explained(error) from error

    def read_text(self, path: PathLike, *, encoding: str = "utf-8", errors: str = "strict") -> str:
        """A regular file as text."""
        return (self.read(path)).decode(encoding, errors)

    def write(
        self,
        path: PathLike,
        data: bytes | str,
        *,
        mode: int | None = None,
        user: str | None = None,
        atomic: bool = False,
        parents: bool = False,
        append: bool = False,
    ) -> FileInfo:
        """Writes a file, made where it is missing; a text as UTF-8.

        `mode` and `user` are 0o644 and root for a new file when missing. `atomic`: a new file takes the old
        one's place in one step. `parents`: makes missing directories. `append`: writes after what is there.
        """
        where = self._target(
            "file", path, mode=None if mode is None else f"{mode:o}", user=user, atomic=atomic,
            parents=parents, append=append,
        )  # fmt: skip
        try:
            body = data.encode() if isinstance(data, str) else bytes(data)
            transport = self._sandbox._client._transport
            # Written twice it is the same file.
            return FileInfo.from_json(transport.write(where, body, repeatable=not append))
        except (WrongState, InternalError) as error:
            raise self._sandbox._explained(error) from error

    def stat(self, path: PathLike, *, follow: bool = False) -> FileInfo:
        """What is at a path; `follow` says whether a last symbolic link is followed."""
        return FileInfo.from_json(self._ask("stat", path, follow=follow))

    def list(self, path: PathLike) -> FileList:
        """What a directory holds, by name; the first 100,000."""
        answer = self._ask("directory", path)
        return [FileInfo.from_json(item) for item in answer["entries"]]

    def exists(self, path: PathLike) -> bool:
        """Whether something is at a path; a link that leads nowhere too."""
        try:
            self.stat(path)
        except SandboxNotFound:
            raise
        except NotFound:
            return False
        except InvalidOption as error:
            if os.strerror(errno.ENOTDIR) in str(error):
                return False
            raise
        return True

    def mkdir(self, path: PathLike, *, parents: bool = False, mode: int | None = None) -> None:
        """Makes a directory, with the sandbox's own `mkdir`. `parents`: missing ones above it too, and one
        that is there already is no error.
        """
        words = ["mkdir"]
        if parents:
            words.append("-p")
        if mode is not None:
            words += ["-m", f"{mode:o}"]
        self._program([*words, "--", os.fspath(path)])

    def remove(self, path: PathLike, *, recursive: bool = False) -> None:
        """Removes a file, or with `recursive` a directory and all that is in it, with the sandbox's own
        `rm`.
        """
        info = self.stat(path)
        if info.kind == "directory" and not recursive:
            self._program(["rmdir", "--", os.fspath(path)])
        else:
            self._program(["rm", "-rf" if recursive else "-f", "--", os.fspath(path)])

    def rename(self, old: PathLike, new: PathLike) -> None:
        """Gives a file or directory another path, with the sandbox's own `mv`."""
        self._program(["mv", "-T", "--", os.fspath(old), os.fspath(new)])

    # Copies

    def copy_in(self, source: PathLike, destination: PathLike, *, owners: bool = False) -> Names:
        """Copies a file or directory of this machine into the sandbox.

        Where `destination` is a directory the copy goes into it, else it is called that; a `source` that
        ends in `/.` means what it holds. Modes, times and links are kept; everything belongs to root unless
        `owners` are kept. Returns the entries that were not made: device nodes.
        """
        text = os.fspath(source)
        contents = text.endswith("/.")
        directory, name = self._place(os.fspath(destination), Path(text).name, contents)
        with tempfile.SpooledTemporaryFile(SPOOL) as spool:
            io.run_blocking(_archives.pack, Path(text), None if contents else name, spool)
            return self.unpack(spool, directory, owners=owners)

    def copy_out(self, source: PathLike, destination: PathLike) -> Path:
        """Copies a file or directory of the sandbox to this machine, and returns where it is.

        Where `destination` is a directory the copy goes into it, else it is called that. Nothing is written
        outside of it, whatever the sandbox sends; device nodes stay behind.
        """
        with tempfile.SpooledTemporaryFile(SPOOL) as spool:
            for piece in self.pack(source):
                spool.write(piece)
            spool.seek(0)
            return io.run_blocking(_archives.unpack, spool, os.fspath(source), Path(destination))

    def pack(self, path: PathLike, *, owners: bool = False) -> Generator[bytes, None, None]:
        """A file or directory of the sandbox as the pieces of a tar archive."""
        pieces = self._sandbox._client._transport.download(self._target("archive", path, owners=owners))
        for piece in pieces:
            yield piece

    def unpack(self, archive: IO[bytes], directory: PathLike, *, owners: bool = False) -> Names:
        """Unpacks a tar archive, from where the file stands, into a directory of the sandbox.

        Returns the entries that were not made: device nodes.
        """
        where = self._target("archive", directory, owners=owners)
        answer = self._sandbox._client._transport.upload(where, archive, "application/x-tar")
        return [str(entry) for entry in answer["leftOut"]]

    def _place(self, destination: str, name: str, contents: bool) -> tuple[str, str]:
        """The directory that is unpacked into, and what the copy is called there."""
        if contents:
            self.mkdir(destination, parents=True)
            return destination, ""
        try:
            if (self.stat(destination, follow=True)).kind == "directory":
                return destination, name
        except SandboxNotFound:
            raise
        except NotFound:
            if destination.endswith("/"):
                raise
        above, _, last = destination.rpartition("/")
        return above or "/", last

    def _ask(self, what: str, path: PathLike, **query: object) -> Any:
        return self._sandbox._call(
            "GET", self._target(what, path, **query).removeprefix(self._sandbox._path)
        )

    def _program(self, words: Names) -> None:
        done = self._sandbox.exec(words)
        if not done.ok:
            text = done.stderr.strip() or f"{words[0]} ended with exit code {done.exit_code}"
            raise (NotFound if "No such file" in text else CkptError)(text)

    def _target(self, what: str, path: PathLike, **query: object) -> str:
        return target(f"{self._sandbox._path}/{what}", path=os.fspath(path), **query)
