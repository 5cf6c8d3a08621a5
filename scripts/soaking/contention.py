"""Clients that do everything at once to the same sandboxes, where only what holds in any order can be asserted."""

import random
import time

from .api import Connection, Refused

# The same words go into a variable and into a file, in one text: whatever is saved, rolled back or forked in between,
# they must be equal ever after.
WRITE = "v={0}; mkdir -p /soak; echo {0} >/soak/v"
COMPARE = '[ "$v" = "$(cat /soak/v 2>/dev/null)" ] || echo "variable $v, file $(cat /soak/v)"'

# What may be answered to somebody whom another one was quicker than.
ALLOWED = {"unknown_sandbox", "unknown_snapshot", "name_taken", "in_use", "wrong_state"}


class Contender:
    """Draws an operation on one of the shared sandboxes; refusals are counted by their codes."""

    NAMES = ("shared-1", "shared-2")

    def __init__(self, number, path, seed, log):
        self.random = random.Random(f"{seed}-contender-{number}")
        self.number, self.log = number, log
        self.connection = Connection(path)
        self.operations = {}
        self.refusals = {}
        self.made = 0

    def step(self):
        """One random operation; the seconds it took."""
        choices = {
            self.create: 4, self.write: 12, self.compare: 12, self.save: 8, self.restore: 8, self.fork: 3,
            self.reset: 1, self.remove: 2, self.delete: 5, self.collect: 1, self.kill: 1, self.pause: 1,
        }  # fmt: skip
        operation = self.random.choices(list(choices), list(choices.values()))[0]
        name = self.random.choice(self.NAMES)
        self.log.append(f"{time.strftime('%H:%M:%S')} contender {self.number}: {operation.__name__} {name}")
        began = time.monotonic()
        try:
            operation(name)
        except Refused as error:
            self.log.append(f"  contender {self.number}: {error}")
            self.refusals[error.code] = self.refusals.get(error.code, 0) + 1
            if error.code not in ALLOWED:
                raise
        self.operations[operation.__name__] = self.operations.get(operation.__name__, 0) + 1
        return time.monotonic() - began

    def create(self, name):
        self.connection.create(name)

    def write(self, name):
        self.connection.say(name, "main", WRITE.format(self.random.getrandbits(32)))

    def compare(self, name):
        result = self.connection.say(name, "main", COMPARE)
        if result["stdout"]:
            raise AssertionError(f"{name}: memory and files are of two instants: {result['stdout']}")

    def save(self, name):
        self.connection.save(name)

    def restore(self, name):
        self.connection.restore(name)

    def fork(self, name):
        self.made += 1
        answer = self.connection.fork(name, f"shared-fork-{self.number}-{self.made}", 2)
        for sandbox in answer["sandboxes"]:
            self.compare(sandbox["name"])
            self.connection.remove(sandbox["name"])

    def reset(self, name):
        self.connection.call("POST", f"/v1/sandboxes/{name}/reset")

    def remove(self, name):
        self.connection.remove(name)

    def delete(self, name):
        mine = [one["id"] for one in self.connection.tree()["snapshots"] if one["sandbox"].startswith("shared")]
        if mine:
            self.connection.delete(self.random.choice(mine), self.random.choice(("", "keepChildren", "subtree")))

    def collect(self, name):
        self.connection.call("POST", "/v1/gc")

    def kill(self, name):
        self.connection.call("POST", f"/v1/sandboxes/{name}/kill", {"signal": 28})

    def pause(self, name):
        self.connection.call("POST", f"/v1/sandboxes/{name}/pause")
        self.connection.call("POST", f"/v1/sandboxes/{name}/unpause")
