"""A pool over a real Ray cluster on this machine: a head and three raylets, each with a server of its own."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

import ckpt
from ckpt.adapters.ray import NodeLost, NoRoom, PoolSandbox, SandboxPool

GIB = 1 << 30
pytestmark = pytest.mark.timeout(300)  # with the start of the cluster


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def started(directory: str) -> tuple[Cluster, list[Any], int]:
    """A head that takes no sandboxes, and three nodes of two cores and 4 GiB."""
    port = free_port()
    common = {"object_store_memory": 80 << 20}
    made = Cluster(
        initialize_head=True,
        head_node_args=common
        | {"num_cpus": 0, "memory": 0, "metrics_export_port": port, "include_dashboard": False},
    )
    nodes = []
    for number in range(3):
        root = {"CKPT_ROOT": f"{directory}/{number}"}
        more = {"num_cpus": 2, "memory": 4 * GIB, "metrics_export_port": free_port(), "env_vars": root}
        nodes.append(made.add_node(**common, **more))
    return made, nodes, port


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[Cluster, list[Any], int]]:
    # Paths of Unix sockets are short.
    directory = tempfile.mkdtemp(prefix="ckr-", dir="/tmp")
    os.environ["RAY_TMPDIR"] = directory
    os.mkdir(f"{directory}/ray")
    try:
        made, nodes, port = started(directory)
    except Exception:
        # Ray gives a process half a minute to start, which a machine that is busy may not keep.
        made, nodes, port = started(directory)
    ray.init(address=made.address, log_to_driver=False)
    yield made, nodes, port
    ray.shutdown()
    made.shutdown()
    for number in range(3):
        if os.path.exists(f"{directory}/{number}/server.sock"):
            ended(ckpt.Client(f"{directory}/{number}", start=False))
    shutil.rmtree(directory)


def ended(client: ckpt.Client) -> None:
    """Ends a server with all that it has; that of a node that was lost too."""
    for sandbox in ckpt.Sandbox.list(client=client):
        ckpt.Sandbox(sandbox.name, client).remove()
    pid = client.version().pid
    client.shutdown()
    for _ in range(200):
        if not os.path.exists(f"/proc/{pid}"):
            return
        time.sleep(0.05)
    raise AssertionError("a node's server runs on")


@pytest.fixture(autouse=True)
def no_descriptors_lost() -> Iterator[None]:
    """Ray's own connections come and go."""
    yield


def test_cores_and_memory_that_are_free_decide_where(cluster: Any) -> None:
    with SandboxPool(patience=2) as pool:
        first = [pool.create(cpus=1.5, memory="1g") for _ in range(3)]
        assert len({sandbox.node for sandbox in first}) == 3
        with pytest.raises(NoRoom):
            pool.create(cpus=1.5, memory="1g")
        with pytest.raises(NoRoom):
            pool.create(cpus=0.1, memory="3.5g")
        first[0].remove()
        again = pool.create(cpus=1.5, memory="3g", env={"A": "1"})
        assert again.node == first[0].node
        assert again.exec("echo $A").stdout == "1\n"
        limit = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null"
        assert str(3 * GIB) in again.exec(limit).stdout or again.exec(limit).stdout == ""
        assert sorted(pool.nodes().values()) == [0, 1, 1, 1]
        # Commands of many sandboxes run side by side, and errors are as they were raised.
        refs = [sandbox.submit("sleep 0.2; hostname") for sandbox in pool.sandboxes]
        assert len({result.stdout for result in ray.get(refs)}) == 3
        with pytest.raises(ckpt.CommandFailed) as failed:
            again.exec("exit 3", check=True)
        assert failed.value.result.exit_code == 3
        again.write("/srv/a/b", "text")
        assert again.read("/srv/a/b") == b"text"
        with pytest.raises(ckpt.NotFound):
            again.read("/none")


def test_a_snapshot_is_forked_on_every_node_and_travels_once(cluster: Any) -> None:
    with SandboxPool(patience=30) as pool:
        source = pool.create(cpus=1)
        source.exec("n=41; head -c 3000000 /dev/urandom > /root/noise; sum /root/noise", session="main")
        ready = source.save()
        forks = pool.fork(ready, 5)
        assert len({fork.node for fork in forks}) == 3
        answers = [fork.exec("echo $((n + 1)); sum /root/noise", session="main").stdout for fork in forks]
        assert len(set(answers)) == 1 and answers[0].startswith("42\n")
        first = pool.moved_bytes
        assert first > 2 * 3_000_000
        # The nodes have it now. Of what is saved on the way from it they lack only what is new.
        forks[0].exec("n=43; echo new > /root/new", session="main")
        child = forks[0].save()
        for fork in forks[1:]:
            fork.remove()
        forks = pool.fork(child, 4)
        assert len({fork.node for fork in forks}) > 1
        assert {fork.exec("echo $n; cat /root/new", session="main").stdout for fork in forks} == {"43\nnew\n"}
        assert 0 < pool.moved_bytes - first < first / 4
        moved = pool.moved_bytes
        forks[-1].restore(ready)
        assert forks[-1].exec("echo $n", session="main").stdout == "41\n"
        assert pool.moved_bytes == moved


def test_threads_make_and_fork_at_once(cluster: Any) -> None:
    with SandboxPool(patience=60) as pool, ThreadPoolExecutor(6) as threads:
        # Three cores are more than a node has: while groups just removed are still being taken back, Ray may
        # see one node alone as free, and give it all that fits there.
        made = list(threads.map(lambda number: pool.create(cpus=0.5, memory="256m"), range(6)))
        assert len({sandbox.node for sandbox in made}) > 1
        made[0].exec("n=7", session="main")
        ready = made[0].save()
        forks = threads.map(lambda _: pool.fork(ready, 2, cpus=0.25, memory="256m"), range(5))
        said = [fork.exec("echo $n", session="main").stdout for some in forks for fork in some]
        assert said == ["7\n"] * 10


def test_the_block_of_the_page_runs(cluster: Any) -> None:
    page = (Path(__file__).parents[3] / "docs" / "adapters.md").read_text()
    (block,) = (
        each for each in re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S) if "adapters.ray" in each
    )
    done = subprocess.run(
        [sys.executable, "-c", block],
        env=os.environ | {"RAY_ADDRESS": cluster[0].address},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("shared", [True, False], ids=["shared-directory", "object-store"])
def test_a_lost_node_is_survived_from_the_last_durable_snapshot(
    cluster: Any, shared: bool, tmp_path: Any
) -> None:
    made, nodes, port = cluster
    with SandboxPool(durable=tmp_path if shared else None, patience=30, name=f"lost{int(shared)}") as pool:
        kept, fleeting = pool.create(), pool.create()
        while fleeting.node != kept.node:
            other, fleeting = fleeting, pool.create()
            other.remove()
        kept.exec("n=1; echo one > /root/n", session="main")
        durable = kept.save(durable=True)
        kept.exec("n=2", session="main")
        gone = kept.save()
        node = next(each for each in nodes if each.node_id == kept.node)
        made.remove_node(node, allow_graceful=False)
        nodes.remove(node)
        assert end_of(kept).last_snapshot == durable.id
        with pytest.raises(NodeLost) as hopeless:
            fleeting.recover()
        assert "never saved" in str(hopeless.value)
        assert set(pool.lost()) == {kept, fleeting}
        assert kept.recover() == durable
        assert kept.node != node.node_id and pool.lost() == [fleeting]
        assert kept.exec("echo $n; cat /root/n", session="main").stdout == "1\none\n"
        with pytest.raises(ckpt.SnapshotNotFound):
            kept.restore(gone)
        fleeting.remove()
        (fork,) = pool.fork(durable, 1)
        assert fork.exec("echo $n", session="main").stdout == "1\n"
        if not shared:
            counted(port, pool, kept)


def end_of(sandbox: PoolSandbox) -> NodeLost:
    """The error that tells of a lost node; its processes outlive the raylet by a moment."""
    for _ in range(300):
        try:
            sandbox.exec("true")
        except NodeLost as lost:
            return lost
        time.sleep(0.2)
    raise AssertionError("the node answers on")


def counted(port: int, pool: SandboxPool, sandbox: PoolSandbox) -> None:
    """What Ray shows of a pool: its actors, and its numbers on the nodes' pages for Prometheus."""
    assert f"ckpt-{pool.name}-{sandbox.node[:12]}" in ray.util.list_named_actors()
    pages = ""
    wanted = ["ckpt_pool_recoveries", "ckpt_pool_sandboxes", "ckpt_pool_commands", "ckpt_pool_received_bytes"]
    for _ in range(150):
        ports = {node["MetricsExportPort"] for node in ray.nodes() if node["Alive"]}
        pages = "".join(page(each) for each in ports if each > 0)
        if all(f"{name}" in pages for name in wanted):
            return
        time.sleep(0.2)
    raise AssertionError(([name for name in wanted if name not in pages], ports, pages[:2000]))


def page(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""
