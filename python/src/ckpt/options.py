"""What a sandbox is made of, as keyword arguments."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, Union, get_type_hints

from .errors import InvalidOption

PathLike = Union[str, "os.PathLike[str]"]
"""A path, as `str` or `pathlib.Path`."""
Size = Union[int, str]
"""Bytes, or a text like `512m`, `1.5g`, `64kb` (powers of 1024)."""


class SandboxOptions(TypedDict, total=False):
    """Every option of `Sandbox.create` besides `base` and `name`; `docs/options.md` says more about each.

    Wrong values are the server's to refuse: they raise `InvalidOption`, and no sandbox is made.
    """

    hostname: str
    """Its host name; the sandbox's own name when missing."""
    env: Mapping[str, str]
    """Environment of every command, over the built-in PATH, HOME and LANG."""
    workdir: PathLike
    """Where commands start; `/root` when missing, `/` where that is missing too."""
    user: str
    """Who commands run as: `name`, `uid`, `name:group` or `uid:gid`; root when missing."""
    entrypoint: Sequence[str]
    """Words before the command that `ckpt run` is given."""
    volumes: Sequence[str] | Mapping[PathLike, PathLike]
    """`["HOST:BOX[:ro|rw|cow]"]`, or a mapping `{HOST:

    "BOX[:ro|rw|cow]"}`; `rw` when not said. Changes in a `rw` volume are not rolled back.
    """
    tmpfs: Sequence[str]
    """`PATH[:size=S,mode=M,exec]`: directories in memory; snapshots hold what is in them."""
    shm_size: Size
    """Puts /dev/shm in memory, with this bound."""
    read_only: bool
    """Makes the root filesystem read-only; volumes and tmpfs are not."""
    dns: Sequence[str]
    """Addresses of name servers."""
    add_hosts: Sequence[str] | Mapping[str, str]
    """`["NAME:ADDRESS"]`, or a mapping `{NAME: ADDRESS}`: lines for /etc/hosts."""
    sysctls: Sequence[str] | Mapping[str, Union[int, str]]
    """`["net.NAME=VALUE"]`, or a mapping `{NAME: VALUE}`: settings of its network; not with `net="host"`."""
    devices: Sequence[str]
    """`HOST[:BOX][:rwm]`: device nodes of this machine."""
    ulimits: Sequence[str] | Mapping[str, int | str]
    """`["NAME=SOFT[:HARD]"]`, or a mapping `{NAME: "SOFT[:HARD]"}`; -1 for no limit."""
    oom_score_adj: int
    """How soon its processes go when memory runs out, -1000 to 1000."""
    net: str
    """`none` (loopback alone, the default), `host`, or `nat` (a way out)."""
    ports: Sequence[str | int]
    """`[ADDRESS:][HOST:]BOX[/tcp|/udp]`: ports of this machine that lead in; only with `net="nat"`."""
    save_on_crash: bool
    """Saves the instant a process dies of a fatal signal, tagged `crash-…`."""
    cpus: float | str
    """CPU time: `0.5`, `2`, `"50%"` or `"QUOTA PERIOD"` in microseconds."""
    cpu_shares: int
    """Weight among others when CPUs are short, 2 to 262144; 1024 is usual."""
    cpuset_cpus: str
    """The CPUs it may run on, as `0-2,5`."""
    cpuset_mems: str
    """The memory nodes it may use."""
    memory: Size
    """Memory; beyond it the kernel kills (`Result.oom_killed`)."""
    memory_high: Size
    """Slows down and reclaims above this, without killing."""
    memory_swap: Size
    """Memory and swap together; -1 for no limit of swap."""
    pids: int
    """Processes and threads."""
    io: Sequence[str]
    """`DEVICE SIZE`, or `DEVICE rbps=… wbps=… riops=… wiops=…` with some of the four."""
    best_effort: bool
    """Warns about a limit that cannot be set here (`SandboxInfo.warnings`), instead of refusing."""
    cap_add: Sequence[str]
    """Capabilities beyond Docker's default set, or `ALL`."""
    cap_drop: Sequence[str]
    """Capabilities to take away, or `ALL`."""
    seccomp: str
    """`default`, `unconfined`, or the text of a profile in Docker's JSON format."""
    no_new_privileges: bool
    """Whether set-uid programs give nothing; true when missing."""
    mask_paths: bool
    """Whether parts of /proc and /sys are hidden or read-only; true when missing."""
    writable: Sequence[PathLike]
    """The only places that may be written."""
    readable: Sequence[PathLike]
    """The only places that may be read, besides what is writable and the system's programs."""
    allow_ports: Sequence[int]
    """The only ports that may be connected to."""


class LimitOptions(TypedDict, total=False):
    """The options of `Sandbox.update`; see `SandboxOptions`."""

    cpus: float | str
    cpu_shares: int
    cpuset_cpus: str
    cpuset_mems: str
    memory: Size
    memory_high: Size
    memory_swap: Size
    pids: int
    io: Sequence[str]
    best_effort: bool


LIMITS = frozenset(LimitOptions.__annotations__)
SECURITY = frozenset(
    [
        "cap_add",
        "cap_drop",
        "seccomp",
        "no_new_privileges",
        "mask_paths",
        "writable",
        "readable",
        "allow_ports",
    ]
)
_SEPARATORS = {"volumes": ":", "add_hosts": ":", "ulimits": "=", "sysctls": "="}
_PATHS_OF_HOST = frozenset({"volumes", "devices"})


FOREIGN = {
    "cpu_max": "cpus",
    "cpus_limit": "cpus",
    "environment": "env",
    "extra_hosts": "add_hosts",
    "io_max": "io",
    "mem_limit": "memory",
    "memory_limit": "memory",
    "memory_max": "memory",
    "memswap_limit": "memory_swap",
    "mounts": "volumes",
    "nano_cpus": "cpus",
    "network": "net",
    "network_mode": "net",
    "pids_limit": "pids",
    "pids_max": "pids",
    "port_map": "ports",
    "readable_paths": "readable",
    "working_dir": "workdir",
    "writable_paths": "writable",
    "cwd": "workdir",
}
"""What options are called in the Docker SDK and in nitrobox."""


def spec(base: PathLike, options: Mapping[str, Any]) -> dict[str, Any]:
    """The API's `SandboxSpec` for keyword arguments; `None` is as good as missing.

    Raises `InvalidOption` for a name that is no option.
    """
    made: dict[str, Any] = {"base": _base(base)}
    for name, value in options.items():
        if name not in SandboxOptions.__annotations__:
            raise unknown(name, SandboxOptions.__annotations__)
        if value is None:
            continue
        part = made
        if name in LIMITS:
            part = made.setdefault("limits", {})
        elif name in SECURITY:
            part = made.setdefault("security", {})
        part[_camel(name)] = _plain(name, value)
    return made


def limits(options: Mapping[str, Any]) -> dict[str, Any]:
    """The API's `ResourceLimits` for keyword arguments."""
    for name in options:
        if name not in LIMITS:
            raise unknown(name, LIMITS)
    return {_camel(name): _plain(name, value) for name, value in options.items() if value is not None}


def unknown(name: str, known: Any) -> InvalidOption:
    """The error for an option that does not exist, with the one that was probably meant."""
    meant = FOREIGN.get(name)
    near = [meant] if meant in known else difflib.get_close_matches(name, list(known), 1)
    hint = f"did you mean {near[0]}?" if near else "docs/options.md has them all"
    return InvalidOption(f"there is no option {name}", hint=hint)


def _base(base: PathLike) -> str:
    text = os.fspath(base)
    if isinstance(base, Path) or text.startswith((".", "~")):
        return str(Path(text).expanduser().absolute())
    return text


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _plain(name: str, value: Any) -> Any:
    """A value as JSON has it."""
    if name in _SEPARATORS and isinstance(value, Mapping):
        between = _SEPARATORS[name]
        value = [
            f"{os.fspath(key) if name == 'volumes' else key}{between}{_text(item)}"
            for key, item in value.items()
        ]
    if isinstance(value, (str, os.PathLike)):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {str(key): str(item) for key, item in value.items()}
    if name == "ports":
        return [str(item) for item in value]
    if name in _PATHS_OF_HOST:
        return [_absolute(os.fspath(item)) for item in value]
    if isinstance(value, (list, tuple, set, frozenset)):
        return [os.fspath(item) if isinstance(item, os.PathLike) else item for item in value]
    return value


def _text(value: Any) -> str:
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)


def _absolute(text: str) -> str:
    """The server has another working directory, so a relative path is resolved here."""
    host, colon, rest = text.partition(":")
    if host.startswith(("./", "../", "~/")) or host in (".", "..", "~"):
        host = str(Path(host).expanduser().absolute())
    return host + colon + rest


def resolved_types() -> dict[str, Any]:
    """Each option's type, for documentation and tests."""
    return get_type_hints(SandboxOptions)
