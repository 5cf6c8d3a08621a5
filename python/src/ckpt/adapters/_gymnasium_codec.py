"""Observations, actions and spaces as plain data.

The same text is this module and runs in the sandbox's interpreter, so it needs numpy and gymnasium alone.
"""

from __future__ import annotations

from typing import Any

import gymnasium as _gym
import numpy as _np


def encoded(value: Any) -> Any:
    """A value as tuples of a kind and plain data, whose `repr` is a literal.

    Raises `TypeError` for a value of another class than environments hand out.
    """
    if value is None or isinstance(value, (bool, str, bytes)):
        return ("plain", value)
    if isinstance(value, _np.ndarray):
        if value.dtype.hasobject:
            raise TypeError("an array of objects cannot leave its environment")
        return ("array", value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, _np.generic):
        return ("scalar", value.dtype.str, value.tobytes())
    if isinstance(value, int):
        return ("plain", int(value))
    if isinstance(value, float):
        return ("float", float(value).hex())
    if isinstance(value, dict):
        return ("dict", [(encoded(key), encoded(item)) for key, item in value.items()])
    if isinstance(value, _gym.spaces.GraphInstance):
        return ("graph", [encoded(part) for part in value])
    if isinstance(value, tuple):
        return ("tuple", [encoded(item) for item in value])
    if isinstance(value, list):
        return ("list", [encoded(item) for item in value])
    raise TypeError(f"a value of class {type(value).__name__} cannot leave its environment")


def decoded(value: Any) -> Any:
    """The value that `encoded` was given."""
    kind, *rest = value
    if kind == "plain":
        return rest[0]
    if kind == "float":
        return float.fromhex(rest[0])
    if kind == "array":
        # The dtype is a text of a few letters: no object, no code.
        return _np.frombuffer(rest[2], _plain_dtype(rest[0])).reshape(rest[1]).copy()
    if kind == "scalar":
        return _np.frombuffer(rest[1], _plain_dtype(rest[0]))[0]
    if kind == "dict":
        return {decoded(key): decoded(item) for key, item in rest[0]}
    if kind == "graph":
        return _gym.spaces.GraphInstance(*(decoded(part) for part in rest[0]))
    return {"tuple": tuple, "list": list}[kind](decoded(item) for item in rest[0])


def _plain_dtype(text: Any) -> Any:
    dtype = _np.dtype(text)
    if dtype.hasobject:
        raise TypeError("an array of objects cannot leave its environment")
    return dtype


def encoded_info(value: Any) -> Any:
    """As `encoded`, for `info`, where anything may be: what has no such form becomes its `repr`."""
    if isinstance(value, dict):
        return ("dict", [(encoded_info(key), encoded_info(item)) for key, item in value.items()])
    if isinstance(value, (list, tuple)) and not isinstance(value, _gym.spaces.GraphInstance):
        kind = "list" if isinstance(value, list) else "tuple"
        return (kind, [encoded_info(item) for item in value])
    try:
        return encoded(value)
    except TypeError:
        return ("plain", repr(value))


def described(space: Any) -> Any:
    """A space as plain data. Raises `TypeError` for a class of space that is not gymnasium's own."""
    kind = type(space).__name__
    if kind == "Box":
        return ("Box", encoded(space.low), encoded(space.high), space.dtype.str)
    if kind == "Discrete":
        return ("Discrete", int(space.n), int(space.start), space.dtype.str)
    if kind == "MultiBinary":
        return ("MultiBinary", space.n if isinstance(space.n, int) else [int(size) for size in space.n])
    if kind == "MultiDiscrete":
        return ("MultiDiscrete", encoded(space.nvec), encoded(space.start), space.dtype.str)
    if kind == "Text":
        return ("Text", space.min_length, space.max_length, "".join(sorted(space.character_set)))
    if kind == "Tuple":
        return ("Tuple", [described(part) for part in space.spaces])
    if kind == "OneOf":
        return ("OneOf", [described(part) for part in space.spaces])
    if kind == "Dict":
        return ("Dict", [(encoded(key), described(part)) for key, part in space.spaces.items()])
    if kind == "Sequence":
        return ("Sequence", described(space.feature_space), bool(space.stack))
    if kind == "Graph":
        edges = None if space.edge_space is None else described(space.edge_space)
        return ("Graph", described(space.node_space), edges)
    raise TypeError(f"a space of class {kind} cannot be shown outside of its environment")


def built(description: Any) -> Any:
    """The space that `described` was given."""
    spaces = _gym.spaces
    kind, *rest = description
    if kind == "Box":
        return spaces.Box(decoded(rest[0]), decoded(rest[1]), dtype=_plain_dtype(rest[2]).type)
    if kind == "Discrete":
        return spaces.Discrete(rest[0], start=rest[1], dtype=_plain_dtype(rest[2]).type)
    if kind == "MultiBinary":
        return spaces.MultiBinary(rest[0])
    if kind == "MultiDiscrete":
        return spaces.MultiDiscrete(
            decoded(rest[0]), dtype=_plain_dtype(rest[2]).type, start=decoded(rest[1])
        )
    if kind == "Text":
        return spaces.Text(rest[1], min_length=rest[0], charset=rest[2])
    if kind == "Dict":
        return spaces.Dict([(decoded(key), built(part)) for key, part in rest[0]])
    if kind == "Sequence":
        return spaces.Sequence(built(rest[0]), stack=rest[1])
    if kind == "Graph":
        return spaces.Graph(built(rest[0]), None if rest[1] is None else built(rest[1]))
    return {"Tuple": spaces.Tuple, "OneOf": spaces.OneOf}[kind]([built(part) for part in rest[0]])
