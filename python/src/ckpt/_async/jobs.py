"""Commands that run unattended."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence

from .. import options as _options
from .._commands import exec_request
from .._jobs import decoded_piece
from .._wire.http import segment, target
from ..messages import JobInfo
from .core import AsyncSandboxCore


class AsyncJob:
    """A command that runs unattended and is saved, restored and forked with its sandbox."""

    info: JobInfo
    """What was known of it last."""

    def __init__(self, sandbox: AsyncJobs, info: JobInfo) -> None:
        self._sandbox = sandbox
        self.info = info
        self._what = f"/jobs/{segment(info.id)}"

    @property
    def id(self) -> str:
        """Its id in the sandbox; in a fork the same."""
        return self.info.id

    async def refresh(self) -> JobInfo:
        """Asks again. Raises `NotFound` where a restore has undone the job."""
        answer = await self._sandbox._call("GET", target(self._what, limit=0))
        self.info = JobInfo.from_json(answer["job"])
        return self.info

    async def wait(self) -> JobInfo:
        """Waits until it has ended; `info.exit_code` says how."""
        while self.info.state == "running":
            path = target(self._what, limit=0, wait=30, stdoutOffset=FAR, stderrOffset=FAR)
            self.info = JobInfo.from_json((await self._sandbox._call("GET", path))["job"])
        return self.info

    async def stdout(self) -> str:
        """What it has printed on stdout, as far as it is kept (the first 32 MiB and the last 31 at least)."""
        return (await self._output("stdout")).decode(errors="replace")

    async def stderr(self) -> str:
        """The same of stderr."""
        return (await self._output("stderr")).decode(errors="replace")

    async def follow(self) -> AsyncGenerator[bytes, None]:
        """Its stdout from the start, as it comes, until it ends.

        async for piece in job.follow():
            sys.stdout.buffer.write(piece)
        """
        offset = 0
        while True:
            path = target(self._what, stdoutOffset=offset, stderrOffset=FAR, wait=30)
            answer = await self._sandbox._call("GET", path)
            self.info = JobInfo.from_json(answer["job"])
            piece = decoded_piece(answer["stdout"])
            offset = answer["stdout"]["next"]
            if piece:
                yield piece
            elif self.info.state == "exited":
                return

    async def stop(self, signal: int | None = None, *, grace: float | None = None) -> JobInfo:
        """Ends it, and returns when it has ended:

        `signal` (SIGTERM) first, SIGKILL after `grace` seconds (10).
        """
        body = {"signal": signal, "grace": grace}
        self.info = JobInfo.from_json(await self._sandbox._call("POST", self._what + "/stop", body))
        return self.info

    async def remove(self) -> None:
        """Forgets a job that has ended, and what it printed."""
        await self._sandbox._call("DELETE", self._what, repeatable=False)

    async def _output(self, stream: str) -> bytes:
        pieces: list[bytes] = []
        offset = 0
        other = "stderrOffset" if stream == "stdout" else "stdoutOffset"
        while True:
            path = target(self._what, **{f"{stream}Offset": offset, other: FAR, "limit": 4 << 20})
            answer = await self._sandbox._call("GET", path)
            self.info = JobInfo.from_json(answer["job"])
            piece = decoded_piece(answer[stream])
            if not piece:
                return b"".join(pieces)
            pieces.append(piece)
            offset = answer[stream]["next"]

    def __repr__(self) -> str:
        return f"AsyncJob({self.id!r}, {self.info.state})"


FAR = (1 << 62) - 1
"""An offset beyond all output: of that stream nothing is wanted."""


class AsyncJobs(AsyncSandboxCore):
    """The part of a sandbox that deals with jobs."""

    async def start(
        self,
        command: str | Sequence[str],
        *,
        timeout: float | None = None,
        cwd: _options.PathLike | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        session: str | None = None,
        id: str | None = None,
    ) -> AsyncJob:
        """Starts a job: a command that runs on without anybody waiting for it. Parameters as in `exec`.

        A snapshot has the job as it was at that instant, a restore brings it back, and a fork has one too.
        """
        body = exec_request(
            command, timeout, cwd, env, user, None, None, session, None, id or secrets.token_hex(6)
        )
        return AsyncJob(self, JobInfo.from_json(await self._call("POST", "/jobs", body)))

    async def jobs(self) -> list[AsyncJob]:
        """The jobs in the order of their starts; of those that have ended the last 64."""
        answer = await self._call("GET", "/jobs")
        return [AsyncJob(self, JobInfo.from_json(item)) for item in answer["jobs"]]

    async def job(self, id: str) -> AsyncJob:
        """The job of that id, or of a unique beginning of it. Raises `NotFound`."""
        answer = await self._call("GET", target(f"/jobs/{segment(id)}", limit=0))
        return AsyncJob(self, JobInfo.from_json(answer["job"]))
