"""Clients that mean harm, or are broken; each keeps at it until told to stop."""

import json
import os
import socket
import struct
import threading
import time

from .api import Connection


def raw(path, patience=60):
    """A connected socket."""
    one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    one.settimeout(patience)
    one.connect(path)
    return one


def request(method, target, body=b"", *headers):
    lines = [f"{method} {target} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def frame(kind, payload):
    return struct.pack(">IB", len(payload), kind) + payload


class Stream:
    """An exec stream (see `attach` in docs/openapi.yaml)."""

    STDOUT, STDERR, EXIT, ERROR, STARTED, TAKEN = 1, 2, 3, 4, 5, 6

    def __init__(self, path, name, **what):
        self.socket = raw(path)
        self.socket.sendall(
            request("GET", f"/v1/sandboxes/{name}/attach", b"", "Connection: Upgrade", "Upgrade: ckpt-exec")
        )
        self.buffer = b""
        while b"\r\n\r\n" not in self.buffer:
            self.receive()
        self.buffer = self.buffer.partition(b"\r\n\r\n")[2]
        self.socket.sendall(frame(0, json.dumps(what).encode()))

    def receive(self):
        received = self.socket.recv(1 << 16)
        if not received:
            raise ConnectionError("the exec stream broke off")
        self.buffer += received

    def next(self):
        """The next frame: its type and payload."""
        while len(self.buffer) < 5:
            self.receive()
        length, kind = struct.unpack(">IB", self.buffer[:5])
        while len(self.buffer) < 5 + length:
            self.receive()
        payload, self.buffer = self.buffer[5 : 5 + length], self.buffer[5 + length :]
        return kind, payload

    def close(self):
        self.socket.close()


def reads_nothing(path, name, stop, _):
    """Starts endless output on exec streams, and asks for answers on connections, and reads none of it."""
    streams = [Stream(path, name, argv=["yes"]) for _ in range(8)]
    silent = [raw(path, 2) for _ in range(8)]
    for one in silent:
        try:
            while True:
                one.sendall(request("GET", "/v1/doctor") * 100)
        except OSError:
            pass
    stop.wait()
    for one in streams + silent:
        one.close()
    # The commands of a stream outlive it.
    Connection(path).call("POST", f"/v1/sandboxes/{name}/kill", {"signal": 9})


def sends_garbage(path, _, stop, __):
    """Bytes at random, oversized heads and lengths, frames that are none."""
    pieces = (
        lambda: os.urandom(4096),
        lambda: b"GET /" + b"a" * 300_000 + b" HTTP/1.1\r\n\r\n",
        lambda: b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
        lambda: request("POST", "/v1/sandboxes", b"{" * 100_000),
        lambda: b"POST /v1/sandboxes HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
        lambda: b"POST /v1/fork HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFF\r\n" + b"x" * 9000,
        lambda: request("GET", "/v1/sandboxes/none/attach", b"", "Connection: Upgrade", "Upgrade: ckpt-exec")
        + os.urandom(2000),
    )
    number = 0
    while not stop.is_set():
        one = raw(path, 5)
        try:
            one.sendall(pieces[number % len(pieces)]())
            one.shutdown(socket.SHUT_WR)
            while one.recv(1 << 16):
                pass
        except OSError:
            pass
        one.close()
        number += 1


def connects(path, _, stop, sizes):
    """Holds a thousand connections; each that the server closes is made again."""
    held = []
    while not stop.is_set():
        while len(held) < sizes["connections"] and not stop.is_set():
            try:
                held.append(raw(path))
            except OSError:
                time.sleep(0.01)
        time.sleep(0.2)
        alive = []
        for one in held:
            one.setblocking(False)
            try:
                gone = one.recv(1) == b""
            except BlockingIOError:
                gone = False
            except OSError:
                gone = True
            one.close() if gone else alive.append(one)
        held = alive
    for one in held:
        one.close()


def half_opens(path, _, stop, __):
    """Requests that end in the middle: of the head, of the body, of an upload, of a frame."""
    starts = (
        b"", b"GET /v1/ver", b"GET /v1/version HTTP/1.1\r\nHo",
        b"POST /v1/fork HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{",
        b"PUT /v1/sandboxes/victim/file?path=/root/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nabc",
        request("GET", "/v1/sandboxes/victim/attach", b"", "Connection: Upgrade", "Upgrade: ckpt-exec") + b"\0\0",
    )  # fmt: skip
    held = []
    number = 0
    while not stop.wait(0.005):
        try:
            one = raw(path)
            one.sendall(starts[number % len(starts)])
            held.append(one)
        except OSError:
            pass
        number += 1
        if len(held) > 300:
            held.pop(0).close()
    for one in held:
        one.close()


def drips(path, _, stop, __, count=200):
    """Sends a byte of a header at a time, on many connections, fast enough never to be silent for long."""
    text = b"GET /v1/version HTTP/1.1\r\n" + b"X-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n" * 50
    held = {}
    while not stop.is_set():
        while len(held) < count and not stop.is_set():
            held[raw(path)] = 0
        for one, at in list(held.items()):
            try:
                one.sendall(text[at : at + 1])
                held[one] = (at + 1) % len(text)
            except OSError:
                del held[one]
                one.close()
        stop.wait(0.3)
    for one in held:
        one.close()


def prints_a_gigabyte(path, name, stop, sizes):
    """A command's output that nobody can hold: followed to its end, and asked for in one piece."""
    size = sizes["bytes"]
    stream = Stream(path, name, argv=["head", "-c", str(size), "/dev/zero"])
    got = 0
    kind, payload = stream.next()
    while kind != Stream.EXIT:
        got += len(payload) - 8 if kind == Stream.STDOUT else 0
        kind, payload = stream.next()
    stream.close()
    if got != size:
        raise AssertionError(f"{got} bytes of {size} came")
    connection = Connection(path)
    # A zero byte takes six in JSON: more than so many of them come in base64.
    for field, more in (("stdoutBase64", {}), ("stdout", {"maxOutput": 1 << 20})):
        result = connection.run(name, "head", "-c", str(size), "/dev/zero", **more)
        if not result["truncated"] or field not in result:
            raise AssertionError(f"a gigabyte in one piece: {str(result)[:200]}")
    connection.close()
    stop.wait()


def feeds_a_gigabyte(path, name, stop, sizes):
    """A gigabyte of stdin on a stream, within the window, and an oversized body."""
    size = sizes["bytes"]
    stream = Stream(path, name, argv=["sh", "-c", "wc -c"], interactive=True)
    sent = taken = 0
    text = b""
    piece = bytes(1 << 16)
    while True:
        while sent < size and sent - taken <= (256 << 10) - len(piece):
            stream.socket.sendall(frame(1, struct.pack(">Q", sent) + piece))
            sent += len(piece)
            if sent == size:
                stream.socket.sendall(frame(2, b""))
        kind, payload = stream.next()
        if kind == Stream.TAKEN:
            taken = struct.unpack(">Q", payload)[0]
        elif kind == Stream.STDOUT:
            text += payload[8:]
        elif kind in (Stream.EXIT, Stream.ERROR):
            break
    stream.close()
    if text.strip() != str(size).encode():
        raise AssertionError(f"{size} bytes of stdin came as {text} ({payload})")
    one = raw(path)
    try:
        one.sendall(b"POST /v1/sandboxes HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(size >> 16):
            one.sendall(b"10000\r\n" + piece + b"\r\n")
        raise AssertionError("a body of a gigabyte was taken")
    except OSError:
        pass
    one.close()
    stop.wait()


ATTACKS = (
    reads_nothing, sends_garbage, connects, half_opens, drips, prints_a_gigabyte, feeds_a_gigabyte,
)  # fmt: skip


class Attack:
    """One of them at work on a thread of its own; `end` raises what went wrong in it."""

    def __init__(self, function, *arguments):
        self.stop = threading.Event()
        self.failure = None
        self.thread = threading.Thread(target=self.run, args=(function, *arguments), daemon=True)
        self.thread.start()

    def run(self, function, path, name, sizes):
        try:
            function(path, name, self.stop, sizes)
        except Exception as error:  # noqa: BLE001
            self.failure = error

    def end(self):
        self.stop.set()
        self.thread.join(600)
        if self.thread.is_alive():
            raise AssertionError("an attack does not end: the server answers nothing")
        if self.failure:
            raise self.failure
