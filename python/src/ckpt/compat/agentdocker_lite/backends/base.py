"""The class that agentdocker-lite's `Sandbox()` makes an instance of."""

from __future__ import annotations

from ...nitrobox import SandboxBase
from ...nitrobox.config import SandboxConfig

__all__ = ["SandboxBase", "SandboxConfig"]
