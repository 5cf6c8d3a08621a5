"""Makes message classes of the server's JSON."""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Callable
from dataclasses import MISSING, asdict, fields
from typing import Any, ClassVar, TypeVar

from .errors import VersionMismatch

T = TypeVar("T", bound="Message")
Converter = Callable[[Any], Any]


class Message:
    """A message of the server: a frozen dataclass with the JSON's fields in Python's spelling."""

    __slots__ = ()
    JSON_NAMES: ClassVar[dict[str, str]] = {}

    @classmethod
    def from_json(cls: type[T], value: Any) -> T:
        """Reads decoded JSON; fields that this version does not know are left out.

        Raises `VersionMismatch` where a field is missing that every answer has.
        """
        if not isinstance(value, dict):
            raise VersionMismatch(f"the server's {cls.__name__} is no JSON object", cause=repr(value)[:200])
        arguments = {}
        for name, key, convert, required in _table(cls):  # type: ignore[arg-type]
            found = value.get(key)
            if found is not None:
                arguments[name] = convert(found) if convert else found
            elif required:
                raise VersionMismatch(f"the server's {cls.__name__} has no {key}")
        return cls(**arguments)

    def to_dict(self) -> dict[str, Any]:
        """The fields as a dictionary, nested messages too."""
        return asdict(self)  # type: ignore[call-overload, no-any-return]


@functools.cache
def _table(cls: type[Message]) -> list[tuple[str, str, Converter | None, bool]]:
    """Name, JSON name, conversion and whether it must be there, for each field."""
    hints = typing.get_type_hints(cls)
    return [
        (
            item.name,
            cls.JSON_NAMES.get(item.name, _camel(item.name)),
            _converter(hints[item.name]),
            item.default is MISSING and item.default_factory is MISSING,
        )
        for item in fields(cls)  # type: ignore[arg-type]
    ]


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _converter(hint: Any) -> Converter | None:
    """How a value of this type is made from JSON; None where it is taken as it is."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return next((made for made in map(_converter, arguments) if made), None)
    if origin is list:
        each = _converter(arguments[0])
        return functools.partial(_listed, each) if each else None
    if origin is dict:
        each = _converter(arguments[1])
        return functools.partial(_mapped, each) if each else None
    if hint is float:
        return float
    if isinstance(hint, type) and issubclass(hint, Message):
        return hint.from_json
    return None


def _mapped(convert: Converter, items: dict[str, Any]) -> dict[str, Any]:
    return {key: convert(item) for key, item in items.items()}


def _listed(convert: Converter, items: list[Any]) -> list[Any]:
    return [convert(item) for item in items]
