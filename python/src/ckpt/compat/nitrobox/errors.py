"""What the compatible door raises."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ... import errors


class SandboxError(RuntimeError):
    """Something that could not be done; `__cause__` is ckpt's own error, with code and hint.

    agentdocker-lite raises `RuntimeError` itself.
    """


class SandboxInitError(SandboxError):
    """A sandbox could not be made."""


class SandboxTimeoutError(SandboxError):
    """An operation ran out of time."""


class SandboxKernelError(SandboxError):
    """The kernel or this machine lacks what is needed."""


class SandboxConfigError(SandboxError, ValueError):
    """The configuration asks for what cannot be."""


@contextmanager
def translated(otherwise: type[SandboxError] = SandboxError) -> Iterator[None]:
    """Turns ckpt's errors into these; those of no other kind become `otherwise`."""
    try:
        yield
    except (errors.InvalidOption, errors.NameTaken) as error:
        raise SandboxConfigError(str(error)) from error
    except (errors.NotPermitted, errors.NotInstalled, errors.ServerUnavailable) as error:
        raise SandboxKernelError(str(error)) from error
    except errors.CommandTimeout as error:
        raise SandboxTimeoutError(str(error)) from error
    except errors.CkptError as error:
        raise otherwise(str(error)) from error
