"""A crash, looked at as often as one likes: the instant of the fatal signal is saved by itself.

    python debug_crash.py

A program dies of a segmentation fault now and then. With `save_on_crash` the sandbox is saved at that
very instant, before the process is gone. The snapshot can be asked what happened, gives a core file for
gdb, and can be forked to try a remedy on the living rest of the system.
"""

from __future__ import annotations

import signal
import tempfile
from pathlib import Path

import ckpt

# It reads memory that is not there, as a binding to a C library can.
PROGRAM = """
import ctypes, os
secret = "the request that kills: id=4711"
open("/root/journal", "w").write("about to handle 4711")
ctypes.string_at(0xdead000)
"""


def main() -> None:
    """Crashes, finds the snapshot, and looks into it."""
    with ckpt.Sandbox.create(save_on_crash=True) as sb:
        sb.files.write("/root/program.py", PROGRAM)
        result = sb.exec("python3 /root/program.py")
        print(
            f"the program ended with exit code {result.exit_code} ({signal.Signals(result.signal or 0).name})"
        )
        tree = ckpt.Tree()
        crash = next(each for each in reversed(tree.snapshots()) if each.info.sandbox == sb.name)
        told = crash.info.crash
        assert told is not None
        print(f"saved as {crash.tags[0]}: {told.command} (pid {told.pid}) at address {told.address:#x}")

        process = crash.inspect(pid=told.pid, files=True, memory=True, registers=True).processes[0]
        print(f"it was {' '.join(process.arguments)}, rip={process.threads[0].registers['rip']}")
        print("journal at that instant:", crash.read("/root/journal").decode())
        with tempfile.TemporaryDirectory() as directory:
            core = crash.core(Path(directory) / "core")
            data = core.read_bytes()
            print(f"core file for gdb: {len(data) >> 10} KiB, the request is in it:", b"id=4711" in data)

        (again,) = crash.fork()
        with again:
            print("in a fork of that instant:", again.exec("cat /root/journal").stdout)
    tree.delete(crash, subtree=True)


if __name__ == "__main__":
    main()
