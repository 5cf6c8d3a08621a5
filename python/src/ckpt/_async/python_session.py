"""A Python interpreter that stays."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from .. import _python_values as values
from .._io import asynchronous as io
from .._python_values import PythonResult
from ..errors import CkptError, CommandTimeout, InternalError, NotFound, PythonError
from ..results import Result

if TYPE_CHECKING:
    from typing_extensions import Self

    from .sandbox import AsyncSandbox
    from .session import AsyncSession


class AsyncPythonSession:
    """A Python interpreter in a session of the sandbox; see `AsyncSandbox.python`.

        py = await sb.python()
        await py.run("rows = [1, 2, 3]")
        assert await py.eval("sum(rows)") == 6

    An exception raises `PythonError` with the traceback. Variables stay after exceptions and timeouts, and
    go through save, restore and fork.
    """

    def __init__(self, sandbox: AsyncSandbox, session: AsyncSession, interpreter: str) -> None:
        self._sandbox = sandbox
        self._session = session
        self._interpreter = interpreter
        self._turn = io.Lock()

    async def run(self, source: str, *, timeout: float | None = None) -> PythonResult:
        """Runs statements; where the last one is an expression, its value is the result's.

        After `timeout` seconds the code is interrupted (KeyboardInterrupt) and `CommandTimeout` is raised;
        code that does not heed it is killed with its interpreter. Raises `PythonError` for an exception,
        and for an interpreter that is gone (`kind` is `InterpreterDied`): nothing is started in its place
        but by `restart`.
        """
        async with self._turn:
            try:
                done = await self._session.exec(values.calling(source, secrets.token_hex(4), timeout))
            except CkptError:
                raise
            except BaseException:
                # Who waited was cancelled: the bash has given up, the code has not yet.
                await self._session.exec('kill -INT "${ckpt_pid:-}"')
                raise
        state, text = done.stdout[:1], done.stdout[1:]
        if state == "R":
            return values.result(values.answered(text))
        if state == "T":
            self._timed_out(source, done, values.answered(text))
        if state == "K":
            self._timed_out(source, done, {})
        if state == "D":
            raise PythonError("InterpreterDied", "the interpreter has ended; `restart` starts a new one", "")
        raise InternalError("the sandbox's bash gave no answer that can be read", cause=done.stderr[-500:])

    async def eval(self, expression: str, *, timeout: float | None = None) -> Any:
        """The value of an expression, made of plain data; for anything else an `Opaque` with its `repr`.

        Errors as in `run`.
        """
        return (await self.run(expression, timeout=timeout)).value

    async def restart(self) -> None:
        """Ends the interpreter and starts a new one, without any of its variables."""
        await self._session.exec(
            'kill -KILL "${ckpt_pid:-}" 2>/dev/null; wait "${ckpt_pid:-}"; unset ckpt_pid'
        )
        await self._start()

    async def close(self) -> None:
        """Ends the interpreter."""
        await self._session.exec('kill -KILL "${ckpt_pid:-}" 2>/dev/null; exit')

    async def _start(self) -> None:
        done = await self._session.exec(values.starting(self._interpreter))
        if done.stdout.strip() == "missing":
            raise NotFound(
                f"the sandbox has no program {self._interpreter}", hint="name another one with interpreter="
            )
        if done.stdout.strip() != "ready":
            raise InternalError(
                f"{self._interpreter} does not start", cause=done.stderr[-500:] or done.stdout[-500:]
            )

    def _timed_out(self, source: str, done: Result, answer: dict[str, Any]) -> None:
        """Raises what an interrupted run raises; one that ended just in time returns."""
        how = "was interrupted" if answer else "was killed with its interpreter"
        told = {
            "id": done.id, "exitCode": 124, "timedOut": True, "oomKilled": False, "truncated": False,
            "durationMs": done.duration * 1000, "stdout": str(answer.get("stdout", "")),
            "stderr": str(answer.get("stderr", "")),
        }  # fmt: skip
        raise CommandTimeout(f"Python code {how} after {done.duration:.3g} s", Result(told, source))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: Any, *exception: object) -> None:
        if kind is None:
            await self.close()
