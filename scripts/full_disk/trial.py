"""What is asked of a server whose store has no room, and what has to hold."""

import os
import time

from benchmark.api import RequestFailed
from power_loss.workload import Machine


class Trial:
    """One server on one ground."""

    # What directories grew by, and journals of the filesystem.
    TOLERANCE = 512 << 10

    def __init__(self, binary, ground):
        self.binary, self.ground = binary, ground
        self.root = os.path.join(ground.point, "store")
        self.refused, self.done, self.kept = {}, [], 0
        self.connection = None

    def run(self):
        self.start()
        try:
            self.prepare()
            os.sync()
            free = self.ground.free()[0]
            self.ground.exhaust()
            self.ask()
            self.check_refusals()
            self.check_running("without room")
            if self.ground.stays_writable:
                self.ground.relieve()
                self.measure(free)
                self.check_running("with room again")
                self.check_whole()
                if self.ground.can_remove:
                    self.ground.exhaust()
                    self.make_room()
                    self.ground.relieve()
            else:
                self.end()
                self.ground.relieve()
                self.start()
            self.check_whole()
            self.do_again()
        except (RequestFailed, OSError, AssertionError) as error:
            if isinstance(error, ConnectionError) or "closed the connection" in str(error):
                self.machine.process.wait(60)
                error = f"the server ended with {self.machine.process.returncode}"
            raise RequestFailed(f"{error}; {self.machine.said()}") from None
        finally:
            self.end()
        return {"refused": self.refused, "done": self.done, "keptBytes": self.kept}

    def start(self):
        self.machine = Machine(self.binary, self.root, None)
        self.connection = self.machine.connection()

    def end(self):
        """Ends the server and its sandboxes; one that crashed is followed by another, which ends what it left."""
        if self.machine.process.poll() is not None:
            self.ground.relieve()
            self.machine.close()
            self.start()
        self.connection.close()
        self.machine.close()

    def call(self, method, path, body=None):
        return self.connection.call(method, path, body)

    def say(self, box, text):
        answer = self.call("POST", f"/v1/sandboxes/{box}/exec", {"argv": [text], "session": "s"})
        return answer["stdout"].strip()

    def save(self, box):
        return self.call("POST", f"/v1/sandboxes/{box}/save", {})["id"]

    def prepare(self):
        for box in ("one", "two", "three"):
            self.call("POST", "/v1/sandboxes", {"name": box, "spec": {"base": "host"}})
            self.say(box, f"me={box}; echo file-{box} > /root/file; mkdir -p /root/d")
        self.shells = {box: self.say(box, "echo $$") for box in ("one", "two", "three")}
        self.first, self.second, self.third = self.save("one"), self.save("two"), self.save("three")
        # What the next save has to write: memory, and files.
        self.say("one", "big=$(head -c 6000000 /dev/zero | tr '\\0' a); seq 200000 > /root/numbers")
        self.call("POST", "/v1/gc", {})

    REQUESTS = {
        "save": ("POST", "/v1/sandboxes/one/save", {}),
        "create": ("POST", "/v1/sandboxes", {"name": "four", "spec": {"base": "host"}}),
        "fork": ("POST", "/v1/fork", {"source": "{first}", "count": 2}),
        "restore": ("POST", "/v1/sandboxes/two/restore", {"snapshot": "{second}"}),
        "tag": ("PUT", "/v1/snapshots/{first}/tags/kept", None),
        "reset": ("POST", "/v1/sandboxes/three/reset", {}),
    }

    def request(self, what):
        method, path, body = self.REQUESTS[what]
        if body and "{" in str(list(body.values())):
            body = {key: value.format(**vars(self)) if isinstance(value, str) else value for key, value in body.items()}
        return self.call(method, path.format(**vars(self)), body)

    def ask(self):
        """Everything that needs room; what is done all the same is done."""
        for what in self.REQUESTS:
            try:
                self.request(what)
                self.done.append(what)
            except RequestFailed as error:
                self.refused[what] = error.args[0]

    def check_refusals(self):
        assert "save" in self.refused, "a save had room"
        for what, error in self.refused.items():
            assert self.ground.cause in error, f"{what} does not name the cause: {error}"
            assert "'hint'" in error, f"{what} names no remedy: {error}"

    def check_running(self, when, without=()):
        for box in ("one", "two", "three"):
            if box in without:
                continue
            expected = ["x"] if box == "three" and "reset" in self.done else ["x", box, f"file-{box}"]
            text = "echo x $me; cat /root/file 2>/dev/null"
            answer = self.call("POST", f"/v1/sandboxes/{box}/exec", {"argv": [text], "session": "s"})
            found = answer["stdout"].split()
            if self.ground.cause in answer["stderr"]:
                # A session's text goes into a file of the sandbox, which has no room either; its shell is there.
                pid = self.shells[box]
                asked = {"argv": ["sh", "-c", f"kill -0 {pid} && cat /proc/{pid}/comm /root/file"]}
                answer = self.call("POST", f"/v1/sandboxes/{box}/exec", asked)
                found, expected = answer["stdout"].split(), ["bash", f"file-{box}"]
            assert found == expected, f"{when}, {box} says {found}: {answer['stderr']}"

    def measure(self, free):
        """What refused requests wrote has to be there again; a filesystem may take its time."""
        deadline = time.monotonic() + 10
        while True:
            os.sync()
            self.kept = max(free - self.ground.free()[0], 0)
            if self.kept <= self.TOLERANCE:
                return
            assert time.monotonic() < deadline, f"{self.kept} bytes of what was refused are still there"
            time.sleep(0.1)

    def make_room(self):
        """Without any room a new server starts, and everything that makes room is done."""
        self.connection.close()
        self.machine.process.terminate()
        self.machine.process.wait(60)
        self.start()
        self.check_running("with another server")
        self.call("DELETE", "/v1/sandboxes/three?force=true")
        self.call("DELETE", f"/v1/snapshots/{self.third}")
        self.call("POST", "/v1/gc", {})
        self.check_running("after a deletion", without=["three"])

    def check_whole(self):
        report = self.call("POST", "/v1/verify", {})
        assert not report["damage"], report["damage"]
        # A deletion empties what it renamed away behind its caller's back.
        deadline = time.monotonic() + 30
        while staged := os.listdir(f"{self.root}/staging"):
            assert time.monotonic() < deadline, f"staged: {staged}"
            time.sleep(0.05)

    def do_again(self):
        """With room, what was refused is done, and every snapshot restores."""
        for box, snapshot in (("one", self.first), ("two", self.second)):
            fork = self.call("POST", "/v1/fork", {"source": snapshot, "count": 1})["sandboxes"][0]["name"]
            found = self.say(fork, "echo x $me; cat /root/file").split()
            assert found == ["x", box, f"file-{box}"], f"snapshot {snapshot} of {box} says {found}"
            self.call("DELETE", f"/v1/sandboxes/{fork}?force=true")
        if not self.ground.stays_writable:
            self.call("POST", "/v1/sandboxes/one/restore", {"snapshot": self.first})
        for what in ("save", "create", "fork", "restore", "tag"):
            if what not in self.done:
                self.request(what)
        self.check_whole()
