"""Chains of layers that are merged while their snapshots are in use everywhere, and the server is killed."""

import os
import random
import signal
import threading
import time

from soaking.api import Refused

from .common import check, equal, nothing_left, say, shell

READ = "cd /root && grep -r . f-* last 2>/dev/null | sort; :"
# What a deletion that came first, or the server's end, may answer.
LOST = {"unknown_snapshot", "in_use", "wrong_state", "cancelled"}


class Story:
    """What every snapshot holds, and what each sandbox is to hold next."""

    def __init__(self, server, seconds):
        self.server = server
        self.end = time.monotonic() + seconds
        self.lock = threading.Lock()
        self.snapshots = {}
        self.gone = set()
        self.counts = {"saves": 0, "restores": 0, "forks": 0, "deletions": 0, "collections": 0, "kills": 0}
        self.failures = []
        self.refused = {}

    def count(self, what):
        with self.lock:
            self.counts[what] += 1

    def guarded(self, body, *arguments):
        """Runs `body(connection, *arguments)` again and again, on a new connection after the server was killed."""
        connection = None
        while time.monotonic() < self.end and not self.failures:
            try:
                connection = connection or self.server.connect()
                body(connection, *arguments)
            except Refused as error:
                with self.lock:
                    self.refused[error.code] = self.refused.get(error.code, 0) + 1
                if error.code not in LOST:
                    self.failures.append(error)
            except (OSError, RuntimeError):
                connection = None
                time.sleep(0.05)
            except BaseException as error:  # noqa: BLE001 - told by the main thread
                self.failures.append(error)
        if connection:
            connection.close()


class Trunk:
    """A sandbox that is changed, saved and restored in turn, so that its chain grows by one each time."""

    def __init__(self, story, name):
        self.story, self.name, self.number, self.files = story, name, 0, {}

    def text(self):
        return "\n".join(sorted(f"{name}:{value}" for name, value in self.files.items()))

    def step(self, connection):
        self.agree(connection)
        n = self.number = self.number + 1
        self.files[f"f-{n % 40}"] = self.files["last"] = n
        self.files.pop(f"f-{n * 7 % 40}", None)
        say(connection, self.name, f"cd /root; n={n}; echo {n} > f-{n % 40}; rm -f f-{n * 7 % 40}; echo {n} > last")
        before = self.text()
        snapshot = connection.save(self.name)
        with self.story.lock:
            self.story.snapshots[snapshot["id"]] = before
        self.story.count("saves")
        connection.restore(self.name, snapshot["id"])
        self.story.count("restores")

    def agree(self, connection):
        """After a kill: what was under way has happened or has not, in memory and files alike."""
        mine = [one for one in connection.tree()["snapshots"] if one["sandbox"] == self.name]
        with self.story.lock:
            known = self.story.snapshots.keys() | self.story.gone
            unknown = [one["id"] for one in mine if one["id"] not in known]
        info = connection.call("GET", f"/v1/sandboxes/{self.name}")
        if info["state"] != "running":
            connection.restore(self.name, info["snapshot"])
        found = shell(connection, self.name, READ)
        number = int(say(connection, self.name, "echo ${n:-0}"))
        if number == self.number:
            equal(found, self.text(), f"{self.name} at {number}")
        else:
            # The command before the kill, or the restore of a dead sandbox, is a step back at most.
            check(number == self.number - 1, f"{self.name} is at {number} and was at {self.number}")
            self.number = number
            self.files = dict(line.split(":", 1) for line in found.splitlines())
        for one in unknown:
            with self.story.lock:
                self.story.snapshots[one] = found


def fork_and_look(connection, story, draw):
    with story.lock:
        if not story.snapshots:
            return
        snapshot = draw.choice(list(story.snapshots))
        wanted = story.snapshots[snapshot]
    name = f"look-{draw.randrange(10**9)}"
    fork = connection.fork(snapshot, name)["sandboxes"][0]["name"]
    equal(shell(connection, fork, READ), wanted, f"fork of {snapshot}")
    connection.remove(fork)
    story.count("forks")


def delete(connection, story, draw):
    time.sleep(0.05)
    with story.lock:
        known = list(story.snapshots)
    if len(known) < 12:
        return
    if draw.random() < 0.1:
        connection.call("POST", "/v1/gc")
        story.count("collections")
        return
    snapshot = draw.choice(known[: len(known) * 2 // 3])
    with story.lock:
        text = story.snapshots.pop(snapshot)
        story.gone.add(snapshot)
    try:
        connection.delete(snapshot, "keepChildren")
        story.count("deletions")
    except Refused as error:
        if error.code != "unknown_snapshot":
            with story.lock:
                story.snapshots[snapshot] = text
        raise


def kill(story, draw):
    """The server dies at any moment, and another takes over the sandboxes it left."""
    server = story.server
    while True:
        time.sleep(draw.uniform(1, 4))
        if time.monotonic() > story.end - 2 or story.failures:
            return
        with story.lock:
            story.counts["kills"] += 1
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        try:
            server.process = type(server)(server.process.args[0], server.root).process
        except BaseException as error:  # noqa: BLE001
            story.failures.append(error)


def run(server, divisor):
    story = Story(server, 80 // divisor)
    connection = server.connect()
    trunks = [Trunk(story, f"trunk-{number}") for number in range(3)]
    for trunk in trunks:
        connection.create(trunk.name)
        say(connection, trunk.name, "n=0; echo 0 > /root/last")
        trunk.files = {"last": 0}
    connection.close()
    works = [(story.guarded, trunk.step) for trunk in trunks]
    works += [
        (story.guarded, fork_and_look, story, random.Random(1)), (story.guarded, delete, story, random.Random(2)),
        (kill, story, random.Random(3)),
    ]  # fmt: skip
    threads = [threading.Thread(target=work[0], args=work[1:]) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if story.failures:
        raise story.failures[0]
    yield ", ".join(f"{count} {what}" for what, count in story.counts.items()) + f"; refused {story.refused}"
    yield from end(server, story, trunks)


def end(server, story, trunks):
    connection = server.connect()
    for trunk in trunks:
        trunk.agree(connection)
    tree = connection.tree()["snapshots"]
    merges = os.listdir(os.path.join(server.root, "merges"))
    check(merges, "nothing was merged")
    yield f"{len(tree)} snapshots with at most {max(len(one['layers']) for one in tree)} layers, {len(merges)} merges"
    equal(connection.call("POST", "/v1/verify", {})["damage"], [], "verify")
    draw = random.Random(4)
    for one in draw.sample(tree, min(8, len(tree))):
        if one["id"] in story.snapshots:
            fork_and_look(connection, Single(story, one["id"]), draw)
    connection.clear()
    nothing_left(server)
    connection.close()


class Single:
    """A story of one snapshot."""

    def __init__(self, story, snapshot):
        self.lock, self.count = story.lock, story.count
        self.snapshots = {snapshot: story.snapshots[snapshot]}
