"""What connections of both doors have in common."""

from __future__ import annotations

import array
import os
import socket
from pathlib import Path


class UnixSocket:
    """A connected Unix socket."""

    __slots__ = ("_socket",)

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected

    def is_idle(self) -> bool:
        """Whether nobody hung up and nothing unasked came."""
        try:
            self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def fileno(self) -> int:
        """Its descriptor."""
        return self._socket.fileno()

    def send_now(self, data: bytes) -> None:
        """Sends what the kernel takes at once; nothing where the other side is gone."""
        try:
            self._socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except OSError:
            pass

    def _receive_descriptors(self, descriptors: list[int]) -> bytes:
        # Not `socket.recv_fds`: it forgets the flags (Python 3.10 and 3.11).
        size = array.array("i").itemsize
        data, extra, _, _ = self._socket.recvmsg(4096, socket.CMSG_SPACE(16 * size), socket.MSG_CMSG_CLOEXEC)
        for level, kind, content in extra:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                descriptors += array.array("i", content[: len(content) // size * size])
        return data

    def shutdown(self) -> None:
        """Ends it for whoever waits in `receive`, without closing the descriptor under them."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def close(self) -> None:
        """Closes it. In a forked child this leaves the parent's connection as it is."""
        self._socket.close()


def connected(path: str, *, blocking: bool) -> socket.socket:
    """A socket connected to the one at `path`, which may be longer than a socket's address.

    One that does not block raises `BlockingIOError` where the server's queue is full (unix(7)).
    """
    directory = os.open(Path(path).parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            made.setblocking(blocking)
            made.connect(f"/proc/self/fd/{directory}/{Path(path).name}")
        except BaseException:
            made.close()
            raise
    finally:
        os.close(directory)
    return made
