"""One keep-alive HTTP connection to a `ckpt serve` of our own."""

import json
import os
import signal
import socket
import subprocess
import time


class RequestFailed(Exception):
    """The server answered with an error."""


class Server:
    """A server on a store of its own, ended with `close`."""

    def __init__(self, binary, root, *options):
        environment = dict(os.environ, CKPT_ROOT=root)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen([binary, "serve", *options], env=environment, **quiet)
        self.path = os.path.join(root, "server.sock")

    def connect(self):
        """A connection, once the server listens; waits up to 30 seconds for that."""
        deadline = time.monotonic() + 30
        while True:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connection.connect(self.path)
                return Connection(connection)
            except OSError:
                connection.close()
                if self.process.poll() is not None:
                    raise RequestFailed(f"ckpt serve ended with {self.process.returncode}") from None
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


class Connection:
    """Sends one request at a time; small enough to add less than 0.1 ms to what it measures."""

    def __init__(self, connection):
        self.connection = connection
        self.buffer = b""

    def close(self):
        self.connection.close()

    def call(self, method, path, body=None):
        """The JSON of the answer; raises `RequestFailed` for an error."""
        payload = b"" if body is None else json.dumps(body).encode()
        self.connection.sendall(
            f"{method} {path} HTTP/1.1\r\nHost: ckpt\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(payload)}\r\n\r\n".encode() + payload
        )
        head, content = self._read_answer()
        answer = json.loads(content) if content else {}
        if int(head.split(b" ", 2)[1]) >= 400:
            raise RequestFailed(f"{method} {path}: {answer.get('error', answer)}")
        return answer

    def timed(self, method, path, body=None):
        """The answer and the milliseconds from sending to having read it."""
        began = time.perf_counter()
        answer = self.call(method, path, body)
        return answer, (time.perf_counter() - began) * 1000

    def _read_answer(self):
        while b"\r\n\r\n" not in self.buffer:
            self._receive()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        length = next(
            (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0
        )
        while len(self.buffer) < length:
            self._receive()
        content, self.buffer = self.buffer[:length], self.buffer[length:]
        return head, content

    def _receive(self):
        received = self.connection.recv(1 << 16)
        if not received:
            raise RequestFailed("the server closed the connection")
        self.buffer += received
