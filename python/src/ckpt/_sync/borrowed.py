# Generated from ../_async/borrowed.py by scripts/generate-python; edit that one.
"""A long-lived bash, without the server between."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .._commands import command_line, exec_request
from .._io import blocking as io
from .._wire import http
from ..errors import CkptError, InUse, InvalidOption, SandboxDied, WrongState
from ..options import PathLike
from ..results import Result
from .loan import Loan

if TYPE_CHECKING:
    from typing_extensions import Self

    from .session import Session

PATIENCE = 1.0
"""Seconds after which a call becomes an ordinary one: its text may keep bash from telling its end."""
TRIES = 3
"""How often one call borrows the session, where it is taken back again and again."""


class BorrowedSession:
    """A session whose bash is talked to without the server; see `Session.borrow`.

        with sb.session("main").borrow() as shell:
            for step in range(10_000):
                shell.exec("true")

    Who calls the session meanwhile takes it back, and the next call here borrows it again. It is in no log
    and no event, has no limit of output, and its results do not tell `oom_killed`.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._loan: Loan | None = None
        self._turn = io.Lock()
        self._closed = False

    @property
    def name(self) -> str:
        """The session's name in the sandbox."""
        return self._session.name

    def exec(
        self,
        command: str | Sequence[str],
        *,
        timeout: float | None = None,
        cwd: PathLike | None = None,
        env: Mapping[str, str] | None = None,
        check: bool = False,
    ) -> Result:
        """Has the bash run a text; parameters and errors as in `Session.exec`.

        A timeout also kills background jobs that were started since the session was borrowed. Raises
        `WrongState` where the sandbox is rolled back under the call.
        """
        if timeout is not None and not timeout > 0:
            raise InvalidOption("a timeout is a positive number of seconds", hint="leave it out for none")
        body = exec_request(
            command, timeout, cwd, env, None, None, None, self.name, None, secrets.token_hex(12)
        )
        with self._turn:
            if self._closed:
                raise WrongState("the session was given back", hint="borrow it again")
            try:
                result = self._call(body, command_line(command), timeout)
            except BaseException:
                self._give_back(body["id"])
                raise
        return result.check() if check else result

    def _call(self, body: dict[str, Any], command: str, timeout: float | None) -> Result:
        text = _encoded(body["command"])
        for _ in range(TRIES):
            loan = None if text is None else self._borrowed()
            if loan is None or text is None:
                break
            if loan.begin(text):
                exit_code = loan.follow(PATIENCE if timeout is None else min(timeout, PATIENCE))
                if exit_code is None:
                    return self._handed_back(loan, body, command, timeout)
                return Result.of(body["id"], command, exit_code, loan.elapsed, *loan.printed)
            self._give_back()
        return self._ordinary(body, command)

    def _ordinary(self, body: dict[str, Any], command: str) -> Result:
        """The call through the server; one that it knows by its id is attached to."""
        session = self._session
        return session._sandbox._run(body | session._start, command, None, False)

    def _handed_back(
        self, loan: Loan, body: dict[str, Any], command: str, timeout: float | None
    ) -> Result:
        """The end of a call that takes its time, or whose bash has ended: the server waits for it."""
        try:
            loan.hand_back(body["id"], timeout)
        except (http.Lost, OSError) as error:
            # Another server may be coming. This one's end has ended no call.
            exit_code = loan.follow(timeout)
            if exit_code is None:
                raise self._lost(error) from error
            return Result.of(body["id"], command, exit_code, loan.elapsed, *loan.printed)
        except CkptError as error:
            raise self._lost(error) from error
        stdout, stderr = loan.printed
        self._give_back()
        result = self._ordinary(body, command)
        return result.with_output(stdout + result.stdout_bytes, stderr + result.stderr_bytes)

    def _lost(self, error: Exception) -> CkptError:
        """Why a call that ran cannot be found again."""
        known = error if isinstance(error, CkptError) else WrongState("the server hung up", cause=str(error))
        found = self._session._sandbox._explained(known)
        if isinstance(found, SandboxDied) or "is paused" in str(found):
            return found
        return WrongState(
            f"the call in session {self.name} is lost: the sandbox was rolled back or ended under it",
            cause=str(found),
        )

    def _borrowed(self) -> Loan | None:
        """The loan that there is, or another one; `None` where the session cannot be lent now."""
        if self._loan is not None:
            if self._loan.is_ours and not self._loan.ends:
                return self._loan
            self._give_back()
        try:
            self._loan = Loan.of(self._session._sandbox, self.name)
        except (InUse, WrongState, http.Lost):
            # There is no bash yet, or somebody else has it. Of other reasons the ordinary way tells.
            pass
        return self._loan

    def _give_back(self, running: str | None = None) -> None:
        """Ends the loan; `running` names the call that is killed where one still runs."""
        loan, self._loan = self._loan, None
        if loan is not None:
            loan.end(running)

    def close(self) -> None:
        """Gives the session back. Its bash stays, for whoever calls it next."""
        with self._turn:
            self._closed = True
            self._give_back()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"BorrowedSession({self.name!r}, {self._session._sandbox!r})"


def _encoded(text: str) -> bytes | None:
    """A text for bash; `None` for one that the server refuses in words."""
    try:
        return None if "\0" in text else text.encode()
    except UnicodeEncodeError:
        return None
