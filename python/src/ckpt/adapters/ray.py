"""Sandboxes on the nodes of a Ray cluster, for users who have outgrown one machine.

    import ray
    from ckpt.adapters.ray import SandboxPool

    ray.init(address="auto")
    with SandboxPool(durable="/mnt/shared/snapshots") as pool:
        sb = pool.create(cpus=1, memory="1g")
        sb.exec("make", check=True)
        ready = sb.save(durable=True)
        attempts = pool.fork(ready, 64)

Each node runs ckpt's own server of its own root (`CKPT_ROOT` there). Ray's scheduler places: a sandbox's
cores and memory are a placement group, so that other work on the cluster is counted, and waits for its turn.
"""

from __future__ import annotations

import secrets
import threading
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import GetTimeoutError
from ray.util.metrics import Counter
from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import ckpt

from ._ray_node import Node, Vault
from ._ray_sandbox import NodeLost, PoolSandbox, PoolSnapshot, got, living_nodes, size_in_bytes

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["NoRoom", "NodeLost", "PoolSandbox", "PoolSnapshot", "SandboxPool"]

CALLS = 64
"""Calls that a node answers side by side."""


class NoRoom(ckpt.NoSpace):
    """No node has the cores and the memory free that a sandbox asks for."""


class SandboxPool:
    """Sandboxes on all nodes of the cluster that Ray is connected to.

    Leaving a `with` block removes all of them. It may be used by several threads at once.
    """

    def __init__(
        self,
        *,
        durable: str | Path | None = None,
        root: str | None = None,
        name: str | None = None,
        patience: float = 60,
    ) -> None:
        """`durable`: a directory that every node sees, for the archives of durable snapshots; when missing,
        an actor on this node keeps them, and they last as long as the pool.

        `root`: ckpt's root on every node, instead of what `CKPT_ROOT` is there. `name`: how its sandboxes'
        names begin, and what metrics are tagged with. `patience`: seconds to wait for room.
        """
        self.name = name or f"pool{secrets.token_hex(3)}"
        self._root = root
        self._patience = patience
        self._durable = None if durable is None else Path(durable)
        self._actors: dict[str, Any] = {}
        # Calls block, so they come from several threads: one of them starts an actor, one brings a snapshot.
        self._starting = threading.Lock()
        self._bringing: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._sandboxes: list[PoolSandbox] = []
        self._vault: Any = None
        self._kept: set[str] = set()
        self._recoveries = Counter(
            "ckpt_pool_recoveries", "Sandboxes brought back after their node was lost", tag_keys=("pool",)
        )
        self._recoveries.set_default_tags({"pool": self.name})
        self.moved_bytes = 0
        """Bytes of archives that went from one node to another."""

    @property
    def sandboxes(self) -> list[PoolSandbox]:
        """Those that there are now."""
        return list(self._sandboxes)

    def create(
        self, base: str = "host", *, cpus: float = 1, memory: int | str = "1g", **options: Any
    ) -> PoolSandbox:
        """Makes a sandbox on a node that has `cpus` and `memory` free, which are its limits too.

        Other options are those of `ckpt.Sandbox.create`. Raises `NoRoom`, and what `create` raises there.
        """
        made = {"cpus": cpus, "memory": size_in_bytes(memory)}
        sandbox = self._reserved(made, None)
        try:
            sandbox._call("create", base, options | made)
        except BaseException:
            self._forget(sandbox)
            raise
        return sandbox

    def fork(
        self, snapshot: PoolSnapshot, n: int = 1, *, cpus: float = 1, memory: int | str = "1g"
    ) -> list[PoolSandbox]:
        """Starts `n` sandboxes from a snapshot, all or none, near it while there is room, then elsewhere.

        It travels to each node at most once, without what that node has. Raises `NoRoom`.
        """
        made = {"cpus": cpus, "memory": size_in_bytes(memory)}
        sandboxes: list[PoolSandbox] = []
        try:
            for _ in range(n):
                sandboxes.append(self._reserved(made, snapshot.node))
            places = defaultdict(list)
            for sandbox in sandboxes:
                places[sandbox.node].append(sandbox)
            for node, here in places.items():
                with here[0]._told():
                    self._bring(snapshot, node)
            started = [
                (here, self._actor(node).fork.remote(snapshot.id, here[0].name, len(here), made))
                for node, here in places.items()
            ]
            for here, names in started:
                with here[0]._told():
                    for sandbox, name in zip(here, got(names), strict=True):
                        sandbox.name = name
        except BaseException:
            for sandbox in sandboxes:
                try:
                    sandbox.remove()
                except ckpt.CkptError:
                    pass  # The first error is the one to tell.
            raise
        for sandbox in sandboxes:
            sandbox.last_durable = snapshot if snapshot.durable else None
        return sandboxes

    def nodes(self) -> dict[str, int]:
        """How many sandboxes each living node has, by the node's id."""
        living = dict.fromkeys(living_nodes(), 0)
        for sandbox in self._sandboxes:
            living[sandbox.node] = living.get(sandbox.node, 0) + 1
        return living

    def lost(self) -> list[PoolSandbox]:
        """The sandboxes whose node is gone."""
        living = living_nodes()
        return [sandbox for sandbox in self._sandboxes if sandbox.node not in living]

    def close(self) -> None:
        """Removes every sandbox, and what the pool keeps of durable snapshots by itself."""
        for sandbox in self.sandboxes:
            try:
                sandbox.remove()
            except ckpt.CkptError:
                self._forget(sandbox)
        if self._vault is not None:
            got(self._vault.close.remote())
        for actor in [*self._actors.values(), *([self._vault] if self._vault is not None else [])]:
            ray.kill(actor)
        self._actors, self._vault = {}, None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # Places

    def _reserved(self, made: dict[str, Any], near: str | None) -> PoolSandbox:
        """A sandbox's cores and memory on some node."""
        bundle = {"CPU": made["cpus"], "memory": made["memory"]}
        living = living_nodes()
        group = placement_group(
            [bundle], strategy="STRICT_PACK", _soft_target_node_id=near if near in living else None
        )
        node = self._placed(group, self._patience, None)
        sandbox = PoolSandbox(self, self._fresh_name(), group, node, made)
        self._sandboxes.append(sandbox)
        return sandbox

    def _placed(self, group: PlacementGroup, timeout: float, lost: str | None) -> str:
        """The node that Ray gave a group, or gives it anew after it lost one."""
        try:
            ray.get(group.ready(), timeout=timeout)
        except GetTimeoutError:
            if lost is None:
                remove_placement_group(group)
            raise NoRoom(
                f"no node had room within {timeout:g} s", hint="remove sandboxes, ask for less, or add nodes"
            ) from None
        return str(placement_group_table(group)["bundles_to_node_id"][0])

    def _actor(self, node: str) -> Any:
        """The actor of a node, which is started at first need."""
        with self._starting:
            if node not in self._actors:
                self._actors[node] = (
                    ray.remote(Node)
                    .options(
                        num_cpus=0,
                        max_concurrency=CALLS,
                        name=f"ckpt-{self.name}-{node[:12]}",
                        scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
                    )
                    .remote(self.name, node, self._root)
                )
            return self._actors[node]

    def _forget(self, sandbox: PoolSandbox) -> None:
        if sandbox in self._sandboxes:
            self._sandboxes.remove(sandbox)
            remove_placement_group(sandbox._group)

    def _fresh_name(self) -> str:
        return f"{self.name}-{secrets.token_hex(4)}"

    # Snapshots

    def _bring(self, snapshot: PoolSnapshot, node: str) -> None:
        """Sees to it that a node has a snapshot: from where it was saved, else from its durable archive."""
        with self._starting:
            turn = self._bringing[node]
        with turn:
            self._carry_to(snapshot, node)

    def _carry_to(self, snapshot: PoolSnapshot, node: str) -> None:
        target = self._actor(node)
        if got(target.has.remote(snapshot.id)):
            return
        living = living_nodes()
        if snapshot.node in living:
            have = target.objects.remote()
            source = self._actor(snapshot.node).export.options(
                num_returns="streaming", _generator_backpressure_num_objects=4
            )
            self._carry(source.remote(snapshot.id, have), target, target.begin.remote())
        elif snapshot.id not in self._kept:
            raise ckpt.SnapshotNotFound(
                f"snapshot {snapshot.id} was lost with its node {snapshot.node[:12]}",
                hint="save with durable=True what has to outlive a node",
            )
        elif self._durable is not None:
            got(target.import_from.remote(str(self._archive(snapshot))))
        else:
            source = self._vault.pieces.options(num_returns="streaming")
            self._carry(source.remote(snapshot.id), target, target.begin.remote())

    def _keep(self, snapshot: PoolSnapshot) -> None:
        """Makes a snapshot durable."""
        actor = self._actor(snapshot.node)
        if self._durable is not None:
            got(actor.export_to.remote(snapshot.id, str(self._archive(snapshot))))
        else:
            with self._starting:
                if self._vault is None:
                    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
                    self._vault = (
                        ray.remote(Vault)
                        .options(num_cpus=0, scheduling_strategy=here, name=f"ckpt-{self.name}-vault")
                        .remote()
                    )
            source = actor.export.options(num_returns="streaming", _generator_backpressure_num_objects=4)
            self._carry(source.remote(snapshot.id, []), self._vault, self._vault.begin.remote(snapshot.id))
        self._kept.add(snapshot.id)

    def _carry(self, pieces: Iterable[Any], target: Any, key: Any) -> None:
        """Has the pieces of an archive go from one actor to another through Ray's store of objects."""
        name = got(key)
        for piece in pieces:
            # The reference is passed on: the bytes go from node to node, and not through this process.
            self.moved_bytes += got(target.take.remote(name, piece))
        got(target.finish.remote(name))

    def _archive(self, snapshot: PoolSnapshot) -> Path:
        if self._durable is None:
            raise RuntimeError("the pool has no directory for durable snapshots")
        return self._durable / f"{snapshot.id}.tar.zst"
