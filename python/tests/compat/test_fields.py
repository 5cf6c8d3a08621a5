"""What each field of SandboxConfig does, seen from inside."""

from __future__ import annotations

import os
import socket
import stat
import time
import urllib.request
from pathlib import Path

import pytest

from ckpt.compat.nitrobox import Sandbox, SandboxError

from .conftest import Maker


def test_names_files_and_devices(make: Maker, tmp_path: Path) -> None:
    for name in ("ro", "rw", "cow"):
        (tmp_path / name).mkdir()
    node = tmp_path / "node"
    os.mknod(node, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    volumes = [f"{tmp_path}/ro:/ro:ro", f"{tmp_path}/rw:/rw", f"{tmp_path}/cow:/cow:cow"]
    box = make(
        hostname="worker", dns=["192.0.2.1"], volumes=volumes, devices=[str(node)], net_isolate=True,
        tmpfs=["/scratch:size=1m", "/noexec:size=2m,nosuid"], shm_size="2m", entrypoint=["/bin/false"],
        ipv6=True, rootfs_cache_dir=str(tmp_path / "cache"), fs_backend="btrfs",
    )  # fmt: skip
    assert box.run("hostname; cat /etc/resolv.conf") == ("worker\nnameserver 192.0.2.1\n", 0)
    assert box.run("df --output=size /scratch /noexec /dev/shm | tail -n +2")[0].split() == [
        "1024",
        "2048",
        "2048",
    ]
    assert box.run("touch /ro/x")[1] == 1 and box.run("touch /rw/x /cow/x; ls /cow") == ("x\n", 0)
    assert os.listdir(tmp_path / "rw") == ["x"] and os.listdir(tmp_path / "cow") == []
    assert box.run(f"test -c {node} && echo gone > {node}; cat {node}") == ("", 0)
    assert "fs='btrfs'" in repr(box) or "fs=btrfs" in repr(box)
    box.reset()
    assert box.run("ls /cow /rw") == ("/cow:\n\n/rw:\nx\n", 0)


def test_limits(make: Maker) -> None:
    disks = [f"/dev/{name}" for name in os.listdir("/sys/block") if os.path.exists(f"/dev/{name}")]
    box = make(
        cpu_max="0.5", memory_max="256m", memory_swap="256m", memory_high="200m", pids_max="64",
        cpuset_cpus="0", cpuset_mems="0", cpu_shares=512, oom_score_adj=500, ulimits={"nofile": (64, 128)},
        io_max=f"{disks[0]} 10mb" if disks else None,
    )  # fmt: skip
    assert box.run("ulimit -Sn; ulimit -Hn; cat /proc/self/oom_score_adj") == ("64\n128\n500\n", 0)
    assert box.run("nproc") == ("1\n", 0)
    used = box._native.stats()
    assert (used.cpu.limit, used.memory.limit_bytes, used.pids.limit) == (0.5, 256 << 20, 64)
    # With a group of its own the kernel says how long it waited, unless PSI is off.
    assert set(box.pressure()) in ({"cpu", "memory", "io"}, set())
    assert box.run(["python3", "-c", "bytearray(400 << 20)"])[1] == 137
    threads = "threading.Thread(target=time.sleep, args=[9], daemon=True).start()"
    output, _ = box.run(["python3", "-c", f"import threading, time\nfor _ in range(100): {threads}"])
    assert "can't start new thread" in output


def test_rights(make: Maker) -> None:
    status = "sed -n 's/^\\(CapBnd\\|Seccomp\\):\\t*//p' /proc/self/status; grep -c timer_list /proc/mounts"
    bits, seccomp, masked = make(cap_add=["NET_ADMIN"], cap_drop=["CHOWN"]).run(status)[0].split()
    assert (int(bits, 16) & 1, int(bits, 16) >> 12 & 1, seccomp, masked) == (0, 1, "2", "1")
    bits, seccomp, masked = make(seccomp=False, mask_paths=False).run(status)[0].split()
    assert (int(bits, 16) & 1, int(bits, 16) >> 12 & 1, seccomp, masked) == (1, 0, "0", "0")


def test_what_may_be_written(make: Maker) -> None:
    box = make(read_only=True, working_dir="/not/there")
    assert box.run("pwd; ls; touch x /x 2>&1 | grep -c Read-only") == ("/not/there\n2\n", 0)
    box = make(writable_paths=["/out"])
    assert box.run("pwd; touch x /root/x /tmp/x /out/x /dev/shm/x 2>&1 | grep -c Read-only") == (
        "/workspace\n2\n",
        0,
    )
    assert box.features["landlock"]
    box.reset()
    assert box.run("pwd; ls /out /tmp") == ("/workspace\n/out:\n\n/tmp:\n", 0)
    with pytest.raises(SandboxError):
        box.write_file("/root/x", "")
    box.write_file("/out/x", "")


def test_what_may_be_read(make: Maker, rootfs: Path) -> None:
    for name in ("shown", "hidden"):
        (rootfs / name).mkdir()
        (rootfs / name / "file").write_text(name)
    box = make(image=str(rootfs), readable_paths=["/shown"])
    assert box.run("cat /shown/file; ls /hidden") == ("shown", 0)


def _connects(box: Sandbox, port: int) -> str:
    # An address for documentation (RFC 5737): nobody answers there, nobody refuses either.
    return box.run(f"exec 3<> /dev/tcp/192.0.2.1/{port}", timeout=1)[0].strip().rpartition(": ")[2]


def test_networks(make: Maker) -> None:
    interfaces = "sed -n 's/^ *\\(.*\\):.*/\\1/p' /proc/net/dev"
    own = make(net_isolate=True)
    assert own.run(interfaces) == ("lo\n", 0) and own.features["netns"]
    assert sorted(make().run(interfaces)[0].split()) == sorted(os.listdir("/sys/class/net"))
    box = make(allowed_ports=[9])
    assert _connects(box, 9) != "Connection refused"
    assert _connects(box, 10) == "Connection refused"
    assert box.features["netns"]


def test_ports(make: Maker) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    box = make(port_map=[f"{port}:8000"], working_dir="/srv/site")
    box.write_file("/srv/site/index.html", "from inside")
    handle = box.run_background("python3 -m http.server 8000")
    for _ in range(200):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                assert answer.read() == b"from inside"
            break
        except OSError:
            time.sleep(0.05)
    else:
        pytest.fail(f"nothing answers: {box.check_background(handle)}")
