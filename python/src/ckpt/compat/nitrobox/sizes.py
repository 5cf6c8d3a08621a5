"""Values as nitrobox writes them down."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

_UNITS = {"k": 10, "m": 20, "g": 30, "t": 40}
_PERIOD = 100_000
"""Microseconds, as cgroup v2 has it by default."""
_LIMIT = re.compile(r"(rbps|wbps|riops|wiops)=(\S+)")


def size(text: str) -> str:
    """`512m`, `1.5G`, `10mb` or a number as a number of bytes; what is no size stays as it is."""
    found = re.fullmatch(r"([0-9.]+)([kmgt])b?", text.strip(), re.IGNORECASE)
    if not found:
        return text.strip()
    return str(int(float(found[1]) * (1 << _UNITS[found[2].lower()])))


def cpu_max(text: str) -> str:
    """`0.5`, `2`, `50%` as quota and period; a text of two words stays as it is."""
    text = text.strip()
    if " " in text:
        return text
    share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    return f"{max(1, int(share * _PERIOD))} {_PERIOD}"


def io_max(text: str) -> str:
    """`/dev/sda 10mb` and `/dev/sda rbps=5mb wbps=10mb` as a line of cgroup v2's io.max.

    A size alone limits what is written.
    """
    device, *limits = text.split()
    if not limits:
        return text.strip()
    node = Path(device)
    if device.startswith("/dev/") and node.exists() and stat.S_ISBLK(node.stat().st_mode):
        number = node.stat().st_rdev
        device = f"{os.major(number)}:{os.minor(number)}"
    if "=" not in text:
        return f"{device} wbps={size(limits[0])}"
    return " ".join(
        [device, *(_LIMIT.sub(lambda part: f"{part[1]}={size(part[2])}", each) for each in limits)]
    )
