# Generated from ../_async/session.py by scripts/generate-python; edit that one.
"""A long-lived bash."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .._commands import command_line, exec_request
from ..options import PathLike
from ..results import Result
from .borrowed import BorrowedSession

if TYPE_CHECKING:
    from typing_extensions import Self

    from .sandbox import Sandbox


class Session:
    """A long-lived bash of a sandbox; see `Sandbox.session`.

        shell = sb.session()
        shell.exec("cd /srv; export MODE=test")
        shell.exec("make $MODE", timeout=60)

    Commands of one session run one after the other. A timeout kills the command and what it started, not
    the bash.
    """

    def __init__(self, sandbox: Sandbox, name: str, start: dict[str, Any] | None = None) -> None:
        self._sandbox = sandbox
        self._name = name
        self._start = start or {}

    @property
    def name(self) -> str:
        """Its name in the sandbox, 1 to 64 of `[A-Za-z0-9_-]`."""
        return self._name

    def exec(
        self,
        command: str | Sequence[str],
        *,
        timeout: float | None = None,
        cwd: PathLike | None = None,
        env: Mapping[str, str] | None = None,
        max_output: int | None = None,
        check: bool = False,
    ) -> Result:
        """Has the bash run a text; parameters and errors as in `Sandbox.exec`.

        `cwd` is where the bash goes and stays; `env` ends with the command.
        """
        body = exec_request(
            command, timeout, cwd, env, None, None, max_output, self._name, None, secrets.token_hex(12)
        )
        return self._sandbox._run(body | self._start, command_line(command), None, check)

    def borrow(self) -> BorrowedSession:
        """Its bash without the server between, for many short commands.

            with sb.session("main").borrow() as shell:
                shell.exec("true")

        The bash is borrowed with the first command, and given back at the end of the block.
        """
        return BorrowedSession(self)

    def close(self) -> None:
        """Ends the bash. Its next command would start a new one."""
        if self._name in (self._sandbox.info()).sessions:
            self.exec("exit")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: Any, *exception: object) -> None:
        if kind is None:
            self.close()

    def __repr__(self) -> str:
        return f"Session({self._name!r}, {self._sandbox!r})"
