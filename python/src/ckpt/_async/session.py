"""A long-lived bash."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .._commands import command_line, exec_request
from ..options import PathLike
from ..results import Result
from .borrowed import AsyncBorrowedSession

if TYPE_CHECKING:
    from typing_extensions import Self

    from .sandbox import AsyncSandbox


class AsyncSession:
    """A long-lived bash of a sandbox; see `AsyncSandbox.session`.

        shell = sb.session()
        await shell.exec("cd /srv; export MODE=test")
        await shell.exec("make $MODE", timeout=60)

    Commands of one session run one after the other. A timeout kills the command and what it started, not
    the bash.
    """

    def __init__(self, sandbox: AsyncSandbox, name: str, start: dict[str, Any] | None = None) -> None:
        self._sandbox = sandbox
        self._name = name
        self._start = start or {}

    @property
    def name(self) -> str:
        """Its name in the sandbox, 1 to 64 of `[A-Za-z0-9_-]`."""
        return self._name

    async def exec(
        self,
        command: str | Sequence[str],
        *,
        timeout: float | None = None,
        cwd: PathLike | None = None,
        env: Mapping[str, str] | None = None,
        max_output: int | None = None,
        check: bool = False,
    ) -> Result:
        """Has the bash run a text; parameters and errors as in `AsyncSandbox.exec`.

        `cwd` is where the bash goes and stays; `env` ends with the command.
        """
        body = exec_request(
            command, timeout, cwd, env, None, None, max_output, self._name, None, secrets.token_hex(12)
        )
        return await self._sandbox._run(body | self._start, command_line(command), None, check)

    def borrow(self) -> AsyncBorrowedSession:
        """Its bash without the server between, for many short commands.

            async with sb.session("main").borrow() as shell:
                await shell.exec("true")

        The bash is borrowed with the first command, and given back at the end of the block.
        """
        return AsyncBorrowedSession(self)

    async def close(self) -> None:
        """Ends the bash. Its next command would start a new one."""
        if self._name in (await self._sandbox.info()).sessions:
            await self.exec("exit")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: Any, *exception: object) -> None:
        if kind is None:
            await self.close()

    def __repr__(self) -> str:
        return f"AsyncSession({self._name!r}, {self._sandbox!r})"
