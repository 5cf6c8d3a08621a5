# Generated from ../_async/python_session.py by scripts/generate-python; edit that one.
"""A Python interpreter that stays."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from .. import _python_values as values
from .._io import blocking as io
from .._python_values import PythonResult
from ..errors import CkptError, CommandTimeout, InternalError, NotFound, PythonError
from ..results import Result

if TYPE_CHECKING:
    from typing_extensions import Self

    from .sandbox import Sandbox
    from .session import Session


class PythonSession:
    """A Python interpreter in a session of the sandbox; see `Sandbox.python`.

        py = sb.python()
        py.run("rows = [1, 2, 3]")
        assert py.eval("sum(rows)") == 6

    An exception raises `PythonError` with the traceback. Variables stay after exceptions and timeouts, and
    go through save, restore and fork.
    """

    def __init__(self, sandbox: Sandbox, session: Session, interpreter: str) -> None:
        self._sandbox = sandbox
        self._session = session
        self._interpreter = interpreter
        self._turn = io.Lock()

    def run(self, source: str, *, timeout: float | None = None) -> PythonResult:
        """Runs statements; where the last one is an expression, its value is the result's.

        After `timeout` seconds the code is interrupted (KeyboardInterrupt) and `CommandTimeout` is raised;
        code that does not heed it is killed with its interpreter. Raises `PythonError` for an exception,
        and for an interpreter that is gone (`kind` is `InterpreterDied`): nothing is started in its place
        but by `restart`.
        """
        with self._turn:
            try:
                done = self._session.exec(values.calling(source, secrets.token_hex(4), timeout))
            except CkptError:
                raise
            except BaseException:
                # Who waited was cancelled: the bash has given up, the code has not yet.
                self._session.exec('kill -INT "${ckpt_pid:-}"')
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

    def eval(self, expression: str, *, timeout: float | None = None) -> Any:
        """The value of an expression, made of plain data; for anything else an `Opaque` with its `repr`.

        Errors as in `run`.
        """
        return (self.run(expression, timeout=timeout)).value

    def restart(self) -> None:
        """Ends the interpreter and starts a new one, without any of its variables."""
        self._session.exec(
            'kill -KILL "${ckpt_pid:-}" 2>/dev/null; wait "${ckpt_pid:-}"; unset ckpt_pid'
        )
        self._start()

    def close(self) -> None:
        """Ends the interpreter."""
        self._session.exec('kill -KILL "${ckpt_pid:-}" 2>/dev/null; exit')

    def _start(self) -> None:
        done = self._session.exec(values.starting(self._interpreter))
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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: Any, *exception: object) -> None:
        if kind is None:
            self.close()
