"""Commands as the API takes them."""

from __future__ import annotations

import base64
import math
import os
import re
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
        command = body["command"] = command_line(command)
    else:
        if any(isinstance(word, bytes) for word in command):
            raise InvalidOption("the words of a command are texts, and not bytes")
        body["argv"] = [os.fspath(word) for word in command]
    if timeout is not None:
        if timeout == math.inf:
            raise InvalidOption("a timeout is a positive number of seconds", hint="leave it out for none")
        body["timeout"] = timeout
    # As with options, `None` is as good as missing.
    env = {key: value for key, value in env.items() if value is not None} if env else None
    if session is not None:
        # The request's own `cwd` and `env` are those of the bash, where this call is the one that starts it.
        body["command"] = _in_session(body["command"], cwd, env)
    else:
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


def _in_session(text: str, cwd: PathLike | None, env: Mapping[str, str] | None) -> str:
    """A text for a session's bash, that goes to a directory first, and has variables while it runs."""
    if env:
        for name in env:
            if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name):
                raise InvalidOption(f"{name!r} cannot be a variable of a session's bash")
        # Assignments before `eval` end with it; what it does itself, as `cd`, stays (bash(1), ENVIRONMENT).
        pairs = " ".join(f"{name}={shlex.quote(str(value))}" for name, value in env.items())
        text = f"{pairs} eval {shlex.quote(text)}"
    if cwd is not None:
        text = f"cd -- {shlex.quote(os.fspath(cwd))} && eval {shlex.quote(text)}"
    return text


def session_start(cwd: PathLike | None, env: Mapping[str, str] | None, user: str | None) -> dict[str, Any]:
    """What a session's bash is started with, as part of an `ExecRequest`."""
    start: dict[str, Any] = {}
    if cwd is not None:
        start["cwd"] = os.fspath(cwd)
    if env:
        start["env"] = {key: str(value) for key, value in env.items()}
    if user is not None:
        start["user"] = str(user)
    return start


def command_line(command: str | Sequence[str]) -> str:
    """A command as one line, for people."""
    return command if isinstance(command, str) else shlex.join(os.fspath(word) for word in command)
