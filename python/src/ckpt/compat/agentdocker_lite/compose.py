"""Compose projects: not there yet."""

from __future__ import annotations

from ..nitrobox.compose import ComposeProject, SharedNetwork

__all__ = ["ComposeProject", "SharedNetwork"]
