"""Pieces of a command's output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Output:
    """A piece of what a command printed."""

    stream: Literal["stdout", "stderr"]
    """Where it printed it; with a terminal everything is on stdout."""
    data: bytes
    """The bytes; a character may be cut in two at the border of two pieces."""

    @property
    def text(self) -> str:
        """The bytes as text; what is no UTF-8 is replaced by U+FFFD."""
        return self.data.decode(errors="replace")
