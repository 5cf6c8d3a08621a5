"""Operations at the same time, with assertions that need no clock: what blocks is blocked until we let it go."""

import collections
import os
import signal
import threading
import time

from .api import Connection, Refused
from .contention import ALLOWED, COMPARE, WRITE


class Failure(Exception):
    """One waits for another that it has nothing to do with, or something is lost."""


class InBackground:
    """A call on a connection of its own."""

    def __init__(self, path, call):
        self.answer = self.error = None
        self.thread = threading.Thread(target=self.run, args=(Connection(path), call), daemon=True)
        self.thread.start()

    def run(self, connection, call):
        try:
            self.answer = call(connection)
        except Exception as error:  # noqa: BLE001 - told by `end`
            self.error = error
        connection.close()

    @property
    def is_under_way(self):
        return self.thread.is_alive()

    def end(self):
        self.thread.join(120)
        if self.thread.is_alive():
            raise Failure("a call does not end after it was let go")
        if self.error:
            raise self.error
        return self.answer


def live_through(connection, name):
    """Everything that can be done to a sandbox; each must end while another one's operation stands still."""
    connection.create(name)
    connection.say(name, "main", "x=1")
    saved = connection.save(name)["id"]
    connection.say(name, "main", "x=2")
    connection.restore(name, saved)
    if connection.say(name, "main", "echo $x")["stdout"] != "1\n":
        raise Failure(f"{name} does not hold what it was rolled back to")
    connection.fork(saved, f"{name}-fork")
    connection.remove(f"{name}-fork")
    connection.call("POST", f"/v1/sandboxes/{name}/reset")
    connection.delete(saved)
    connection.call("GET", "/v1/sandboxes")
    connection.call("GET", "/v1/snapshots")
    connection.remove(name)


def blocked_command(server, connection, number):
    """A command that waits for a FIFO, in a session and outside."""
    connection.create("a")
    connection.run("a", "mkfifo", "/root/gate", "/root/other")
    calls = [
        InBackground(server.path, lambda one: one.say("a", "main", "read x </root/gate")),
        InBackground(server.path, lambda one: one.run("a", "cat", "/root/other")),
    ]
    live_through(connection, f"b-{number}")
    if not all(call.is_under_way for call in calls):
        raise Failure("what should have waited did not")
    connection.run("a", "sh", "-c", "echo on >/root/gate; echo on >/root/other")
    for call in calls:
        call.end()
    connection.remove("a")


def is_worker(pid):
    """Whether it is no process that CRIU restores: that is the server's child too, but in a namespace of pids below."""
    with open(f"/proc/{pid}/status") as file:
        return len(next(line for line in file if line.startswith("NSpid:")).split()) == 2


def criu_of(server):
    """The pids of the server's CRIU workers."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as file:
                name, _, rest = file.read().partition("(")[2].rpartition(")")
            if name.startswith("criu") and int(rest.split()[1]) == server.pid and is_worker(pid):
                found.append(int(pid))
        except OSError:
            pass
    return found


def stopped_worker(server, path, call):
    """A call whose CRIU worker stands still from its first moments: the call, and how to let it go."""
    # One that waits already could be taken by anybody; the server makes do without it.
    time.sleep(0.1)
    before = set(criu_of(server))
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    under_way = InBackground(path, call)
    while under_way.is_under_way:
        for pid in set(criu_of(server)) - before:
            os.kill(pid, signal.SIGSTOP)
            return under_way, pid
    return under_way, None


def blocked_criu(server, connection, number):
    """A save and a restore of one sandbox stand still with their CRIU."""
    connection.create("a")
    connection.say("a", "main", "x=1")
    saved = connection.save("a")["id"]
    for call in (lambda one: one.save("a", engine="criu"), lambda one: one.restore("a", saved, engine="criu")):
        for _ in range(20):
            under_way, pid = stopped_worker(server, server.path, call)
            if pid and under_way.is_under_way:
                break
            if pid:
                os.kill(pid, signal.SIGCONT)
            under_way.end()
        else:
            raise Failure("no CRIU worker could be caught at work")
        live_through(connection, f"b-{number}")
        if not under_way.is_under_way:
            raise Failure("what should have waited for its CRIU did not")
        os.kill(pid, signal.SIGCONT)
        under_way.end()
    if connection.say("a", "main", "echo $x")["stdout"] != "1\n":
        raise Failure("the sandbox has lost its variable")
    connection.remove("a")


def many_on_one(server, clients=64, each=4):
    """Clients on one sandbox, all kinds of operation at once; what is asserted holds in any order."""
    connection = Connection(server.path)
    connection.create("one")
    first = connection.save("one", tag="one-base")["id"]
    tally, refusals, lock = collections.Counter(), collections.Counter(), threading.Lock()

    def compare(one, name="one"):
        text = one.say(name, "main", COMPARE)["stdout"]
        if text:
            raise Failure(f"memory and files are of two instants: {text}")

    def fork(one, name):
        for sandbox in one.fork("one", name, 1)["sandboxes"]:
            compare(one, sandbox["name"])
            one.remove(sandbox["name"])

    def delete(one):
        for snapshot in one.tree()["snapshots"][1:3]:
            one.delete(snapshot["id"], "keepChildren")

    def work(number):
        one = Connection(server.path)
        kinds = [
            ("write", lambda: one.say("one", "main", WRITE.format(number))), ("compare", lambda: compare(one)),
            ("run", lambda: one.run("one", "true")), ("save", lambda: one.save("one")),
            ("restore", lambda: one.restore("one")), ("restore", lambda: one.restore("one", first)),
            ("fork", lambda: fork(one, f"fork-{number}")), ("reset", lambda: one.call("POST", "/v1/sandboxes/one/reset")),
            ("delete", lambda: delete(one)), ("gc", lambda: one.call("POST", "/v1/gc")),
            ("rm and create", lambda: (one.remove("one"), one.create("one"))), ("list", one.tree),
        ]  # fmt: skip
        for turn in range(each):
            kind, call = kinds[(number + 5 * turn) % len(kinds)]
            try:
                call()
            except Refused as error:
                with lock:
                    refusals[error.code] += 1
                if error.code not in ALLOWED:
                    raise
            with lock:
                tally[kind] += 1
        one.close()

    began = time.monotonic()
    failures = []

    def guarded(number):
        try:
            work(number)
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    tree = connection.tree()
    ids = {one["id"] for one in tree["snapshots"]}
    for sandbox in tree["sandboxes"]:
        if sandbox.get("snapshot") and sandbox["snapshot"] not in ids:
            raise Failure(f"{sandbox['name']} stands on {sandbox['snapshot']}, which is gone")
    damage = connection.call("POST", "/v1/verify", {"snapshots": []})["damage"]
    if damage:
        raise Failure(f"damaged: {damage}")
    connection.clear()
    connection.close()
    return sum(tally.values()), dict(refusals), time.monotonic() - began
