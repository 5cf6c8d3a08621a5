"""SandboxConfig: defaults, what becomes of values, and Docker's words for the same."""

from __future__ import annotations

import logging
import types
from typing import Any

import pytest

from ckpt.compat.nitrobox import SandboxConfig
from ckpt.compat.nitrobox.config import CAP_NAME_TO_NUM, cap_names_to_numbers, detect_subuid_range, native


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    config = SandboxConfig()
    assert (config.image, config.working_dir, config.fs_backend) == ("", "/", "overlayfs")
    assert config.env_base_dir.startswith("/tmp/nitrobox_")
    assert config.rootfs_cache_dir == "/cache/nitrobox/rootfs"
    assert config.seccomp and config.mask_paths and not config.net_isolate and not config.tty
    assert config.memory_max is config.cpu_max is config.port_map is config.hostname is None
    assert config.volumes == [] and config.ulimits == {} and config.environment == {}


@pytest.mark.parametrize(
    ("field", "given", "kept"),
    [
        ("memory_max", "512m", "536870912"),
        ("memory_max", "1.5G", str(3 << 29)),
        ("memory_max", "10mb", str(10 << 20)),
        ("memory_max", "4096", "4096"),
        ("memory_high", "1g", str(1 << 30)),
        ("shm_size", "64m", str(64 << 20)),
        ("cpu_max", "0.5", "50000 100000"),
        ("cpu_max", "2", "200000 100000"),
        ("cpu_max", "50%", "50000 100000"),
        ("cpu_max", "50000 100000", "50000 100000"),
        ("cpu_max", "0", "1 100000"),
        ("io_max", "259:0 wbps=10485760", "259:0 wbps=10485760"),
        ("io_max", "259:0 10mb", "259:0 wbps=10485760"),
        ("io_max", "259:0 rbps=5mb wbps=10mb", "259:0 rbps=5242880 wbps=10485760"),
        ("memory_swap", "-1", "max"),
        ("memory_swap", "0", None),
        ("memory_swap", "1g", str(1 << 30)),
    ],
)
def test_values_become_what_cgroups_take(field: str, given: str, kept: str | None) -> None:
    assert getattr(SandboxConfig(**{field: given}), field) == kept


def test_swap_is_what_is_beyond_memory() -> None:
    config = SandboxConfig(image="host", memory_max="512m", memory_swap="1g")
    assert config.memory_swap == str(512 << 20)
    assert native(config)["memory_swap"] == 1 << 30
    assert native(SandboxConfig(memory_max="1g", memory_swap="-1"))["memory_swap"] == -1


def test_privileged_capabilities_take_seccomp_away() -> None:
    assert SandboxConfig(cap_add=["NET_RAW"]).seccomp
    assert not SandboxConfig(cap_add=["SYS_ADMIN"]).seccomp
    assert native(SandboxConfig(cap_add=["ALL"]))["seccomp"] == "unconfined"


def test_networks() -> None:
    assert native(SandboxConfig())["net"] == "host"
    assert native(SandboxConfig(net_isolate=True))["net"] == "none"
    mapped = native(SandboxConfig(port_map=["8080:80"]))
    assert (mapped["net"], mapped["ports"]) == ("nat", ["8080:80"])


@pytest.mark.parametrize("fields", [{"net_ns": "/proc/1/ns/net"}, {"shared_userns": "x"}, {"vm_mode": True}])
def test_what_is_not_there_says_so(fields: dict[str, Any]) -> None:
    with pytest.raises(NotImplementedError, match="ckpt has no"):
        native(SandboxConfig(**fields))


def test_capability_numbers(caplog: pytest.LogCaptureFixture) -> None:
    assert cap_names_to_numbers(["CHOWN", "cap_net_raw", "CHECKPOINT_RESTORE"]) == [0, 13, 40]
    assert (CAP_NAME_TO_NUM["SYS_ADMIN"], len(CAP_NAME_TO_NUM)) == (21, 41)
    # Nothing here needs ids of a user's own.
    assert detect_subuid_range() is None
    assert cap_names_to_numbers(["NOPE"]) == [] and "NOPE" in caplog.text


def test_from_docker() -> None:
    limit = types.SimpleNamespace(name="nproc", soft=10, hard=20)
    config = SandboxConfig.from_docker(
        "host", cpus=0.5, mem_limit="512m", memswap_limit="1g", pids_limit=64,
        cpuset_cpus="0", cpu_shares="512",
        ports={"80/tcp": 8080, "53/udp": [53, 54], "1/tcp": None},
        volumes={"/a": {"bind": "/b", "mode": "ro"}},
        environment=["A=1", "B=x=y"], tmpfs={"/run": "size=1m", "/x": ""},
        devices=["/dev/fuse:/dev/fuse:rwm"],
        hostname="h", dns=["1.1.1.1"], working_dir="/w", read_only=True, tty=True, shm_size="64m",
        oom_score_adj=5, cap_add=["NET_ADMIN"], cap_drop=["CHOWN"], ulimits=[limit], entrypoint="/init",
        security_opt=["no-new-privileges", "seccomp=unconfined"], network_mode="none", detach=True, name="x",
    )  # fmt: skip
    assert (config.image, config.cpu_max, config.memory_max) == ("host", "50000 100000", str(512 << 20))
    assert (config.memory_swap, config.pids_max, config.cpu_shares) == (str(512 << 20), "64", 512)
    assert config.port_map == ["8080:80", "53:53", "54:53"] and config.volumes == ["/a:/b:ro"]
    assert config.environment == {"A": "1", "B": "x=y"} and config.tmpfs == ["/run:size=1m", "/x"]
    assert config.devices == ["/dev/fuse"] and config.ulimits == {"nproc": (10, 20)}
    assert config.entrypoint == ["/init"] and not config.seccomp and config.net_isolate
    assert config.read_only and config.tty and config.working_dir == "/w" and config.oom_score_adj == 5
    limits = {"nofile": {"soft": 1, "hard": 2}, "core": 0}
    config = SandboxConfig.from_docker("host", ulimits=limits)
    assert config.ulimits == {"nofile": (1, 2), "core": (0, 0)}
    privileged = SandboxConfig.from_docker("host", privileged=True)
    assert not privileged.seccomp and len(privileged.cap_add) == 41


def test_from_docker_warns_of_what_it_leaves_out(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        SandboxConfig.from_docker("host", userns_mode="host", labels={"a": "b"})
    assert "userns_mode" in caplog.text and "labels" not in caplog.text


def test_from_docker_run(tmp_path: Any) -> None:
    lines = tmp_path / "env"
    lines.write_text("# no\nFROM_FILE=1\nB=file\n\n")
    config = SandboxConfig.from_docker_run(
        "sudo docker run -dit --rm --name n --cpus=0.5 -m 512m --memory-swap 1g -v /data:/data:ro -p 8080:80 "
        f"-e A=1 -eB=2 --env-file {lines} --hostname worker -w /w --dns 1.1.1.1 --device /dev/fuse:/dev/fuse "
        "--pids-limit 9 --cpuset-cpus 0 --cpu-shares 2 --read-only --shm-size 1m --tmpfs /run:size=1m "
        "--cap-add NET_ADMIN --ulimit nofile=5:6 --ulimit core=0 --entrypoint /e --oom-score-adj 7 "
        "--security-opt seccomp=unconfined --network none --log-driver none python:3.11 python -m x --tty"
    )
    assert config.image == "python:3.11" and config.tty and config.net_isolate and not config.seccomp
    assert (config.cpu_max, config.memory_max, config.pids_max) == ("50000 100000", str(512 << 20), "9")
    assert config.environment == {"A": "1", "B": "2", "FROM_FILE": "1"}
    assert config.volumes == ["/data:/data:ro"] and config.port_map == ["8080:80"]
    assert config.ulimits == {"nofile": (5, 6), "core": (0, 0)} and config.entrypoint == ["/e"]
    assert config.devices == ["/dev/fuse"] and config.dns == ["1.1.1.1"] and config.read_only
    assert config.tmpfs == ["/run:size=1m"] and config.oom_score_adj == 7 and config.hostname == "worker"
    assert len(SandboxConfig.from_docker_run("docker run --privileged host").cap_add) == 41
    with pytest.raises(ValueError, match="No image found"):
        SandboxConfig.from_docker_run("docker run --rm")
