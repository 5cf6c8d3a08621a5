"""Values of a Python session, and the texts that its bash is given."""

from __future__ import annotations

import base64
import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import InternalError, PythonError

GRACE = 3
"""Seconds that an interpreter has to answer SIGINT before it is killed."""


class Opaque(str):
    """A value of the sandbox that is no plain data: its `repr`, as a text."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Opaque({str(self)!r})"


@dataclass(frozen=True, slots=True)
class PythonResult:
    """What a run of Python code gave."""

    value: Any
    """The value of its last line where that is an expression, else `None`.

    An `Opaque` for what is not made of None, bool, int, float, str, bytes, list, tuple, set, frozenset and
    dict. Nothing of the sandbox is unpickled or evaluated here.
    """
    repr: str
    """The value as the sandbox's `repr` shows it."""
    stdout: str
    """What was printed, by programs it started too."""
    stderr: str
    """The same of stderr."""


def starting(interpreter: str) -> str:
    """Has the session's bash start the interpreter, if it does not run; prints why not."""
    code = base64.b64encode((Path(__file__).parent / "_repl.py").read_bytes()).decode()
    loader = f"import base64; exec(compile(base64.b64decode('{code}'), '<ckpt>', 'exec'))"
    return f"""
if [ -z "${{ckpt_pid-}}" ] || ! kill -0 "$ckpt_pid" 2>/dev/null; then
  command -v {shlex.quote(interpreter)} >/dev/null || {{ echo missing; return 0 2>/dev/null || :; false; }} &&
  {{
    coproc ckpt_python {{ exec {shlex.quote(interpreter)} -u -c {shlex.quote(loader)} 2>/dev/null; }}
    ckpt_pid=$ckpt_python_PID; ckpt_in=${{ckpt_python[1]}}; ckpt_out=${{ckpt_python[0]}}
    IFS= read -r -t 60 -u "$ckpt_out" ckpt_line && printf '%s\\n' "$ckpt_line"
  }}
else
  echo ready
fi"""


def calling(source: str, number: str, timeout: float | None) -> str:
    """Has the session's bash hand over code and print the answer; one to another number is passed over.

    It prints `R` and the answer; `T` and the answer of a run that was interrupted; `K` where it had to be
    killed, and `D` where it is gone: a bash that wrote to one that is just ending would die of SIGPIPE.
    """
    request = base64.b64encode(json.dumps({"source": source, "number": number}).encode()).decode()
    patience = "" if timeout is None else f"-t {max(timeout, 0.001):.3f}"
    return f"""
ckpt_answer() {{
  case $ckpt_line in @*) printf %s "$1"; cat "${{ckpt_line#@}}" ;; *) printf %s "$1$ckpt_line" ;; esac
}}
ckpt_read() {{
  while :; do
    IFS= read -r "$@" -u "$ckpt_out" ckpt_line || return $?
    case $ckpt_line in {number}:*) ckpt_line=${{ckpt_line#*:}}; return 0 ;; esac
  done
}}
trap '' PIPE
kill -0 "${{ckpt_pid:-}}" 2>/dev/null && printf '%s\\n' {request} 2>/dev/null >&"$ckpt_in"
ckpt_sent=$?
trap - PIPE
if [ "$ckpt_sent" != 0 ]; then printf D
elif ckpt_read {patience}; then ckpt_answer R
elif [ $? -le 128 ]; then printf D
elif kill -INT "$ckpt_pid" && ckpt_read -t {GRACE}; then ckpt_answer T
else kill -KILL "$ckpt_pid"; printf K
fi"""


def answered(text: str) -> dict[str, Any]:
    """The answer of the interpreter."""
    try:
        answer = json.loads(base64.b64decode(text, validate=True))
    except (ValueError, RecursionError) as error:
        raise InternalError(
            "the sandbox's interpreter gave no answer that can be read", cause=str(error)
        ) from error
    if not isinstance(answer, dict):
        raise InternalError("the sandbox's interpreter gave no answer that can be read")
    return answer


def result(answer: dict[str, Any]) -> PythonResult:
    """What a run gave. Raises `PythonError` for an exception."""
    stdout, stderr = str(answer.get("stdout", "")), str(answer.get("stderr", ""))
    error = answer.get("error")
    if isinstance(error, dict):
        kind, message, trace = (str(error.get(key, "")) for key in ("kind", "message", "traceback"))
        raise PythonError(kind, message, trace, stdout, stderr)
    shown = str(answer.get("repr", ""))
    value = decoded(answer.get("value")) if answer.get("plain") else Opaque(shown)
    return PythonResult(value, shown, stdout, stderr)


def decoded(value: Any) -> Any:
    """A value out of what `encoded` in the sandbox made of it."""
    if isinstance(value, list):
        return [decoded(item) for item in value]
    if not isinstance(value, dict):
        return value
    try:
        ((kind, content),) = value.items()
        if kind == "bytes":
            return base64.b64decode(content)
        if kind == "dict":
            return {decoded(key): decoded(item) for key, item in content}
        return {"tuple": tuple, "set": set, "frozenset": frozenset}[kind](decoded(item) for item in content)
    except (ValueError, KeyError, TypeError) as error:
        raise InternalError(
            "a value of the sandbox's interpreter cannot be read", cause=str(error)
        ) from error
