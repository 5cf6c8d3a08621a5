"""Finds the ckpt program and starts its server."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import threading
from pathlib import Path

from ._io import blocking
from .errors import CkptError, InvalidOption, NotInstalled, ServerUnavailable, from_message

PATIENCE = 60
"""Seconds that a server may take to listen."""


def find() -> str:
    """The ckpt program: `CKPT_BIN`, else the one in this package, else the one on PATH.

    Raises `NotInstalled` where there is none, and `InvalidOption` where CKPT_BIN names no program.
    """
    named = os.environ.get("CKPT_BIN")
    if named:
        if not os.access(named, os.X_OK) or Path(named).is_dir():
            raise InvalidOption(f"CKPT_BIN names {named}, which is not a program")
        return str(Path(named).absolute())
    bundled = Path(__file__).parent / "_bin" / "ckpt"
    if bundled.exists():
        return str(bundled)
    found = shutil.which("ckpt")
    # The `ckpt` of a virtual environment is this package's own entry point, which would find itself again.
    if found and not _is_entry_point(found):
        return found
    raise NotInstalled(
        "there is no ckpt program: this installation carries none, and PATH has none",
        hint="install the wheel, or set CKPT_BIN to the program's path",
    )


def _is_entry_point(path: str) -> bool:
    with Path(path).open("rb") as file:
        return file.read(2) == b"#!"


def root(chosen: str | os.PathLike[str] | None = None) -> str:
    """Where the server keeps its state: `chosen`, else `CKPT_ROOT`, else `/var/lib/ckpt` for root and
    `$XDG_DATA_HOME/ckpt` (`~/.local/share/ckpt`) for others; absolute.
    """
    if chosen is not None:
        return str(Path(os.fspath(chosen)).expanduser().absolute())
    if os.environ.get("CKPT_ROOT"):
        return str(Path(os.environ["CKPT_ROOT"]).absolute())
    if os.geteuid() == 0:
        return "/var/lib/ckpt"
    data = os.environ.get("XDG_DATA_HOME", "")
    if data.startswith("/"):
        return f"{data.rstrip('/')}/ckpt"
    home = os.environ.get("HOME") or pwd.getpwuid(os.geteuid()).pw_dir
    return f"{home}/.local/share/ckpt"


_starting = threading.Lock()
os.register_at_fork(after_in_child=lambda: globals().update(_starting=threading.Lock()))


def start_server(binary: str | None, root: str) -> None:
    """Has the program start the server of `root`, as each of its commands does; many at once start one.

    Raises `ServerUnavailable`, or the program's own error.
    """
    program = binary or find()
    with _starting:
        if not is_listening(root):
            _start(program, root)


def is_listening(root: str) -> bool:
    """Whether a server of `root` accepts connections at this moment."""
    try:
        blocking.connect(f"{root}/server.sock").close()
    except OSError:
        return False
    return True


def _start(program: str, root: str) -> None:
    try:
        # A process group of its own: Ctrl-C at the caller's terminal is not for the server.
        done = subprocess.run(
            [program, "ps", "--json", "--root", root],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False,
            start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise NotInstalled(f"{program} cannot be started", cause=str(error)) from error
    except subprocess.TimeoutExpired:
        raise ServerUnavailable(
            f"no server listened in {root} within {PATIENCE} s", hint=f"see {root}/server.log"
        ) from None
    if done.returncode != 0:
        raise _reported(done.stderr, root)


def _reported(stderr: bytes, root: str) -> CkptError:
    """The error that the program printed."""
    try:
        found = json.loads(stderr)
        error = from_message(found["error"])
    except (ValueError, TypeError, KeyError):
        return ServerUnavailable(
            f"the server of {root} cannot be started", cause=stderr.decode(errors="replace").strip()[-500:]
        )
    return error


def main() -> None:
    """The `ckpt` command of a wheel: the program itself, with this process's arguments."""
    try:
        program = find()
    except CkptError as error:
        sys.stderr.write(f"ckpt: {error}\n")
        raise SystemExit(125) from None
    os.execv(program, ["ckpt", *sys.argv[1:]])  # noqa: S606
