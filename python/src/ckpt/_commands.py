"""Commands as the API takes them."""

from __future__ import annotations

import base64
import math
import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from .errors import InvalidOption
from .options import PathLike


def exec_request(
    command: str | Sequence[str],
    timeout: float | None,
    cwd: PathLike | None,
    env: Mapping[str, str] | None,
    user: str | None,
    stdin: str | bytes | None,
    max_output: int | None,
    session: str | None,
    save_on_crash: bool | None,
    id: str,
) -> dict[str, Any]:
    """The API's `ExecRequest`. Raises `InvalidOption` for what is no command."""
    body: dict[str, Any] = {"id": id}
    if isinstance(command, str):
        body["command"] = command
    elif isinstance(command, (bytes, bytearray)) or not command:
        raise InvalidOption("a command is a text, or a list of a program and its arguments")
    elif session is not None:
        # A session's bash is given text.
        body["command"] = command_line(command)
    else:
        body["argv"] = [os.fspath(word) for word in command]
    if timeout is not None:
        if timeout == math.inf:
            raise InvalidOption("a timeout is a positive number of seconds", hint="leave it out for none")
        body["timeout"] = timeout
    if cwd is not None:
        body["cwd"] = os.fspath(cwd)
    if env:
        body["env"] = {key: str(value) for key, value in env.items()}
    if user is not None:
        body["user"] = str(user)
    if stdin is not None:
        body["stdin"] = base64.b64encode(stdin.encode() if isinstance(stdin, str) else stdin).decode()
    if max_output is not None:
        if max_output < 0:
            raise InvalidOption(f"max_output is a number of bytes: {max_output}")
        body["maxOutput"] = max_output
    if session is not None:
        body["session"] = session
    if save_on_crash is not None:
        body["saveOnCrash"] = save_on_crash
    return body


def command_line(command: str | Sequence[str]) -> str:
    """A command as one line, for people."""
    return command if isinstance(command, str) else shlex.join(os.fspath(word) for word in command)
