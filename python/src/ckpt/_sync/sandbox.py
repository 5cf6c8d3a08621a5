# Generated from ../_async/sandbox.py by scripts/generate-python; edit that one.
"""A sandbox: make it, run commands in it, end it."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .. import options as _options
from .._commands import command_line, exec_request, session_start
from .._wire.http import request
from ..errors import InternalError, WrongState
from ..messages import SandboxInfo
from ..results import Result
from .checkpoints import Checkpoints
from .client import Client
from .connections import decoded, encoded
from .control import Control
from .events import Events
from .files import Files
from .jobs import Jobs
from .python_session import PythonSession
from .session import Session
from .stream import ExecStream

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack


# In the class `list` is its method.
SandboxList = list[SandboxInfo]

LARGEST_STDIN = 4 << 20
"""Bytes of stdin that go into one request: the server takes 8 MiB, and base64 makes 3 bytes 4."""
LARGEST_OUTPUT = 32 << 20
"""Bytes of each stream that a call returns at most."""


class Sandbox(Checkpoints, Control, Jobs):
    """A sandbox: namespaces, a root filesystem and a tree of processes, which can be saved, rolled back and
    forked.

        with Sandbox.create(memory="2g", pids=512) as sb:
            sb.exec("pip install pytest", check=True)
            ready = sb.save(tag="ready")
            result = sb.exec("pytest", timeout=600)
            sb.restore(ready)

    Methods raise `SandboxDied` once its PID 1 has gone, `SandboxNotFound` once it was removed. Leaving a
    `with` block removes it, unless it was only looked up with `get`. It may be used by several threads or
    tasks at once, and goes to other processes by pickle, where it means the same sandbox.
    """

    def __init__(self, name: str, client: Client | None = None) -> None:
        """The sandbox of that name, which is not asked for; see `get` and `create`."""
        super().__init__(name, client)
        self._owner: int | None = None
        self._exec_path = f"{self._path}/exec"

    @classmethod
    def create(
        cls,
        base: _options.PathLike = "host",
        name: str | None = None,
        *,
        client: Client | None = None,
        **options: Unpack[_options.SandboxOptions],
    ) -> Self:
        """Makes a sandbox and starts it.

        `base` is `host` (this machine's programs without its data), or a directory that is a root filesystem.
        `name` is made up when missing. Every option of the sandbox is a keyword: see `SandboxOptions`.

        Raises `InvalidOption`, `NameTaken`, `NotPermitted`, `ServerUnavailable`.
        """
        client = client or Client.default()
        body: dict[str, Any] = {"spec": _options.spec(base, options)}
        if name is not None:
            body["name"] = name
        info = client._transport.call("POST", "/v1/sandboxes", body, repeatable=False)
        return cls._made(info["name"], client)

    @classmethod
    def _made(cls, name: str, client: Client) -> Self:
        """One that this program made, and removes at the end of a `with` block."""
        sandbox = cls(name, client)
        sandbox._owner = os.getpid()
        return sandbox

    @classmethod
    def get(cls, name: str, *, client: Client | None = None) -> Self:
        """The sandbox of that name, which somebody made before. Raises `SandboxNotFound`."""
        sandbox = cls(name, client)
        sandbox.info()
        return sandbox

    @classmethod
    def list(cls, *, client: Client | None = None) -> SandboxList:
        """All sandboxes of the server, dead and stopped ones too."""
        return (client or Client.default()).sandboxes()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        # A forked child that leaves the block of its parent takes nothing away from it.
        if self._owner == os.getpid():
            self.remove()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._name, self._client)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sandbox):
            return NotImplemented
        return (self._name, self._client.root) == (other._name, other._client.root)

    def __hash__(self) -> int:
        return hash((self._name, self._client.root))

    def __repr__(self) -> str:
        return f"Sandbox({self._name!r})"

    def exec(
        self,
        command: str | Sequence[str],
        *,
        timeout: float | None = None,
        cwd: _options.PathLike | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        stdin: str | bytes | None = None,
        max_output: int | None = None,
        session: str | None = None,
        save_on_crash: bool | None = None,
        check: bool = False,
    ) -> Result:
        """Runs a command to its end and returns what it printed.

        A text is run by the sandbox's bash (by /bin/sh where there is none); a list is a program and its
        arguments. Each call is a fresh process, unless `session` names a long-lived bash (see `session`).

        `timeout`: seconds until the command and all it started are killed; what it printed is kept.
        `stdin`: all that it reads; nothing when missing. `max_output`: bytes of each stream that are kept,
        32 MiB at most. `user`: as in `SandboxOptions`. `save_on_crash`: saves the instant of a fatal
        signal. In a session `cwd` is where its bash goes and stays, `env` ends with the command, and `user`
        is whose bash it is where this command starts it.

        The command's failure is in the `Result`; `check=True` raises `CommandFailed` or `CommandTimeout`
        for it. A task that is cancelled, or Ctrl-C, kills the command. Raises `SandboxDied`,
        `InvalidOption`, `WrongState`.

            result = sb.exec(["grep", "-c", "ok", "log"], cwd="/srv", timeout=5)
        """
        given = stdin.encode() if isinstance(stdin, str) else stdin
        large = given is not None and len(given) > LARGEST_STDIN
        body = exec_request(
            command, timeout, cwd, env, user, None if large else given, max_output, session, save_on_crash,
            secrets.token_hex(12),
        )  # fmt: skip
        return self._run(body, command_line(command), given if large else None, check)

    def _run(self, body: dict[str, Any], command: str, stdin: bytes | None, check: bool) -> Result:
        """Runs what a request says, with `stdin` where that is too large to be part of it."""
        if stdin is not None:
            result = self._feed(body, command, stdin)
            return result.check() if check else result
        data = request("POST", self._exec_path, encoded(body))
        try:
            answer = self._client._transport._attempt(data, decoded, repeatable=True)
        except (WrongState, InternalError) as error:
            raise self._explained(error) from error
        result = Result(answer, command)
        return result.check() if check else result

    def _feed(self, body: dict[str, Any], command: str, stdin: bytes) -> Result:
        """Runs a command whose stdin is too large for one request."""
        body = {"maxOutput": LARGEST_OUTPUT} | body | {"interactive": True}
        stream = ExecStream(self, body, command, follows=False)
        stream._connect()
        try:
            try:
                stream.write(stdin)
                stream.close_stdin()
            except BrokenPipeError:
                # It did not want all of it.
                pass
            stdout, stderr = stream.collect()
        except BaseException:
            stream.signal(signal.SIGKILL)
            stream.detach()
            raise
        return stream.result.with_output(stdout, stderr)

    def stream(
        self,
        command: str | Sequence[str],
        *,
        stdin: bool = False,
        tty: bool = False,
        rows: int | None = None,
        columns: int | None = None,
        timeout: float | None = None,
        cwd: _options.PathLike | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        max_output: int | None = None,
        session: str | None = None,
        id: str | None = None,
    ) -> ExecStream:
        """Starts a command and returns a stream of what it prints, to which stdin can be written.

        `stdin=True`: it reads what `write` sends; else its stdin is empty. `tty`: it gets a terminal of
        `rows` by `columns`, and stderr comes with stdout. `id`: follows the command of that id where there
        is one, from where another stream stopped reading. The other parameters are those of `exec`; there
        is no limit of output when `max_output` is missing.

            stream = sb.stream("make 2>&1")
            for output in stream:
                print(output.text, end="")
            print(stream.result.exit_code)
        """
        body = exec_request(
            command, timeout, cwd, env, user, None, max_output, session, None, id or secrets.token_hex(12)
        )
        body |= {"interactive": stdin, "tty": tty}
        if rows is not None:
            body["rows"] = rows
        if columns is not None:
            body["columns"] = columns
        stream = ExecStream(self, body, command_line(command), follows=id is not None)
        stream._connect()
        return stream

    def session(
        self,
        name: str | None = None,
        *,
        cwd: _options.PathLike | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
    ) -> Session:
        """A long-lived bash, whose directory, variables, functions and jobs stay from call to call.

        It starts with its first command, in `cwd`, with `env` and as `user`, and goes through save, restore
        and fork. A name is made up when missing; the same name is the same session.
        """
        return Session(self, name or f"s{secrets.token_hex(6)}", session_start(cwd, env, user))

    def python(
        self,
        name: str = "python",
        *,
        interpreter: str = "python3",
        cwd: _options.PathLike | None = None,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
    ) -> PythonSession:
        """A Python interpreter that stays: an expression in, its value or traceback out.

        It goes through save, restore and fork with all its variables. `interpreter` is a program of the
        sandbox; the same `name` is the same interpreter, which was started in `cwd`, with `env` and as
        `user`. Raises `NotFound` where the sandbox has no such program.

            py = sb.python()
            py.run("import math; r = 2")
            area = py.eval("math.pi * r ** 2")
        """
        session = PythonSession(
            self, self.session(f"py-{name}", cwd=cwd, env=env, user=user), interpreter
        )
        session._start()
        return session

    def events(self, *, since: int | None = None, kinds: Sequence[str] = ()) -> Events:
        """Begins to watch what happens to this sandbox; see `Client.events`."""
        return self._client.events(since=since, sandbox=self._name, kinds=kinds)

    @property
    def files(self) -> Files:
        """The sandbox's files."""
        return Files(self)
