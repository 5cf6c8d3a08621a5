"""The names of agentdocker-lite 0.0.1 to 0.0.5, over ckpt; nitrobox is its later name.

    from ckpt.compat.agentdocker_lite import Sandbox, SandboxConfig

See `ckpt.compat.nitrobox`.
"""

from __future__ import annotations

from ..nitrobox import (
    CheckpointManager,
    ComposeProject,
    QemuVM,
    Sandbox,
    SandboxBase,
    SandboxConfig,
    SharedNetwork,
    get_image_config,
)

__version__ = "0.0.5"
"""The version of agentdocker-lite whose names these are."""

__all__ = [
    "CheckpointManager",
    "ComposeProject",
    "QemuVM",
    "Sandbox",
    "SandboxBase",
    "SandboxConfig",
    "SharedNetwork",
    "get_image_config",
]
