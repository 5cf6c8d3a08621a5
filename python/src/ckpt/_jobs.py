"""Pieces of a job's output."""

from __future__ import annotations

import base64
from typing import Any


def decoded_piece(piece: dict[str, Any]) -> bytes:
    """The bytes of an `OutputPiece` of the API."""
    text = piece.get("text")
    if text is not None:
        return str(text).encode()
    encoded = piece.get("base64")
    return base64.b64decode(encoded) if encoded else b""
