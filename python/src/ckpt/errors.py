"""Everything that ckpt raises.

`CkptError` is the root. What went wrong with the machinery (`SandboxDied`, `CannotSave`,
`ServerUnavailable` …) and what is the task's own failure (`CommandFailed`, `CommandTimeout`, `PythonError`)
are different branches, so that a trainer can tell a reward of zero from a rollout to be repeated:

    try:
        result = sb.exec("make test", timeout=600, check=True)
    except ckpt.CommandError:
        reward = 0.0
    except ckpt.SandboxDied as death:
        sb = ckpt.Snapshot.get(death.last_snapshot).fork(1)[0]
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .results import Result


class CkptError(Exception):
    """Something that ckpt could not do. Pickles, so it crosses process borders."""

    code: str = "internal"
    """The API's word for what kind of error it is; stable, for programs."""
    message: str
    """What happened and why."""
    hint: str | None
    """What to do about it, where that is known."""
    cause: str | None
    """The error underneath, in its own words."""

    def __init__(
        self, message: str, *, hint: str | None = None, cause: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.cause = cause
        if code:
            self.code = code

    def __str__(self) -> str:
        text = f"{self.message}: {self.cause}" if self.cause else self.message
        return f"{text} (hint: {self.hint})" if self.hint else text

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (type(self), self.args, self.__dict__)


def _rebuilt(kind: type[CkptError], arguments: tuple[Any, ...], state: dict[str, Any]) -> CkptError:
    """An error out of a pickle; its own constructor may ask for what is not in `args`."""
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(state)
    error.args = arguments
    return error


# What was asked for


class InvalidOption(CkptError, ValueError):
    """A value out of its range or form, or an option that does not exist (`bad_value`, `bad_request`)."""

    code = "bad_value"


class NotFound(CkptError, LookupError):
    """There is no such thing: a file, a job, a route (`not_found`)."""

    code = "not_found"


class SandboxNotFound(NotFound):
    """There is no sandbox of that name (`unknown_sandbox`)."""

    code = "unknown_sandbox"


class SnapshotNotFound(NotFound):
    """There is no snapshot by that reference (`unknown_snapshot`)."""

    code = "unknown_snapshot"


class Conflict(CkptError):
    """What is there already stands in the way."""


class Ambiguous(Conflict):
    """A prefix that fits several snapshots or jobs (`ambiguous`)."""

    code = "ambiguous"


class NameTaken(Conflict):
    """A name or a tag that is taken (`name_taken`)."""

    code = "name_taken"


class InUse(Conflict):
    """Something else needs it: children, live sandboxes, another operation (`in_use`)."""

    code = "in_use"


class WrongState(Conflict):
    """The sandbox is paused or stopped, or the command is not there any more (`wrong_state`)."""

    code = "wrong_state"


class NotPermitted(CkptError):
    """A right or a feature of the kernel is missing (`not_permitted`)."""

    code = "not_permitted"


# The machinery


class SandboxDied(CkptError):
    """The sandbox's PID 1 is gone, and with it all that ran there. Nothing is put in its place.

    `Sandbox.restore` brings it back at `last_snapshot`, or at any other snapshot.
    """

    code = "sandbox_died"
    sandbox: str
    """Its name."""
    last_snapshot: str | None
    """The id of the snapshot it stood on; `None` where it came straight from its base."""

    def __init__(self, sandbox: str, reason: str | None, last_snapshot: str | None, cause: str) -> None:
        way = f"restore snapshot {last_snapshot}" if last_snapshot else "reset it, or make a new one"
        super().__init__(f"sandbox {sandbox} is dead: {reason or 'its PID 1 ended'}", hint=way, cause=cause)
        self.sandbox = sandbox
        self.last_snapshot = last_snapshot


class CannotSave(CkptError):
    """A process holds something that cannot be checkpointed (`cannot_save`).

    The sandbox runs on, unchanged.
    """

    code = "cannot_save"
    pid: int | None = None
    """The process inside the sandbox, where it is one's fault."""
    process: str | None = None
    """That process's name."""
    object: str | None = None
    """What it holds, in words: `holds an io_uring (fd 9)`."""

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message, **details)
        found = _CULPRIT.search(message)
        if found:
            self.pid, self.process, self.object = int(found[1]), found[2], found[3].strip()


_CULPRIT = re.compile(r"process (\d+) \(([^)]*)\) (.+?)(?:, which|, whose|$)")


class CannotRestore(CkptError):
    """A process image that could not be restored (`cannot_restore`)."""

    code = "cannot_restore"


class NoSpace(CkptError):
    """The disk, a quota or a table is full (`no_space`)."""

    code = "no_space"


class NotInstalled(CkptError):
    """ckpt, CRIU or ckpt-init is missing, or is not the file it should be (`not_installed`)."""

    code = "not_installed"


class Cancelled(CkptError):
    """The call was broken off (`cancelled`)."""

    code = "cancelled"


class VersionMismatch(CkptError):
    """Server, store or binary are of another version than this package (`version_mismatch`)."""

    code = "version_mismatch"


class ServerUnavailable(CkptError):
    """The server cannot be reached, started or found again (`unavailable`)."""

    code = "unavailable"


class InternalError(CkptError):
    """A bug of ckpt or a broken system (`internal`)."""


# The task


class CommandError(CkptError):
    """A command that ran and did not succeed; the task's failure, not ckpt's."""

    code = "command_failed"
    result: Result
    """How it ended, with all it printed."""

    def __init__(self, message: str, result: Result) -> None:
        super().__init__(message)
        self.result = result

    @property
    def stdout(self) -> str:
        """What it printed on stdout until then."""
        return self.result.stdout

    @property
    def stderr(self) -> str:
        """What it printed on stderr until then."""
        return self.result.stderr


class CommandFailed(CommandError):
    """It ended with another exit code than 0."""


class CommandTimeout(CommandError, TimeoutError):
    """It ran out of time and was killed; `stdout` and `stderr` are what it had printed."""

    code = "timeout"


class PythonError(CkptError):
    """Code in a Python session raised an exception."""

    code = "python_error"
    kind: str
    """The exception's class, as `ValueError`."""
    traceback: str
    """The traceback as Python prints it."""
    stdout: str
    """What the code printed until then."""
    stderr: str
    """The same of stderr."""

    def __init__(self, kind: str, message: str, traceback: str, stdout: str = "", stderr: str = "") -> None:
        super().__init__(f"{kind}: {message}" if message else kind)
        self.kind = kind
        self.traceback = traceback
        self.stdout = stdout
        self.stderr = stderr


_CLASSES: dict[str, type[CkptError]] = {
    kind.code: kind
    for kind in (
        InvalidOption, NotFound, SandboxNotFound, SnapshotNotFound, Ambiguous, NameTaken, InUse, WrongState,
        NotPermitted, CannotSave, CannotRestore, NoSpace, NotInstalled, Cancelled, VersionMismatch,
    )
} | {"bad_request": InvalidOption, "internal": InternalError}  # fmt: skip


def from_message(error: Any) -> CkptError:
    """The exception for an `ErrorMessage` of the API, as decoded JSON."""
    if not isinstance(error, dict):
        return InternalError("the server's error cannot be read", cause=repr(error)[:200])
    code = str(error.get("code"))
    kind = _CLASSES.get(code, CkptError)
    return kind(
        str(error.get("message")), hint=error.get("hint") or None, cause=error.get("cause") or None, code=code
    )
