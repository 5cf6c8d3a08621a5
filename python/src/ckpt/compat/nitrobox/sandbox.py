"""A sandbox with nitrobox's methods."""

from __future__ import annotations

import atexit
import logging
import os
import re
import secrets
import threading
from pathlib import Path
from typing import Any

from ... import errors
from ..._sync.sandbox import Sandbox as Native
from ..._sync.stream import ExecStream
from . import oci, ownership
from .config import SandboxConfig, is_root_read_only, native
from .errors import SandboxConfigError, SandboxInitError, translated
from .features import SandboxFeatures, features_of
from .image import base_of
from .processes import MERGED, Background, SandboxPopen, text
from .snapshots import Snapshots
from .transfer import Transfer
from .twins import AsyncTwins

logger = logging.getLogger(__name__)
_READY = b"\x06"
_QUIET = 'stty -echo 2>/dev/null; printf \'\\006\'; exec "$0" -c "$1"'
"""Has a shell run a text in a terminal that shows nothing of what is typed, once it says so."""


class Sandbox(Background, Transfer, Snapshots, AsyncTwins):
    """A sandbox of a rootfs directory or of this machine's programs.

        with Sandbox(SandboxConfig(image="/srv/rootfs", working_dir="/workspace"), name="worker-0") as box:
            output, exit_code = box.run("make test", timeout=600)
            box.reset()

    It goes with the process that made it. One that died stays dead and its methods raise `SandboxError`,
    until `restore` or `reset`.
    """

    SUPPORTED_FS_BACKENDS = ("overlayfs", "btrfs")
    _live_instances: list[Sandbox] = []  # noqa: RUF012
    _atexit_registered = False

    features: SandboxFeatures
    """What it has; the same names as theirs."""

    def __init__(self, config: SandboxConfig, name: str = "default") -> None:
        """Makes it. `name` is for people: any number of sandboxes may have the same.

        Raises `SandboxConfigError`, `SandboxKernelError`, `SandboxInitError`, and `NotImplementedError` for
        what is not there yet.
        """
        Background.__init__(self)
        Snapshots.__init__(self)
        if config.fs_backend not in self.SUPPORTED_FS_BACKENDS:
            raise SandboxConfigError(
                f"Unsupported fs_backend {config.fs_backend!r}. "
                f"It is one of {', '.join(self.SUPPORTED_FS_BACKENDS)}."
            )
        self._config = config
        self._name = name
        self._workdir = config.working_dir or "/"
        self._deleted = False
        self._owner = os.getpid()
        self._alone = threading.Lock()
        self._terminal = threading.Condition()
        self._typed = b""
        self._foreground: ExecStream | None = None
        base, options = base_of(config.image), native(config)
        unique = f"{re.sub('[^A-Za-z0-9_.-]', '-', name)[:40].strip('-_.') or 'box'}-{secrets.token_hex(4)}"
        with translated(SandboxInitError):
            self._native = Native.create(base, unique, **options)
            if is_root_read_only(config) and not self._native.files.exists(self._workdir):
                # Nothing can make it there any more.
                self._native.remove()
                empty = Path(config.env_base_dir, ".empty").absolute()
                empty.mkdir(mode=0o555, parents=True, exist_ok=True)
                options["volumes"] = [*config.volumes, f"{empty}:{self._workdir}:ro"]
                self._native = Native.create(base, unique, **options)
            try:
                self._settle()
            except BaseException:
                self._native.remove()
                raise
        self._env_dir = Path(config.env_base_dir) / name
        ownership.note(self._env_dir, self._native)
        self._register(self)

    def _settle(self) -> None:
        info = self._native.info()
        for warning in info.warnings or []:
            logger.warning("sandbox %s: %s", self._name, warning)
        self._make_working_dir()
        self._shell = "/bin/bash" if self._native.files.exists("/bin/bash") else "/bin/sh"
        self.features = features_of(self._config)

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *exc: Any) -> None:
        # A forked child that leaves the block of its parent takes nothing away from it.
        if self._owner == os.getpid():
            self.delete()

    # Commands

    def run(self, command: str | list[str], timeout: int | None = None) -> tuple[str, int]:
        """Runs a command with a fresh shell in `working_dir`.

        Returns what it printed on both streams, 32 MiB of it at most, and its exit code.

        Out of time it is killed with all it started, and the answer is
        `("Command timed out after N seconds", 124)`; 0 seconds are no limit.
        """
        line, timeout = text(command), timeout or None
        with translated():
            if self._config.tty:
                # One terminal: what is typed is for one command.
                with self._alone:
                    return self._run_in_terminal(line, timeout)
            words = ["/bin/sh", "-c", MERGED, self._shell, line]
            result = self._native.exec(words, timeout=timeout, cwd=self._workdir)
            if result.timed_out:
                return f"Command timed out after {timeout} seconds", 124
            if result.truncated:
                logger.warning("sandbox %s: of what %.200s printed, 32 MiB are kept", self._name, line)
            return result.stdout_bytes.decode("utf-8", "backslashreplace"), result.exit_code

    def _run_in_terminal(self, line: str, timeout: int | None) -> tuple[str, int]:
        words = ["/bin/sh", "-c", _QUIET, self._shell, line]
        with self._native.stream(words, stdin=True, tty=True, timeout=timeout, cwd=self._workdir) as stream:
            printed = b""
            try:
                for output in stream:
                    printed += output.data
                    if self._foreground is None and _READY in printed:
                        printed = printed.partition(_READY)[2]
                        with self._terminal:
                            self._foreground = stream
                            stream.write(self._typed)
                            self._typed = b""
            finally:
                with self._terminal:
                    self._foreground = None
        if stream.result.timed_out:
            return f"Command timed out after {timeout} seconds", 124
        return printed.replace(b"\r\n", b"\n").decode("utf-8", "backslashreplace"), stream.result.exit_code

    def write_stdin(self, data: str | bytes) -> None:
        """Types into the terminal of the command that runs, or of the next one.

        Raises `RuntimeError` without `SandboxConfig(tty=True)`.
        """
        if not self._config.tty:
            raise RuntimeError("write_stdin() requires tty=True")
        typed = data.encode() if isinstance(data, str) else data
        with self._terminal:
            if self._foreground is None:
                self._typed += typed
            else:
                with translated():
                    self._foreground.write(typed)

    def popen(self, command: str | list[str], **kwargs: Any) -> SandboxPopen:
        """Starts a command with three pipes; a `subprocess.Popen`, whose keywords it takes."""
        with translated():
            return SandboxPopen(self._native, command, self._workdir, kwargs)

    # What it uses

    @property
    def rootfs(self) -> Path:
        """Where this machine sees its root filesystem, while it runs.

        An absolute link below it leads to files of this machine: use `read_file` where that matters.
        """
        with translated():
            return Path(f"/proc/{self._native.info().pid}/root")

    def pressure(self) -> dict[str, dict[str, float]]:
        """How much of the time its processes waited for cpu, memory and io.

        Empty where the kernel does not say.
        """
        with translated():
            found = self._native.stats().pressure
        answer: dict[str, dict[str, float]] = {}
        for resource in ("cpu", "memory", "io"):
            part = getattr(found, resource, None)
            if part is not None:
                averages = part.some
                answer[resource] = {
                    "avg10": averages.avg10, "avg60": averages.avg60, "avg300": averages.avg300,
                }  # fmt: skip
        return answer

    def reclaim_memory(self) -> bool:
        """Gives memory that was not used lately back to this machine; whether that could be asked for."""
        try:
            self._native.reclaim()
        except (errors.NotPermitted, errors.WrongState):
            return False
        except errors.CkptError:
            with translated():
                raise
        return True

    def save_as_image(self, image_name: str) -> Path:
        """Writes the root filesystem as an OCI archive, and returns its path.

        `image_name` is NAME[:TAG], and the archive NAME_TAG.tar in the working directory; or the path of the
        archive, where it ends in `.tar`. `docker load` and `podman load` take it.
        """
        with translated(SandboxInitError):
            return oci.write(self._native, image_name, self._config)

    # Its life

    def reset(self) -> None:
        """Brings the first state back: no changed file, no process."""
        with translated():
            self._native.reset()
            self._make_working_dir()
        self._bg_handles.clear()
        self._retire()

    def delete(self) -> None:
        """Ends it and removes it with its snapshots; doing it twice does nothing."""
        if self._deleted:
            return
        with translated():
            self._native.remove()
            self._forget_snapshots()
        self._deleted = True
        ownership.forget(self._env_dir, self._native)
        self._bg_handles.clear()
        self._unregister(self)

    @staticmethod
    def cleanup_stale(env_base_dir: str = "") -> int:
        """Removes the sandboxes of processes that are gone; how many there were."""
        return ownership.clean(env_base_dir or SandboxConfig().env_base_dir)

    # Its own

    def _make_working_dir(self) -> None:
        if not self._native.files.exists(self._workdir):
            self._native.files.mkdir(self._workdir, parents=True)

    def _after_restore(self) -> None:
        self._find_background()

    @classmethod
    def _register(cls, instance: Sandbox) -> None:
        cls._live_instances.append(instance)
        if not cls._atexit_registered:
            atexit.register(cls._atexit_cleanup)
            cls._atexit_registered = True

    @classmethod
    def _unregister(cls, instance: Sandbox) -> None:
        if instance in cls._live_instances:
            cls._live_instances.remove(instance)

    @classmethod
    def _atexit_cleanup(cls) -> None:
        for box in [box for box in cls._live_instances if box._owner == os.getpid()]:
            try:
                box.delete()
            except Exception:
                logger.exception("sandbox %s could not be removed", box._name)
        cls._live_instances.clear()

    def __repr__(self) -> str:
        return f"Sandbox(name={self._name!r}, fs={self._config.fs_backend}, sandbox={self._native.name!r})"
