"""What is done to a store while its power is cut, and what is asked of it afterwards."""

import os
import random
import re
import socket
import subprocess
import threading
import time

from benchmark.api import Connection, RequestFailed


class Machine:
    """A server on a store."""

    def __init__(self, binary, root, durability):
        self.root = root
        os.makedirs(root, exist_ok=True)
        self.log = open(os.path.join(os.path.dirname(os.path.dirname(root)), "server.log"), "wb")
        command = [binary, "serve", "--root", root] + (["--durability", durability] if durability else [])
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=self.log)
        self.connection().close()

    def connection(self):
        deadline = time.monotonic() + 60
        while True:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connection.connect(os.path.join(self.root, "server.sock"))
                return Connection(connection)
            except OSError:
                connection.close()
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RequestFailed(f"the server does not listen: {self.said()}") from None
                time.sleep(0.01)

    def said(self):
        with open(self.log.name, errors="replace") as log:
            return log.read()[-2000:]

    def close(self):
        """Removes all sandboxes and ends the server."""
        if self.process.poll() is None:
            try:
                connection = self.connection()
                for box in connection.call("GET", "/v1/sandboxes")["sandboxes"]:
                    try:
                        connection.call("DELETE", f"/v1/sandboxes/{box['name']}?force=true")
                    except RequestFailed:
                        # Its processes have ended; on a filesystem that cannot be written to, its files stay.
                        pass
                connection.close()
            finally:
                self.process.terminate()
                self.process.wait(60)
        self.log.close()


class State:
    """What had been answered at one instant."""

    def __init__(self, saved, deleting, deleted):
        self.saved, self.deleting, self.deleted = dict(saved), set(deleting), set(deleted)


class Workload:
    """Threads that save, delete, tag, fork, restore and collect until `stop`."""

    def __init__(self, machine, seed, threads=3):
        self.machine = machine
        self.lock = threading.Lock()
        self.saved, self.deleting, self.deleted = {}, set(), set()
        self.ended, self.failure = threading.Event(), None
        self.threads = [threading.Thread(target=self._run, args=(number, seed)) for number in range(threads)]

    def start(self):
        for thread in self.threads:
            thread.start()
        deadline = time.monotonic() + 30
        while len(self.saved) < len(self.threads) and time.monotonic() < deadline:
            self.raise_if_failed()
            time.sleep(0.02)

    def stop(self):
        self.ended.set()
        for thread in self.threads:
            thread.join()
        self.raise_if_failed()

    def raise_if_failed(self):
        if self.failure:
            self.ended.set()
            raise self.failure

    def state(self):
        with self.lock:
            return State(self.saved, self.deleting, self.deleted)

    def _run(self, number, seed):
        try:
            _Worker(self, number, random.Random(seed * 1000 + number)).run()
        except Exception as error:  # noqa: BLE001: told by raise_if_failed
            self.failure = error
            self.ended.set()


class _Worker:
    def __init__(self, workload, number, chance):
        self.workload, self.chance = workload, chance
        self.connection = workload.machine.connection()
        self.name = f"box-{number}"
        self.mine = []
        self.counter = 0

    def call(self, method, path, body=None):
        return self.connection.call(method, path, body)

    def run(self):
        self.call("POST", "/v1/sandboxes", {"name": self.name, "spec": {"base": "host"}})
        self.change()
        self.save()
        actions = [self.change, self.save, self.save, self.save, self.delete, self.restore, self.fork, self.tag, self.gc]
        while not self.workload.ended.is_set():
            self.chance.choice(actions)()
        self.connection.close()

    def change(self):
        self.counter += 1
        self.token = f"{self.name}-{self.counter}-{self.chance.randrange(1 << 40):x}"
        text = (
            f"token={self.token}; echo $token > /root/token; mkdir -p /root/d; "
            f"seq {self.chance.randrange(20000)} > /root/d/f{self.chance.randrange(20)}"
        )
        self.call("POST", f"/v1/sandboxes/{self.name}/exec", {"argv": [text], "session": "s"})

    def save(self):
        self.change()
        snapshot = self.call("POST", f"/v1/sandboxes/{self.name}/save", {})["id"]
        with self.workload.lock:
            self.workload.saved[snapshot] = self.token
        self.mine.append((snapshot, self.token))

    def delete(self):
        if len(self.mine) < 4:
            return
        index = self.chance.randrange(len(self.mine) - 1)
        snapshot = self.mine[index][0]
        with self.workload.lock:
            self.workload.deleting.add(snapshot)
        try:
            self.call("DELETE", f"/v1/snapshots/{snapshot}?keepChildren=true")
        except RequestFailed:
            # Its own sandbox stands on it.
            with self.workload.lock:
                self.workload.deleting.discard(snapshot)
            return
        with self.workload.lock:
            self.workload.deleted.add(snapshot)
        del self.mine[index]

    def restore(self):
        snapshot, self.token = self.chance.choice(self.mine)
        self.call("POST", f"/v1/sandboxes/{self.name}/restore", {"snapshot": snapshot})

    def fork(self):
        snapshot, _ = self.chance.choice(self.mine)
        for box in self.call("POST", "/v1/fork", {"source": snapshot, "count": 1})["sandboxes"]:
            self.call("DELETE", f"/v1/sandboxes/{box['name']}?force=true")

    def tag(self):
        snapshot, token = self.chance.choice(self.mine)
        self.call("PUT", f"/v1/snapshots/{snapshot}/tags/t-{token}")

    def gc(self):
        self.call("POST", "/v1/gc", {})


def check(machine, before, after, durability):
    """Everything that must hold after a cut: raises, or returns counts."""
    connection = machine.connection()
    tree = connection.call("GET", "/v1/snapshots")
    present = {snapshot["id"] for snapshot in tree["snapshots"]}
    report = connection.call("POST", "/v1/verify", {})
    if report["damage"]:
        raise RequestFailed(f"damage: {report['damage']}; {machine.said()}")
    lost = {id for id in before.saved if id not in present and id not in after.deleting}
    if lost and durability in ("snapshot", "always"):
        raise RequestFailed(f"saved and not there: {sorted(lost)}; {machine.said()}")
    if durability == "always" and before.deleted & present:
        raise RequestFailed(f"deleted and there: {sorted(before.deleted & present)}; {machine.said()}")
    for box in tree["sandboxes"]:
        if box["state"] == "running":
            raise RequestFailed(f"sandbox {box['name']} cannot run")
    for snapshot in sorted(present):
        box = connection.call("POST", "/v1/fork", {"source": snapshot, "count": 1})["sandboxes"][0]["name"]
        asked = {"argv": ["echo $token; cat /root/token"], "session": "s"}
        answer = connection.call("POST", f"/v1/sandboxes/{box}/exec", asked)["stdout"].split()
        expected = after.saved.get(snapshot) or answer[0]
        if answer != [expected, expected]:
            raise RequestFailed(f"snapshot {snapshot} holds {answer} and was saved with {expected}")
        connection.call("DELETE", f"/v1/sandboxes/{box}?force=true")
    connection.call("POST", "/v1/gc", {})
    report = connection.call("POST", "/v1/verify", {})
    if report["damage"] or set(report["snapshots"]) != present:
        raise RequestFailed(f"after a collection: {report}")
    connection.close()
    dropped = re.search(r"(\d+) not durable when the machine went down and not whole", machine.said())
    return {"present": len(present), "dropped": int(dropped[1]) if dropped else 0, "lost": len(lost)}
