"""The configuration of a sandbox, in nitrobox's words."""

from __future__ import annotations

import logging
import os
import socket
from dataclasses import dataclass, field
from typing import Any

from ...options import SandboxOptions
from . import sizes
from .docker import CAPABILITIES, arguments_of_run, fields_of_sdk
from .errors import SandboxConfigError
from .later import missing

logger = logging.getLogger(__name__)

CAP_NAME_TO_NUM: dict[str, int] = {name: number for number, name in enumerate(CAPABILITIES)}
"""Capabilities and their numbers."""
_LOOSENING = {"SYS_ADMIN", "ALL", "SYS_PTRACE", "SYS_RAWIO"}

_NO_TERMINAL = {"LANG": "C.UTF-8", "TERM": "xterm-256color"}
_TERMINAL = {"LANG": "C.UTF-8", "TERM": "dumb", "NO_COLOR": "1"}


def cap_names_to_numbers(names: list[str]) -> list[int]:
    """The numbers of capabilities, with `CAP_` in front or without; unknown ones are left out and logged."""
    numbers = []
    for name in names:
        number = CAP_NAME_TO_NUM.get(name.upper().removeprefix("CAP_"))
        if number is None:
            logger.warning("Unknown capability: %s", name)
        else:
            numbers.append(number)
    return numbers


def detect_subuid_range() -> tuple[int, int, int] | None:
    """The range of ids for rootless sandboxes: none is needed here."""
    return None


@dataclass
class SandboxConfig:
    """What a sandbox is made of. Fields, defaults and what becomes of values are nitrobox's.

    Memory sizes become a number of bytes in text, `cpu_max` quota and period, `memory_swap` the swap alone;
    a privileged capability in `cap_add` takes the seccomp filter away.
    """

    image: str = ""
    """The directory of a root filesystem, or `host` for this machine's programs without its data."""
    working_dir: str = "/"
    """Where commands start; made where it is missing."""
    environment: dict[str, str] = field(default_factory=dict)
    """Environment of every command."""
    volumes: list[str] = field(default_factory=list)
    """`HOST:BOX[:ro|rw|cow]`."""
    devices: list[str] = field(default_factory=list)
    """Device nodes of this machine."""
    tty: bool = False
    """Whether commands get a terminal; `write_stdin` needs it."""
    entrypoint: list[str] | None = None
    """Words before the command that `ckpt run` is given."""
    hostname: str | None = None
    """This machine's own when missing."""
    dns: list[str] | None = None
    """Addresses of name servers."""
    fs_backend: str = "overlayfs"
    """`overlayfs` or `btrfs`; ckpt chooses by itself what is cheapest."""
    env_base_dir: str = ""
    """Where notes lie of which process each sandbox belongs to, for `cleanup_stale`."""
    rootfs_cache_dir: str = ""
    """Kept; nothing is cached."""
    read_only: bool = False
    """Makes the root filesystem read-only."""
    tmpfs: list[str] = field(default_factory=list)
    """`PATH[:size=S,mode=M]`: directories in memory."""
    shm_size: str | None = None
    """Puts /dev/shm in memory with this bound; else it is a directory like others."""
    cpu_max: str | None = None
    """`0.5`, `2`, `50%` or quota and period in microseconds."""
    memory_max: str | None = None
    """Memory: `512m`, `2g`, bytes."""
    pids_max: str | None = None
    """Processes and threads."""
    io_max: str | None = None
    """`/dev/sda 10mb`, or `/dev/sda rbps=5mb wbps=10mb`."""
    oom_score_adj: int | None = None
    """How soon its processes go when memory runs out."""
    cpuset_cpus: str | None = None
    """The CPUs it may run on."""
    cpuset_mems: str | None = None
    """The memory nodes it may use."""
    cpu_shares: int | None = None
    """Weight among others; 1024 is usual."""
    memory_swap: str | None = None
    """Memory and swap together; `-1` for no limit of swap."""
    memory_high: str | None = None
    """Slows down and reclaims above this."""
    ulimits: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Soft and hard limits by name."""
    net_isolate: bool = False
    """Loopback alone; else it has this machine's network."""
    net_ns: str | None = None
    """Raises `NotImplementedError`."""
    shared_userns: str | None = None
    """Raises `NotImplementedError`."""
    port_map: list[str] | None = None
    """`HOST:BOX`: gives it a network of its own with a way out, and these ports lead in."""
    ipv6: bool = False
    """Kept; the way out has what this machine has."""
    seccomp: bool = True
    """Whether dangerous system calls are refused."""
    cap_add: list[str] = field(default_factory=list)
    """Capabilities beyond the default ones."""
    cap_drop: list[str] = field(default_factory=list)
    """Capabilities to take away."""
    writable_paths: list[str] | None = None
    """The only places that may be written."""
    readable_paths: list[str] | None = None
    """The only places that may be read, besides these and the system's programs."""
    allowed_ports: list[int] | None = None
    """The only ports that may be connected to; gives it a network of its own with a way out."""
    vm_mode: bool = False
    """Raises `NotImplementedError`."""
    mask_paths: bool = True
    """Whether parts of /proc and /sys are hidden."""

    def __post_init__(self) -> None:
        self.env_base_dir = self.env_base_dir or f"/tmp/nitrobox_{os.getuid()}"  # noqa: S108
        if not self.rootfs_cache_dir:
            cache = os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache"))
            self.rootfs_cache_dir = os.path.join(cache, "nitrobox", "rootfs")
        for name in ("memory_max", "shm_size", "memory_high"):
            if getattr(self, name):
                setattr(self, name, sizes.size(getattr(self, name)))
        if self.cpu_max:
            self.cpu_max = sizes.cpu_max(self.cpu_max)
        if self.io_max:
            self.io_max = sizes.io_max(self.io_max)
        if self.memory_swap in ("-1", "0"):
            self.memory_swap = "max" if self.memory_swap == "-1" else None
        elif self.memory_swap and self.memory_swap != "max":
            self.memory_swap = str(max(0, int(sizes.size(self.memory_swap)) - int(self.memory_max or 0)))
        if _LOOSENING & set(self.cap_add):
            self.seccomp = False

    @classmethod
    def from_docker(cls, image: str, **kwargs: Any) -> SandboxConfig:
        """The configuration for the arguments of docker-py's `containers.run`.

        What has no counterpart is left out, with a warning in the log.
        """
        return cls(**fields_of_sdk(image, kwargs))

    @classmethod
    def from_docker_run(cls, cmd: str) -> SandboxConfig:
        """The configuration for a `docker run …` command line; the command in it is ignored.

        Raises `ValueError` where it names no image.
        """
        image, arguments = arguments_of_run(cmd)
        return cls(**fields_of_sdk(image, arguments))


def native(config: SandboxConfig) -> SandboxOptions:
    """The options of ckpt's own `Sandbox.create` that say the same."""
    if config.net_ns or config.shared_userns:
        raise missing("namespaces that sandboxes share", "leave net_ns and shared_userns out")
    if config.vm_mode:
        raise missing("mode for virtual machines", "leave vm_mode out")
    options: SandboxOptions = {
        "env": (_TERMINAL if config.tty else _NO_TERMINAL) | config.environment,
        "volumes": config.volumes,
        "devices": config.devices,
        "hostname": config.hostname or socket.gethostname(),
        "tmpfs": [_tmpfs(text) for text in config.tmpfs],
        "read_only": config.read_only,
        "net": network_of(config),
        "ports": config.port_map or [],
        "seccomp": "default" if config.seccomp else "unconfined",
        "cap_add": config.cap_add,
        "cap_drop": config.cap_drop,
        "mask_paths": config.mask_paths,
        "ulimits": {name: f"{soft}:{hard}" for name, (soft, hard) in config.ulimits.items()},
        # nitrobox goes on without a limit that cannot be set.
        "best_effort": True,
    }
    optional: dict[str, Any] = {
        "dns": config.dns,
        "entrypoint": config.entrypoint,
        "shm_size": _number(config.shm_size),
        "cpus": config.cpu_max,
        "memory": _number(config.memory_max),
        "memory_high": _number(config.memory_high),
        "memory_swap": _swap(config),
        "pids": None if config.pids_max in (None, "max") else _count(str(config.pids_max)),
        "io": [config.io_max] if config.io_max else None,
        "oom_score_adj": config.oom_score_adj,
        "cpuset_cpus": config.cpuset_cpus,
        "cpuset_mems": config.cpuset_mems,
        "cpu_shares": config.cpu_shares,
        "writable": _writable(config),
        "readable": config.readable_paths,
        "allow_ports": config.allowed_ports,
    }
    options.update({name: value for name, value in optional.items() if value is not None})  # type: ignore[typeddict-item]
    return options


def is_root_read_only(config: SandboxConfig) -> bool:
    """Whether nothing can be added to its root filesystem."""
    return config.read_only or config.writable_paths is not None


def network_of(config: SandboxConfig) -> str:
    """The kind of network that it has."""
    if config.port_map:
        return "nat"
    if config.net_isolate:
        return "none"
    # In a network of its own alone can ports be forbidden so that a restore does not allow them again.
    return "host" if config.allowed_ports is None else "nat"


def _writable(config: SandboxConfig) -> list[str] | None:
    if config.writable_paths is None:
        return None
    # nitrobox leaves /tmp and /dev writable too; a /dev/shm with a size is a tmpfs and writable anyway.
    always = ["/tmp"] if config.shm_size else ["/tmp", "/dev/shm"]  # noqa: S108
    return [*config.writable_paths, *always]


def _count(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise SandboxConfigError(f"pids_max is a number of processes or max: {text!r}") from None


def _number(text: str | None) -> int | str | None:
    return int(text) if text and text.isdigit() else text or None


def _swap(config: SandboxConfig) -> int | None:
    """Memory and swap together, as Docker and ckpt count."""
    if config.memory_swap is None:
        return None
    if config.memory_swap == "max":
        return -1
    return int(config.memory_swap) + int(config.memory_max or 0)


def _tmpfs(text: str) -> str:
    """Without the options that a tmpfs here has anyway."""
    path, _, options = text.partition(":")
    kept = [each for each in options.split(",") if each == "exec" or each.startswith(("size=", "mode="))]
    return f"{path}:{','.join(kept)}" if kept else path
