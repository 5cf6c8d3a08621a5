"""What a sandbox must hold, kept beside it: files, sessions, the memory of processes."""

import copy
import functools
import hashlib
import random
import zlib

# A process that counts in its memory: told by one FIFO, it answers by another, and each tick changes a byte of a
# megabyte whose checksum it tells. So a page lost or mixed up by a save is seen.
COUNTER = """
import os, random, sys, zlib
name, seed = sys.argv[1], int(sys.argv[2])
memory, ticks = bytearray(random.Random(seed).randbytes(1 << 20)), 0
os.mkfifo(f"/soak/.{name}.ask"), os.mkfifo(f"/soak/.{name}.answer")
print("ready", flush=True)
while True:
    with open(f"/soak/.{name}.ask") as ask:
        text = ask.read().strip()
    if text == "tick":
        ticks += 1
        memory[ticks * 7919 % len(memory)] ^= ticks & 255
    with open(f"/soak/.{name}.answer", "w") as answer:
        print(ticks, zlib.crc32(memory), file=answer)
"""


@functools.lru_cache(maxsize=8)
def _memory(seed):
    return random.Random(seed).randbytes(1 << 20)


class Counter:
    """The process of the program above."""

    def __init__(self, seed):
        self.seed, self.ticks = seed, 0

    def answer(self):
        memory = bytearray(_memory(self.seed))
        for tick in range(1, self.ticks + 1):
            memory[tick * 7919 % len(memory)] ^= tick & 255
        return f"{self.ticks} {zlib.crc32(memory)}"


class Session:
    """A shell: its variables, where it is, and what it has in the background."""

    def __init__(self):
        self.variables = {}
        self.directory = "/root"
        self.jobs = 0

    # Prints what `text` says, in a form that does not depend on the shell's own quoting.
    QUESTION = 'for k in ${!v_*}; do echo "$k=${!k}"; done; echo "in $PWD"; echo "jobs $(jobs -r -p | wc -l)"'

    def text(self):
        lines = [f"{name}={value}" for name, value in sorted(self.variables.items())]
        return "\n".join(lines + [f"in {self.directory}", f"jobs {self.jobs}"]) + "\n"


class State:
    """All that one sandbox holds at one instant."""

    def __init__(self):
        self.files = {}
        self.directories = set()
        self.sessions = {}
        self.counters = {}

    def copy(self):
        return copy.deepcopy(self)

    # Prints the files below /soak with their digests, then the directories.
    QUESTION = (
        "cd /soak && find . -type f -print0 | sort -z | xargs -0r sha256sum"
        " && find . -mindepth 1 -type d | sort"
    )

    def files_text(self):
        lines = [
            f"{hashlib.sha256(content).hexdigest()}  ./{name}" for name, content in sorted(self.files.items())
        ]
        return "".join(line + "\n" for line in lines + [f"./{name}" for name in sorted(self.directories)])


class Snapshot:
    """A node of the tree as the soak knows it."""

    def __init__(self, identity, parent, state, spec):
        self.id, self.parent, self.state, self.spec = identity, parent, state, spec
        self.tag = None
        # Set before its deletion is asked for: from then on nobody may rely on it.
        self.leaving = False
        self.gone = False


class Forest:
    """The snapshots of all clients. The caller holds `lock` where it reads or changes it."""

    def __init__(self, lock):
        self.lock = lock
        self.snapshots = {}

    def living(self):
        return [one for one in self.snapshots.values() if not one.gone]

    def parent(self, snapshot):
        """The nearest ancestor that is left: who deletes a snapshot alone moves its children up."""
        parent = snapshot.parent
        while parent is not None and self.snapshots[parent].gone:
            parent = self.snapshots[parent].parent
        return parent

    def forget(self):
        """Drops what is gone; nothing may be under way."""
        for snapshot in self.living():
            snapshot.parent = self.parent(snapshot)
        self.snapshots = {one.id: one for one in self.living()}
