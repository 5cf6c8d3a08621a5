"""Sandboxes, as agentdocker-lite has them."""

from __future__ import annotations

from ..nitrobox.config import SandboxConfig
from ..nitrobox.sandbox import Sandbox

__all__ = ["Sandbox", "SandboxConfig"]
