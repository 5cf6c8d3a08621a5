"""Checkpoints, as agentdocker-lite has them."""

from __future__ import annotations

from ..nitrobox.checkpoint import CheckpointManager

__all__ = ["CheckpointManager"]
