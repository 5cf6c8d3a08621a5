"""The names of nitrobox 0.1.0 and agentdocker-lite 0.0.1 to 0.0.5, over ckpt.

    from ckpt.compat.nitrobox import Sandbox, SandboxConfig

    with Sandbox(SandboxConfig(image="/srv/rootfs", working_dir="/workspace"), name="worker-0") as box:
        output, exit_code = box.run("echo hello")

Parameters, defaults and answers are theirs; docs/compat-nitrobox.md lists every name, and what differs on
purpose. Images by name, Compose and virtual machines raise `NotImplementedError`.
"""

from __future__ import annotations

from .checkpoint import CheckpointManager
from .compose import ComposeProject, SharedNetwork
from .config import SandboxConfig
from .errors import (
    SandboxConfigError,
    SandboxError,
    SandboxInitError,
    SandboxKernelError,
    SandboxTimeoutError,
)
from .image import get_image_config
from .sandbox import Sandbox
from .vm import QemuVM

SandboxBase = Sandbox
"""What agentdocker-lite calls the class that its `Sandbox()` makes an instance of."""
__version__ = "0.1.0"
"""The version of nitrobox whose names these are."""

__all__ = [
    "CheckpointManager",
    "ComposeProject",
    "QemuVM",
    "Sandbox",
    "SandboxBase",
    "SandboxConfig",
    "SandboxConfigError",
    "SandboxError",
    "SandboxInitError",
    "SandboxKernelError",
    "SandboxTimeoutError",
    "SharedNetwork",
    "get_image_config",
]
