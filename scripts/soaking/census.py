"""Counts what a server and its sandboxes hold of the machine."""

import os
import subprocess
import time

# Resident memory moves with the allocator's arenas: this much more than after the warm-up is no growth, in KiB. A
# sanitizer keeps a shadow of all memory there ever was, and needs more.
MEMORY_SLACK = int(os.environ.get("CKPT_MEMORY_SLACK_MIB", "48")) << 10
# Blocks of files that stay: the catalog and its journal, the log, in KiB.
DISK_SLACK = 16 << 10


class Census:
    """One look at a server: numbers, and the lists behind them for a failure's report."""

    def __init__(self, server):
        pid = server.pid
        self.details = {
            "descriptors": sorted(_links(f"/proc/{pid}/fd")),
            "threads": os.listdir(f"/proc/{pid}/task"),
            "processes": sorted(_descendants(pid)),
            "mounts": sorted(line.split()[4] for line in _read(f"/proc/{pid}/mountinfo").splitlines()),
            "cgroups": sorted(_groups(server.root)),
            "files": sorted(_files(server.root)),
        }
        self.numbers = {name: len(things) for name, things in self.details.items()}
        self.memory = _memory(pid)
        # What is being removed is missed by it, and said to be.
        du = subprocess.run(
            ["du", "-skx", server.root], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False
        )
        self.disk = int(du.stdout.split()[0])

    def growth(self, before):
        """What there is more of than there was, as text; nothing where there is nothing."""
        found = []
        for name, number in self.numbers.items():
            if number > before.numbers[name]:
                rest = list(self.details[name])
                for thing in before.details[name]:
                    if thing in rest:
                        rest.remove(thing)
                found.append(f"{name}: {before.numbers[name]}, now {number}: {rest[:20]}")
        if self.memory > before.memory + MEMORY_SLACK:
            found.append(f"memory of the server: {before.memory} KiB, now {self.memory} KiB")
        if self.disk > before.disk + DISK_SLACK:
            found.append(f"disk: {before.disk} KiB, now {self.disk} KiB")
        return found

    def line(self):
        """The numbers in one line."""
        numbers = ", ".join(f"{number} {name}" for name, number in self.numbers.items())
        return f"{numbers}, {self.memory / 1024:.1f} MiB resident, {self.disk} KiB on disk"


def settled(server, before=None, patience=30):
    """The census once it shows no growth and no change between two looks; or the last one."""
    deadline = time.monotonic() + patience
    last = Census(server)
    while time.monotonic() < deadline:
        time.sleep(0.3)
        census = Census(server)
        if census.numbers == last.numbers and (before is None or not census.growth(before)):
            return census
        last = census
    return last


def _read(path):
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _links(directory):
    for name in os.listdir(directory):
        try:
            yield os.readlink(f"{directory}/{name}")
        except OSError:
            pass


def _memory(pid):
    for line in _read(f"/proc/{pid}/status").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def _descendants(root):
    children = {}
    names = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        text = _read(f"/proc/{pid}/stat")
        if ")" in text:
            names[int(pid)] = text[text.index("(") + 1 : text.rindex(")")]
            children.setdefault(int(text.rpartition(")")[2].split()[1]), []).append(int(pid))
    waiting = list(children.get(root, []))
    while waiting:
        pid = waiting.pop()
        yield names[pid]
        waiting += children.get(pid, [])


def _groups(root):
    """Control groups of this store: their directory bears the last part of the root's path."""
    name = os.path.basename(root)
    for directory, names, _ in os.walk("/sys/fs/cgroup"):
        for child in names:
            if child.startswith(f"{name}-"):
                for inner, _, _ in os.walk(os.path.join(directory, child)):
                    if inner != os.path.join(directory, child):
                        yield inner


def _files(root):
    for directory, names, files in os.walk(root):
        for name in names + files:
            path = os.path.relpath(os.path.join(directory, name), root)
            # The journal of the catalog comes and goes; a spare sandbox is there or is being made.
            if not path.startswith((".", "catalog.sqlite-", "server.")) and "/.spare-" not in path:
                yield path
