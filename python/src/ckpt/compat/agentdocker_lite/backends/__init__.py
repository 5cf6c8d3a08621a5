"""Where agentdocker-lite has the class of its sandboxes."""

from __future__ import annotations

from .base import SandboxBase, SandboxConfig

__all__ = ["SandboxBase", "SandboxConfig"]
