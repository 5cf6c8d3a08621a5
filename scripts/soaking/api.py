"""A server on a store of its own, and connections to it: the Python standard library alone."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time


PIPES = "/proc/sys/fs/pipe-user-pages-soft"


@contextlib.contextmanager
def pipes_without_bound():
    """Lifts the bound on root's pipes where that is allowed: without CAP_SYS_RESOURCE a restore fails at it, and a
    neighbour of this run may have used it up."""
    before = None
    try:
        with open(PIPES) as file:
            before = file.read()
        with open(PIPES, "w") as file:
            file.write("0")
    except OSError:
        before = None
    try:
        yield
    finally:
        if before is not None:
            with open(PIPES, "w") as file:
                file.write(before)


def crashes_told():
    """What has a server that crashes tell where, in its environment; nothing without Swift's own tool for that."""
    swift = os.path.realpath(shutil.which("swift") or "/")
    tool = os.path.join(os.path.dirname(swift), "../libexec/swift/linux/swift-backtrace-static")
    if not os.path.exists(tool):
        return {}
    return {"SWIFT_BACKTRACE": f"enable=yes,interactive=no,color=no,threads=crashed,swift-backtrace={tool}"}


class Refused(Exception):
    """The server answered with an error; `code` is the one of its envelope."""

    def __init__(self, request, error):
        self.code = error.get("code", "none")
        super().__init__(f"{request}: {self.code}: {error.get('message')} ({error.get('cause')})")


class Server:
    """`ckpt serve` on `root`; `close` ends it."""

    def __init__(self, binary, root):
        self.binary, self.root = binary, root
        self.path = os.path.join(root, "server.sock")
        environment = dict(os.environ, CKPT_ROOT=root, **crashes_told())
        self.process = subprocess.Popen(
            [binary, "serve", "--log-to", "file"], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        self.connect().close()

    @property
    def pid(self):
        return self.process.pid

    def connect(self):
        """A connection, once the server listens; waits up to 60 seconds for that."""
        deadline = time.monotonic() + 60
        while True:
            try:
                return Connection(self.path)
            except OSError:
                if self.process.poll() is not None:
                    raise RuntimeError(f"ckpt serve ended with {self.process.returncode}") from None
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def log_tail(self, lines=40):
        """The end of the server's log."""
        try:
            with open(os.path.join(self.root, "server.log"), errors="replace") as log:
                return "".join(log.readlines()[-lines:])
        except OSError as error:
            return str(error)

    def close(self):
        """Asks it to end, and insists after a minute; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def take_down(server, keep=False):
    """Removes everything, ends the server, and removes its store unless it is to be kept; what went wrong, or None.

    A server that has died is replaced for that, for its sandboxes live on.
    """
    problem = None
    if server.process.poll() is not None:
        problem = f"the server died ({server.process.returncode})"
        server = Server(server.binary, server.root)
    if not keep:
        try:
            connection = server.connect()
            connection.clear()
            connection.close()
        except Exception as error:  # noqa: BLE001 - told
            problem = problem or f"cannot clear away: {error}"
    if server.close() != 0:
        problem = problem or "the server did not end in order"
    if not keep:
        shutil.rmtree(server.root, ignore_errors=True)
    return problem


class Connection:
    """One keep-alive connection: one request at a time."""

    def __init__(self, path, patience=180):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # An answer that does not come is a deadlock, which has to be seen and not waited for.
        self.socket.settimeout(patience)
        try:
            self.socket.connect(path)
        except OSError:
            self.socket.close()
            raise
        self.buffer = b""

    def close(self):
        self.socket.close()

    def call(self, method, path, body=None, raw=None):
        """The JSON of the answer; raises `Refused` for an error. `raw` is a body that is no JSON."""
        payload = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: ckpt\r\nContent-Length: {len(payload)}\r\n\r\n"
        self.socket.sendall(head.encode() + payload)
        status, content = self.read_answer()
        answer = json.loads(content) if content else {}
        if status >= 400:
            raise Refused(f"{method} {path}", answer.get("error", {}))
        return answer

    def read_answer(self):
        """Status and body of an answer that has a Content-Length."""
        while b"\r\n\r\n" not in self.buffer:
            self.buffer += self._receive()
        head, _, rest = self.buffer.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        length = next((int(line.split(b":")[1]) for line in lines if line.lower().startswith(b"content-length")), 0)
        pieces, missing = [rest], length - len(rest)
        while missing > 0:
            pieces.append(self._receive())
            missing -= len(pieces[-1])
        content = b"".join(pieces)
        self.buffer = content[length:]
        return int(lines[0].split(b" ")[1]), content[:length]

    def _receive(self):
        received = self.socket.recv(1 << 18)
        if not received:
            raise ConnectionError("the server closed the connection")
        return received

    # The calls by their names.

    def run(self, name, *argv, **more):
        """Runs a command to its end: the exec result."""
        return self.call("POST", f"/v1/sandboxes/{name}/exec", {"argv": list(argv), **more})

    def say(self, name, session, text):
        """Runs a text in a session: the exec result."""
        return self.call("POST", f"/v1/sandboxes/{name}/exec", {"session": session, "command": text})

    def create(self, name, **spec):
        return self.call("POST", "/v1/sandboxes", {"name": name, "spec": {"base": "host", **spec}})

    def remove(self, name):
        return self.call("DELETE", f"/v1/sandboxes/{name}?force=true")

    def save(self, name, **more):
        return self.call("POST", f"/v1/sandboxes/{name}/save", more)

    def restore(self, name, snapshot=None, **options):
        options |= {"snapshot": snapshot} if snapshot else {}
        return self.call("POST", f"/v1/sandboxes/{name}/restore", options)

    def fork(self, source, prefix, count=1):
        return self.call("POST", "/v1/fork", {"source": source, "count": count, "prefix": prefix})

    def delete(self, snapshot, how=""):
        return self.call("DELETE", f"/v1/snapshots/{snapshot}" + (f"?{how}=true" if how else ""))

    def tree(self):
        return self.call("GET", "/v1/snapshots")

    def clear(self):
        """Removes every sandbox and every snapshot, and what nothing needs any more."""
        for sandbox in self.call("GET", "/v1/sandboxes")["sandboxes"]:
            self.remove(sandbox["name"])
        for snapshot in self.tree()["snapshots"]:
            if snapshot.get("parent") is None:
                self.delete(snapshot["id"], "subtree")
        self.call("POST", "/v1/gc")
