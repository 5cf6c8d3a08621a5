"""Processes that outlive a call: background commands, and `subprocess.Popen` of commands inside."""

from __future__ import annotations

import logging
import os
import secrets
import shlex
import signal
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from ... import _binary, errors
from ..._sync.jobs import Job
from ..._sync.sandbox import Sandbox as Native
from .errors import translated

MERGED = 'exec "$0" -c "$1" 2>&1'
"""Has a shell run a text with stderr where stdout is, in their order."""
_ANNOUNCED = 'echo $$; exec "$0" -c "$1" 2>&1'
"""The same, after a line with the process's pid."""
_KILL = """
for d in /proc/[0-9]*; do
    grep -qz "^CKPT_POPEN=$1$" $d/environ 2>/dev/null && kill -9 ${d#/proc/}
done
true
"""

_PARTING = 2.0
"""Seconds that a helper has to tell of the end of its command."""
logger = logging.getLogger(__name__)


def text(command: str | Sequence[str]) -> str:
    """A command as a line for a shell."""
    return command if isinstance(command, str) else shlex.join(command)


class Background:
    """The part of a sandbox that deals with commands that nobody waits for."""

    _native: Native
    _shell: str
    _workdir: str

    def __init__(self) -> None:
        self._bg_handles: dict[str, str] = {}
        self._all_handles: set[str] = set()

    def run_background(self, command: str | list[str]) -> str:
        """Starts a command that runs on, and returns a handle for `check_background` and `stop_background`.

        It is part of every snapshot: `restore` brings it back as it was.
        """
        handle = uuid.uuid4().hex[:8]
        with translated():
            words = ["/bin/sh", "-c", _ANNOUNCED, self._shell, text(command)]
            job = self._native.start(words, id=handle, cwd=self._workdir)
            # The first line comes at once, from the shell itself.
            head = next(iter(job.follow()), b"")
        self._all_handles.add(handle)
        self._bg_handles[handle] = head.partition(b"\n")[0].decode(errors="replace")
        return handle

    def check_background(self, handle: str) -> tuple[str, bool]:
        """What a background command has printed so far, and whether it runs."""
        job = self._job(handle)
        if job is None:
            return "", False
        with translated():
            return self._printed(job), job.refresh().state == "running"

    def list_background(self) -> dict[str, dict[str, Any]]:
        """`{handle: {"pid": …, "running": …}}` of all background commands."""
        with translated():
            running = {job.id for job in self._native.jobs() if job.info.state == "running"}
        return {
            handle: {"pid": pid, "running": handle in running} for handle, pid in self._bg_handles.items()
        }

    def stop_background(self, handle: str) -> str:
        """Ends a background command with all it started, and returns what it had printed."""
        job = self._job(handle)
        self._bg_handles.pop(handle, None)
        if job is None:
            return ""
        with translated():
            if job.refresh().state == "running":
                job.stop(grace=0.5)
            printed = self._printed(job)
            job.remove()
        return printed

    def _job(self, handle: str) -> Job | None:
        if handle not in self._bg_handles:
            return None
        with translated():
            try:
                return self._native.job(handle)
            except errors.NotFound:
                return None

    @staticmethod
    def _printed(job: Job) -> str:
        return job.stdout().partition("\n")[2]

    def _find_background(self) -> None:
        """After a restore: the background commands are those of that instant."""
        with translated():
            jobs = [job for job in self._native.jobs() if job.id in self._all_handles]
            self._bg_handles = {job.id: job.stdout().partition("\n")[0] for job in jobs}


class SandboxPopen(subprocess.Popen[Any]):
    """A command inside a sandbox as a `subprocess.Popen`, with real pipes.

    `pid` is that of a helper on this machine, which passes signals on; `returncode` is the command's exit
    code, 128 + N where signal N ended it.
    """

    def __init__(
        self, native: Native, command: str | list[str], workdir: str, keywords: dict[str, Any]
    ) -> None:
        self._native = native
        self._token = secrets.token_hex(8)
        words = ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)
        directory = os.fspath(keywords.pop("cwd", None) or workdir)
        given: Mapping[str, str] | None = keywords.pop("env", None)
        if given is not None:
            pairs = [f"{key}={value}" for key, value in given.items()]
            words = ["env", "-i", f"CKPT_POPEN={self._token}", *pairs, *words]
        program = [
            native.client._binary or _binary.find(), "exec", "-i", "--root", native.client.root,
            "--cwd", directory, "--env", f"CKPT_POPEN={self._token}", native.name, "--", *words,
        ]  # fmt: skip
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        # A process group of its own: Ctrl-C at the caller's terminal is not for the sandbox.
        super().__init__(program, **{"start_new_session": True} | pipes | keywords)

    def send_signal(self, sig: int) -> None:
        """Sends the command a signal; `SIGKILL` ends all that it started too."""
        if sig != signal.SIGKILL:
            super().send_signal(sig)
        elif self.poll() is None:
            with translated():
                self._native.exec(["/bin/sh", "-c", _KILL, "sh", self._token])
            try:
                self.wait(_PARTING)
            except subprocess.TimeoutExpired:
                # What has thrown its environment away carries no mark; nobody shall wait for it.
                logger.warning("sandbox %s: a command without its environment runs on", self._native.name)
                super().send_signal(sig)
