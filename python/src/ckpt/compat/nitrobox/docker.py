"""`SandboxConfig` out of what Docker is told: arguments of its Python package, words of `docker run`."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

CAPABILITIES = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
]
"""By number, from 0 on (capabilities(7))."""

# Arguments of docker-py that mean nothing here and are no reason to warn.
_IGNORED = frozenset(
    [
        "auto_remove",
        "command",
        "detach",
        "healthcheck",
        "init",
        "ipc_mode",
        "isolation",
        "labels",
        "log_config",
        "mem_swappiness",
        "name",
        "nano_cpus",
        "network",
        "network_disabled",
        "pid_mode",
        "platform",
        "publish_all_ports",
        "remove",
        "restart_policy",
        "runtime",
        "stderr",
        "stdin_open",
        "stdout",
        "stop_signal",
        "stream",
        "user",
    ]
)


def fields_of_sdk(image: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `SandboxConfig` for keyword arguments of `docker.containers.run`.

    What has no counterpart is left out, with a warning in the log.
    """
    fields: dict[str, Any] = {"image": image}
    left = dict(arguments)
    for argument, (name, convert) in _SDK.items():
        if argument in left:
            value = convert(left.pop(argument))
            if value is not None:
                fields[name] = value
    if left.pop("network_mode", None) == "none":
        fields["net_isolate"] = True
    if "seccomp=unconfined" in (left.pop("security_opt", None) or ()):
        fields["seccomp"] = False
    if left.pop("privileged", False):
        fields |= {"seccomp": False, "cap_add": list(CAPABILITIES)}
    unknown = sorted(set(left) - _IGNORED)
    if unknown:
        logger.warning("SandboxConfig.from_docker: there is nothing here for %s", ", ".join(unknown))
    return fields


def _volumes(value: Any) -> list[str]:
    if not isinstance(value, Mapping):
        return list(value)
    return [
        f"{host}:{place.get('bind', host)}:{place.get('mode', 'rw')}"
        if isinstance(place, Mapping)
        else f"{host}:{place}:rw"
        for host, place in value.items()
    ]


def _ports(value: Any) -> list[str]:
    if not isinstance(value, Mapping):
        return [str(port) for port in value]
    ports = []
    for inside, outside in value.items():
        number = str(inside).partition("/")[0]
        several = outside if isinstance(outside, (list, tuple)) else [outside]
        ports += [f"{port}:{number}" for port in several if port is not None]
    return ports


def _environment(value: Any) -> dict[str, str]:
    return dict(value) if isinstance(value, Mapping) else assignments(value)


def assignments(lines: Iterable[str]) -> dict[str, str]:
    """`KEY=VALUE` lines as a mapping."""
    return {key: value for key, _, value in (line.partition("=") for line in lines)}


def _tmpfs(value: Any) -> list[str]:
    if not isinstance(value, Mapping):
        return list(value)
    return [f"{path}:{options}" if options else str(path) for path, options in value.items()]


def _ulimits(value: Any) -> dict[str, tuple[int, int]] | None:
    if not isinstance(value, Mapping):
        value = {item.name: item for item in value}
    found: dict[str, tuple[int, int]] = {}
    for name, limit in value.items():
        if isinstance(limit, Mapping):
            found[name] = (limit.get("soft", 0), limit.get("hard", 0))
        elif isinstance(limit, int):
            found[name] = (limit, limit)
        else:
            found[getattr(limit, "name", name)] = (getattr(limit, "soft", 0), getattr(limit, "hard", 0))
    return found or None


def _entrypoint(value: Any) -> list[str] | None:
    return ([value] if isinstance(value, str) else list(value)) if value else None


def _same(value: Any) -> Any:
    return value


_SDK: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "cpus": ("cpu_max", str),
    "cpuset_cpus": ("cpuset_cpus", _same),
    "cpu_shares": ("cpu_shares", int),
    "mem_limit": ("memory_max", str),
    "memswap_limit": ("memory_swap", str),
    "pids_limit": ("pids_max", str),
    "oom_score_adj": ("oom_score_adj", int),
    "shm_size": ("shm_size", str),
    "read_only": ("read_only", _same),
    "working_dir": ("working_dir", _same),
    "volumes": ("volumes", _volumes),
    "tmpfs": ("tmpfs", _tmpfs),
    "ports": ("port_map", _ports),
    "environment": ("environment", _environment),
    "hostname": ("hostname", _same),
    "dns": ("dns", _same),
    "devices": ("devices", lambda value: [each.partition(":")[0] for each in value]),
    "tty": ("tty", _same),
    "cap_add": ("cap_add", list),
    "cap_drop": ("cap_drop", list),
    "ulimits": ("ulimits", _ulimits),
    "entrypoint": ("entrypoint", _entrypoint),
}

# Options of `docker run` with a value, and the argument of docker-py that says the same.
_VALUES = {
    "-v": "volumes", "--volume": "volumes", "-p": "ports", "--publish": "ports", "-e": "environment",
    "--env": "environment", "--device": "devices", "--dns": "dns", "--cpus": "cpus", "-m": "mem_limit",
    "--memory": "mem_limit", "--memory-swap": "memswap_limit", "--pids-limit": "pids_limit",
    "--cpuset-cpus": "cpuset_cpus", "--cpu-shares": "cpu_shares", "-h": "hostname", "--hostname": "hostname",
    "-w": "working_dir", "--workdir": "working_dir", "--shm-size": "shm_size", "--tmpfs": "tmpfs",
    "--cap-add": "cap_add", "--cap-drop": "cap_drop", "--ulimit": "ulimits", "--entrypoint": "entrypoint",
    "--oom-score-adj": "oom_score_adj", "--security-opt": "security_opt", "--network": "network_mode",
    "--net": "network_mode", "--env-file": "env_file", "--name": "name", "-u": "user", "--user": "user",
    "-l": "labels", "--label": "labels",
}  # fmt: skip
_REPEATED = {
    "volumes", "ports", "environment", "devices", "dns", "tmpfs", "cap_add", "cap_drop", "ulimits",
    "security_opt", "env_file", "labels",
}  # fmt: skip
_FLAGS = {"-t": "tty", "--tty": "tty", "--read-only": "read_only", "--privileged": "privileged"}
_SWITCHES = set("ditPq")
_SILENT = {"--rm", "--init", "--detach", "--interactive", "--quiet", "--publish-all", "--no-healthcheck"}


def arguments_of_run(command: str) -> tuple[str, dict[str, Any]]:
    """The image and the arguments of docker-py for a `docker run` command line."""
    words = shlex.split(command)
    while words and words[0] in ("sudo", "docker", "container", "run"):
        words.pop(0)
    found: dict[str, Any] = {}
    while words and words[0].startswith("-") and len(words[0]) > 1:
        _take_option(words, found)
    if not words:
        raise ValueError("No image found in docker run command")
    if "ulimits" in found:
        found["ulimits"] = dict(_ulimit(text) for text in found["ulimits"])
    lines: list[str] = []
    for path in found.pop("env_file", []):
        lines += [line.strip() for line in Path(path).read_text().splitlines()]
    lines = [line for line in lines if line and not line.startswith("#") and "=" in line]
    if lines or "environment" in found:
        found["environment"] = lines + found.get("environment", [])
    return words[0], found


def _take_option(words: list[str], found: dict[str, Any]) -> None:
    """Takes the first option off the words."""
    word = words.pop(0)
    name, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
    if name in _FLAGS:
        found[_FLAGS[name]] = value.lower() != "false"
    elif name in _SILENT:
        return
    elif not name.startswith("--") and set(name[1:]) <= _SWITCHES:
        if "t" in name:
            found["tty"] = True
    else:
        if not name.startswith("--") and len(name) > 2:
            name, equals, value = name[:2], "=", name[2:].removeprefix("=")
        if not equals and words:
            value = words.pop(0)
        argument = _VALUES.get(name)
        if argument is None:
            logger.warning("SandboxConfig.from_docker_run: there is nothing here for %s", name)
        elif argument in _REPEATED:
            found.setdefault(argument, []).append(value)
        else:
            found[argument] = value


def _ulimit(text: str) -> tuple[str, dict[str, int]]:
    name, _, limits = text.partition("=")
    soft, _, hard = limits.partition(":")
    return name, {"soft": int(soft), "hard": int(hard or soft)}
