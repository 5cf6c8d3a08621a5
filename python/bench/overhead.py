"""What the package costs over the raw socket, for one command in a session.

    python bench/overhead.py [ROUNDS] [ROOTFS]

Both sides take turns in one run and meet the same noise: a socket that sends prepared bytes and reads
until the answer is whole, and `Session.exec`. It prints medians, and the difference of the medians.

Beside them is nitrobox's `run`: by turns with that of `ckpt.compat.nitrobox`, both in the root filesystem
ROOTFS, where nitrobox is installed (0.1.0 from PyPI, for Python 3.12); else the figure of its README.
"""

from __future__ import annotations

import asyncio
import json
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

import ckpt
import ckpt.compat.nitrobox

COMMAND = "echo hi"


def milliseconds(call: Callable[[], object]) -> float:
    """How long a call takes."""
    began = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - began) / 1e6


def raw(client: ckpt.Client, sandbox: str, session: str) -> Callable[[], object]:
    """The least that a program must do to run the command."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(f"{client.root}/server.sock")
    body = json.dumps({"command": COMMAND, "session": session}).encode()
    request = (
        f"POST /v1/sandboxes/{sandbox}/exec HTTP/1.1\r\nHost: ckpt\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body

    def call() -> bytes:
        connection.sendall(request)
        answer = connection.recv(65536)
        while not answer.endswith(b"}"):
            answer += connection.recv(65536)
        return answer

    return call


async def asynchronous(sandbox: str, session: str, rounds: int) -> list[float]:
    """The same through the async door."""
    shell = ckpt.AsyncSandbox(sandbox).session(session)
    taken = []
    for _ in range(rounds):
        began = time.perf_counter_ns()
        await shell.exec(COMMAND)
        taken.append((time.perf_counter_ns() - began) / 1e6)
    return taken


def beside_nitrobox(rootfs: str, rounds: int) -> tuple[list[float], list[float]] | None:
    """What `run` takes in nitrobox and in the door that has its names; `None` where it is not installed."""
    try:
        import nitrobox
        import nitrobox.rootfs
    except ImportError:
        return None
    # It would look a directory up as an image, and find none.
    nitrobox.rootfs.get_image_config = lambda *_: None
    theirs: list[float] = []
    ours: list[float] = []
    with tempfile.TemporaryDirectory() as notes:
        options = {"image": rootfs, "env_base_dir": notes}
        peer = nitrobox.Sandbox(nitrobox.SandboxConfig(**options), name="bench")
        try:
            with ckpt.compat.nitrobox.Sandbox(ckpt.compat.nitrobox.SandboxConfig(**options)) as own:
                for _ in range(rounds):
                    theirs.append(milliseconds(lambda: peer.run(COMMAND)))
                    ours.append(milliseconds(lambda: own.run(COMMAND)))
                assert peer.run(COMMAND) == own.run(COMMAND) == ("hi\n", 0)
        finally:
            peer.delete()
    return theirs, ours


def main(rounds: int, rootfs: str | None) -> None:
    """Measures and prints."""
    with ckpt.Sandbox.create() as sb:
        shell = sb.session("bench")
        bare = raw(sb.client, sb.name, "bench")
        assert b'"hi\\n"' in bare() and shell.exec(COMMAND).stdout == "hi\n"  # type: ignore[operator]
        for _ in range(50):
            bare()
            shell.exec(COMMAND)
        below, above = [], []
        for _ in range(rounds):
            below.append(milliseconds(bare))
            above.append(milliseconds(lambda: shell.exec(COMMAND)))
        third = asyncio.run(asynchronous(sb.name, "bench", rounds))
        once = [milliseconds(lambda: sb.exec("true")) for _ in range(rounds // 4)]
    floor = statistics.median(below)
    print(f"session command, medians of {rounds} rounds, ms")
    print(f"  raw socket        {floor:7.3f}")
    print(f"  Session.exec      {statistics.median(above):7.3f}   +{statistics.median(above) - floor:.3f}")
    print(f"  AsyncSession.exec {statistics.median(third):7.3f}   +{statistics.median(third) - floor:.3f}")
    print(f"Sandbox.exec, a fresh process: {statistics.median(once):.3f}")
    peers = beside_nitrobox(rootfs, rounds // 4) if rootfs else None
    if peers is None:
        print("nitrobox 0.1.0, run: about 11 (its README, on a Ryzen 9800X3D)")
    else:
        theirs, ours = map(statistics.median, peers)
        print(f"nitrobox, run: {theirs:.3f}; ckpt.compat.nitrobox, run: {ours:.3f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000, sys.argv[2] if len(sys.argv) > 2 else None)
