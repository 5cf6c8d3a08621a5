"""How a command ended."""

from __future__ import annotations

import base64
import copy
from typing import Any

from .errors import CommandFailed, CommandTimeout


class Result:
    """How a command ended, and what it printed.

    A command that failed is no error of the call: look at `exit_code`, or call `check()`.

        result = sb.exec("make test", timeout=600)
        if result.timed_out:
            ...
    """

    __slots__ = (
        "_stderr", "_stdout", "command", "duration", "exit_code", "id", "oom_killed", "signal", "timed_out",
        "truncated",
    )  # fmt: skip

    id: str
    """The command's id in the sandbox."""
    command: str
    """What was run, as one line."""
    exit_code: int
    """Its exit code; 128 + N when signal N killed it, 124 when it ran out of time."""
    signal: int | None
    """The signal that killed it."""
    timed_out: bool
    """Whether it ran out of time and was killed, with all that it had started."""
    oom_killed: bool
    """Whether it was killed, or another process at that time, for want of memory."""
    truncated: bool
    """Whether it printed more than `max_output` bytes on a stream; the rest is gone."""
    duration: float
    """Seconds from start to exit, measured in the sandbox."""

    def __init__(self, answer: dict[str, Any], command: str) -> None:
        self.command = command
        self.id = answer["id"]
        self.exit_code = answer["exitCode"]
        self.signal = answer.get("signal")
        self.timed_out = answer["timedOut"]
        self.oom_killed = answer["oomKilled"]
        self.truncated = answer["truncated"]
        self.duration = answer["durationMs"] / 1000
        self._stdout = _output(answer, "stdout")
        self._stderr = _output(answer, "stderr")

    @classmethod
    def of(
        cls, id: str, command: str, exit_code: int, duration: float, stdout: bytes, stderr: bytes
    ) -> Result:
        """The end of a command that nothing else is known of."""
        result = cls.__new__(cls)
        result.id, result.command, result.exit_code, result.duration = id, command, exit_code, duration
        result.signal, result.timed_out, result.oom_killed, result.truncated = None, False, False, False
        result._stdout, result._stderr = stdout, stderr
        return result

    def with_output(self, stdout: bytes, stderr: bytes) -> Result:
        """The same end of the command with what it printed, where that was read from a stream."""
        result = copy.copy(self)
        result._stdout, result._stderr = stdout, stderr
        return result

    @property
    def stdout(self) -> str:
        """What it printed on stdout; bytes that are no UTF-8 are replaced by U+FFFD."""
        return self._stdout if isinstance(self._stdout, str) else self._stdout.decode(errors="replace")

    @property
    def stderr(self) -> str:
        """What it printed on stderr; bytes that are no UTF-8 are replaced by U+FFFD."""
        return self._stderr if isinstance(self._stderr, str) else self._stderr.decode(errors="replace")

    @property
    def stdout_bytes(self) -> bytes:
        """What it printed on stdout, byte for byte."""
        return self._stdout.encode() if isinstance(self._stdout, str) else self._stdout

    @property
    def stderr_bytes(self) -> bytes:
        """What it printed on stderr, byte for byte."""
        return self._stderr.encode() if isinstance(self._stderr, str) else self._stderr

    @property
    def ok(self) -> bool:
        """Whether it ended by itself with exit code 0."""
        return self.exit_code == 0

    def check(self) -> Result:
        """Returns itself when `ok`; raises `CommandTimeout` or `CommandFailed` otherwise."""
        if self.timed_out:
            raise CommandTimeout(f"{_short(self.command)} ran out of time after {self.duration:.3g} s", self)
        if not self.ok:
            how = (
                f"was killed by signal {self.signal}"
                if self.signal
                else f"ended with exit code {self.exit_code}"
            )
            last = self.stderr.strip().rsplit("\n", 1)[-1]
            raise CommandFailed(f"{_short(self.command)} {how}" + (f": {last[:200]}" if last else ""), self)
        return self

    def __repr__(self) -> str:
        flags = [flag for flag in ("timed_out", "oom_killed", "truncated") if getattr(self, flag)]
        parts = [f"exit_code={self.exit_code}", *flags, f"stdout={_short(self.stdout)!r}"]
        if self._stderr:
            parts.append(f"stderr={_short(self.stderr)!r}")
        return f"Result({', '.join(parts)})"


def _output(answer: dict[str, Any], stream: str) -> str | bytes:
    text = answer.get(stream)
    if text is not None:
        return str(text)
    encoded = answer.get(stream + "Base64")
    return base64.b64decode(encoded) if encoded else ""


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "…"
