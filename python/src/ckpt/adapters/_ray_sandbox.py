"""A sandbox and a snapshot of a pool: where they are, and what is said when a node is lost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayActorError, RayTaskError
from ray.util.placement_group import PlacementGroup

import ckpt

if TYPE_CHECKING:
    from typing_extensions import Self

    from .ray import SandboxPool

VERDICT = 80
"""How often Ray is asked whether a node is gone whose actor is, half a second apart."""


class NodeLost(ckpt.SandboxDied):
    """The node of a sandbox is gone, and the sandbox with it. `PoolSandbox.recover` brings it back elsewhere.

    `last_snapshot` is the last one that was saved with `durable=True`.
    """


@dataclass(frozen=True)
class PoolSnapshot:
    """A snapshot, and where it is. It can be forked on any node."""

    id: str
    """Its id, the same on every node."""
    node: str
    """The node that it was saved on."""
    durable: bool
    """Whether it outlives the node."""


class PoolSandbox:
    """A sandbox on some node of the cluster.

    Errors are those of `ckpt.Sandbox`, and `NodeLost`. Nothing is put in a lost one's place before `recover`.
    """

    def __init__(
        self, pool: SandboxPool, name: str, group: PlacementGroup, node: str, made: dict[str, Any]
    ) -> None:
        self._pool = pool
        self._group = group
        self._made = made
        self.name = name
        """Its name in the ckpt of its node."""
        self.node = node
        """The id of its node in Ray."""
        self.last_durable: PoolSnapshot | None = None
        """The snapshot that it would be recovered from."""

    def exec(self, command: str | Sequence[str], **arguments: Any) -> ckpt.Result:
        """Runs a command; parameters and errors as of `ckpt.Sandbox.exec`."""
        return self._call("exec", command, arguments)  # type: ignore[no-any-return]

    def submit(self, command: str | Sequence[str], **arguments: Any) -> ray.ObjectRef[ckpt.Result]:
        """Starts a command and returns at once; `ray.get` of what it returns, or `await`, has the result."""
        actor = self._pool._actor(self.node)
        return actor.exec.remote(self.name, command, arguments)  # type: ignore[no-any-return]

    def read(self, path: str) -> bytes:
        """The bytes of a file."""
        return self._call("read", path)  # type: ignore[no-any-return]

    def write(self, path: str, data: bytes | str) -> None:
        """Writes a file, and the directories it lies in."""
        self._call("write", path, data.encode() if isinstance(data, str) else data)

    def save(
        self, tag: str | None = None, message: str | None = None, *, durable: bool = False
    ) -> PoolSnapshot:
        """Saves files, memory and processes of this instant.

        `durable`: a whole archive of it is kept where the loss of this node does not reach it.
        """
        snapshot = PoolSnapshot(self._call("save", tag, message), self.node, durable)
        if durable:
            with self._told():
                self._pool._keep(snapshot)
            self.last_durable = snapshot
        return snapshot

    def restore(self, snapshot: PoolSnapshot) -> None:
        """Rolls it back to a snapshot, which is brought to its node where it is not there."""
        with self._told():
            self._pool._bring(snapshot, self.node)
        self._call("restore", snapshot.id)

    def fork(self, n: int = 1) -> list[PoolSandbox]:
        """Saves it, and starts `n` sandboxes from there on whatever nodes have room."""
        return self._pool.fork(self.save(), n)

    def recover(self, *, timeout: float = 60) -> PoolSnapshot:
        """Brings it back on another node, as it was when it was last saved with `durable=True`.

        `timeout`: seconds to wait for room. Raises `NodeLost` where it never was, and `NoRoom`.
        """
        if self.last_durable is None:
            raise self._lost("it was never saved with durable=True")
        self.node = self._pool._placed(self._group, timeout, self.node)
        with self._told():
            self._pool._bring(self.last_durable, self.node)
        limits = {key: self._made[key] for key in ("cpus", "memory")}
        prefix = self._pool._fresh_name()
        (self.name,) = self._call("fork", self.last_durable.id, prefix, 1, limits, named=False)
        self._pool._recoveries.inc()
        return self.last_durable

    def remove(self) -> None:
        """Ends it, and gives its cores and memory back; its snapshots stay."""
        try:
            self._call("remove")
        except NodeLost:
            pass  # It is gone already.
        self._pool._forget(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()

    def __repr__(self) -> str:
        return f"PoolSandbox({self.name!r}, node={self.node[:12]!r})"

    def _call(self, method: str, *arguments: Any, named: bool = True) -> Any:
        own = (self.name,) if named else ()
        with self._told():
            return got(getattr(self._pool._actor(self.node), method).remote(*own, *arguments))

    def _told(self) -> _Told:
        return _Told(self)

    def _explained(self, error: RayActorError) -> ckpt.CkptError:
        """Whether it was the node that ended, or its actor alone."""
        cause = str(error).split("\n")[0]
        for _ in range(VERDICT):
            if self.node not in living_nodes():
                return self._lost(cause)
            time.sleep(0.5)
        self._pool._actors.pop(self.node, None)
        return ckpt.ServerUnavailable(
            f"the pool's actor on node {self.node[:12]} ended",
            hint="the next call starts another",
            cause=cause,
        )

    def _lost(self, cause: str) -> NodeLost:
        last = self.last_durable.id if self.last_durable else None
        return NodeLost(self.name, f"its node {self.node[:12]} is gone", last, cause)


class _Told:
    """Tells of a node's end as the sandbox's."""

    def __init__(self, sandbox: PoolSandbox) -> None:
        self._sandbox = sandbox

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, RayActorError):
            raise self._sandbox._explained(error) from error


def living_nodes() -> set[str]:
    """The ids of the nodes that Ray takes for alive."""
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}  # type: ignore[no-untyped-call]


def got(reference: Any) -> Any:
    """What a call gave; its error as it was raised there."""
    try:
        return ray.get(reference)
    except RayTaskError as error:
        if isinstance(error.cause, ckpt.CkptError):
            raise error.cause from None
        raise


def size_in_bytes(size: int | str) -> int:
    """A size as `ckpt.Sandbox.create` takes it, in bytes."""
    if isinstance(size, int):
        return size
    text = size.strip().lower().removesuffix("b")
    factor = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}.get(text[-1:], 1)
    try:
        return int(float(text.rstrip("kmgt")) * factor)
    except ValueError:
        raise ckpt.InvalidOption(f"{size!r} is no size", hint="write bytes, or 512m, or 2g") from None
