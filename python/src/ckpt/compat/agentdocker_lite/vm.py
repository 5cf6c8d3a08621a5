"""Virtual machines: not there yet."""

from __future__ import annotations

from ..nitrobox.vm import QemuVM

__all__ = ["QemuVM"]
