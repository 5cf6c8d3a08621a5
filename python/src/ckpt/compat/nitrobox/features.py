"""What a sandbox says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

from .config import SandboxConfig, network_of


class SandboxFeatures(TypedDict, total=False):
    """What a sandbox has."""

    userns: bool
    layer_cache: bool
    whiteout: str
    pidfd: bool
    cgroup_v2: bool
    seccomp: bool
    landlock: bool
    netns: bool
    devices: bool
    timens: bool
    cpuset_cpus: str | None
    oom_score_adj: int | None
    mask_paths: bool
    cap_drop: bool


def features_of(config: SandboxConfig) -> SandboxFeatures:
    """The features of a sandbox of that configuration."""
    restricted = (config.writable_paths, config.readable_paths, config.allowed_ports)
    return {
        "userns": False,
        "layer_cache": False,
        "whiteout": "root",
        "pidfd": True,
        "cgroup_v2": Path("/sys/fs/cgroup/cgroup.controllers").exists(),
        "seccomp": config.seccomp,
        "landlock": any(part is not None for part in restricted),
        "netns": network_of(config) != "host",
        "devices": bool(config.devices),
        "timens": True,
        "cpuset_cpus": config.cpuset_cpus,
        "oom_score_adj": config.oom_score_adj,
        "mask_paths": config.mask_paths,
        "cap_drop": True,
    }
