"""Names that exist and do not work yet."""

from __future__ import annotations

from typing import Any


def missing(what: str, instead: str) -> NotImplementedError:
    """The error for what is not there: one sentence, with what to do."""
    return NotImplementedError(f"ckpt has no {what}: {instead}")


class _Later(type):
    """The class of `Later`: its class methods are not there yet either."""

    _what: str
    _instead: str

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise missing(cls._what, cls._instead)


class Later(metaclass=_Later):
    """A class whose instances cannot be made yet."""

    later = True
    _what = "such thing"
    _instead = "there is no other way yet"

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        raise missing(self._what, self._instead)


def function(what: str, instead: str) -> Any:
    """A function that is not there yet."""

    def call(*arguments: Any, **keywords: Any) -> Any:
        raise missing(what, instead)

    call.later = True  # type: ignore[attr-defined]
    return call
