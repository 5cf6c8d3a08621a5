"""Damage to one file of a store."""

import filecmp
import os
import stat

# What says nothing of any snapshot: locks, sockets, logs, what is kept back, what is staged.
NOT_STORED = ("lock", "server.", "reserve", "sandboxes", "staging", "runtime", "bases")


class Damage:
    def __init__(self, kind, paths, detail=""):
        self.kind, self.paths, self.detail = kind, paths, detail

    def __str__(self):
        return f"{self.kind} {' and '.join(self.paths)}{self.detail}"


def files(root):
    """All regular files that belong to the store, by path below it."""
    found = []
    for directory, _, names in os.walk(root):
        for name in names:
            path = os.path.relpath(os.path.join(directory, name), root)
            if not path.startswith(NOT_STORED) and stat.S_ISREG(os.lstat(os.path.join(root, path)).st_mode):
                found.append(path)
    return sorted(found)


def groups(everything):
    """Files by what they are for: images are by far the most."""
    grouped = {}
    for path in everything:
        parts = path.split("/")
        kind = parts[2] if parts[0] == "snapshots" else parts[0]
        grouped.setdefault(kind, []).append(path)
    return grouped


def damage(root, everything, chance):
    """Does something to one file, or to two; returns what."""
    grouped = groups(everything)
    weights = [4 if kind == "process" else 1 for kind in grouped]
    while True:
        kind = chance.choice(["flipped", "truncated", "deleted", "swapped"])
        path = chance.choice(chance.choices(list(grouped.values()), weights)[0])
        full = os.path.join(root, path)
        size = os.path.getsize(full)
        if kind == "deleted":
            os.unlink(full)
            return Damage(kind, [path])
        if kind == "swapped":
            # With one of the same kind, of another snapshot or layer, where that is another one.
            name = os.path.basename(path)
            others = [
                other for other in everything
                if other != path and (os.path.basename(other) == name or not path.startswith("snapshots"))
                and other.split("/")[0] == path.split("/")[0]
                and not filecmp.cmp(os.path.join(root, other), full, shallow=False)
            ]
            if not others:
                continue
            other = chance.choice(others)
            aside = full + ".aside"
            os.rename(full, aside)
            os.rename(os.path.join(root, other), full)
            os.rename(aside, os.path.join(root, other))
            return Damage(kind, [path, other])
        if size == 0:
            continue
        times = os.stat(full)
        if kind == "truncated":
            left = chance.randrange(size)
            os.truncate(full, left)
            detail = f" to {left} of {size} bytes"
        else:
            place, bit = chance.randrange(size), chance.randrange(8)
            with open(full, "r+b") as file:
                file.seek(place)
                byte = file.read(1)[0]
                file.seek(place)
                file.write(bytes([byte ^ 1 << bit]))
            detail = f" in bit {bit} of byte {place}"
        # As a disk does it.
        os.utime(full, ns=(times.st_atime_ns, times.st_mtime_ns))
        return Damage(kind, [path], detail)
