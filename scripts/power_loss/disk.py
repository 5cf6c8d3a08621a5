"""A disk with a volatile cache: a file served over FUSE, to be used through a loop device.

What the filesystem on it writes is in the cache until it asks for a flush. A power cut leaves what was flushed, and of
each later write by chance all, none or some of its 4 KiB blocks. This is what dm-log-writes is for, which wants
CONFIG_BLK_DEV_DM in the kernel; here /dev/fuse and the loop driver, which passes flushes on as fsync, are enough.
"""

import ctypes
import errno
import os
import random
import select
import socket
import struct
import subprocess
import tempfile
import time

from power_loss.mounts import mount

LOOKUP, FORGET, GETATTR, SETATTR, OPEN, READ, WRITE, STATFS, RELEASE = 1, 2, 3, 4, 14, 15, 16, 17, 18
FSYNC, FLUSH, INIT, INTERRUPT, DESTROY, BATCH_FORGET, FALLOCATE = 20, 25, 26, 36, 38, 42, 43
LARGEST_WRITE = 1 << 20
BLOCK = 4096


class CachedDisk:
    """The disk, in a process of its own; `device` is its loop device until `close`."""

    def __init__(self, size, directory):
        """`directory` should be a tmpfs: the images lie there."""
        self.directory = directory
        self.place = tempfile.mkdtemp(dir=directory)
        self.current, self.flushed = os.path.join(directory, "current"), os.path.join(directory, "flushed")
        for path in (self.current, self.flushed):
            with open(path, "wb") as image:
                image.truncate(size)
        self.device = self.process = None

    def start(self):
        """Serves the current image, which counts as flushed, and makes the loop device."""
        copy_sparse(self.current, self.flushed)
        number = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={number},rootmode=40000,user_id=0,group_id=0"
        mount(self.place, "fuse", options)
        self.control, control = socket.socketpair()
        self.process = os.fork()
        if self.process == 0:
            self.control.close()
            status = 1
            try:
                Disk(number, self.current, self.flushed).serve(control)
                status = 0
            finally:
                os._exit(status)
        os.close(number)
        control.close()
        found = subprocess.run(["losetup", "--find", "--show", f"{self.place}/disk"], capture_output=True, text=True)
        if found.returncode:
            raise OSError(f"losetup: {found.stderr}")
        self.device = found.stdout.strip()

    def cut(self, path, seed):
        """Writes to `path` what a power cut at this instant leaves; returns the writes that were not flushed."""
        self.control.sendall(f"{seed} {path}\n".encode())
        answer = self.control.recv(64)
        if not answer:
            raise OSError("the disk has gone")
        return int(answer)

    def close(self):
        if self.device:
            detach(self.device)
            self.device = None
        if self.process:
            subprocess.run(["umount", self.place], check=True)
            self.control.close()
            os.waitpid(self.process, 0)
            self.process = None

    def remove(self):
        os.rmdir(self.place)


class Disk:
    """The FUSE side: one file `disk` (fuse(4), linux/fuse.h)."""

    def __init__(self, device, current, flushed):
        self.device = device
        self.current, self.flushed = os.open(current, os.O_RDWR), os.open(flushed, os.O_RDWR)
        self.flushed_path = flushed
        self.size = os.fstat(self.current).st_size
        self.pending = []

    def serve(self, control):
        poll = select.poll()
        poll.register(self.device, select.POLLIN)
        poll.register(control, select.POLLIN)
        while True:
            for descriptor, events in poll.poll():
                if descriptor == control.fileno():
                    line = control.recv(4096)
                    if line:
                        seed, path = line.decode().strip().split(" ", 1)
                        control.sendall(str(self.cut(path, int(seed))).encode())
                    else:
                        poll.unregister(control)
                elif events & select.POLLIN:
                    if not self.answer():
                        return
                else:
                    return

    def answer(self):
        """Answers one request; False once the filesystem is unmounted."""
        try:
            request = os.read(self.device, LARGEST_WRITE + BLOCK)
        except OSError as error:
            if error.errno in (errno.EINTR, errno.ENOENT, errno.EAGAIN):
                return True
            return False
        _, code, unique, node = struct.unpack_from("=IIQQ", request)
        body = request[40:]
        if code in (FORGET, BATCH_FORGET, INTERRUPT):
            return True
        result = self.act(code, node, body)
        error, payload = (result, b"") if isinstance(result, int) else (0, result)
        os.write(self.device, struct.pack("=IiQ", 16 + len(payload), -error, unique) + payload)
        return code != DESTROY

    def act(self, code, node, body):
        """The payload of the answer, or an errno."""
        if code == INIT:
            flags = 1 | 1 << 5 | 1 << 22  # FUSE_ASYNC_READ, FUSE_BIG_WRITES, FUSE_MAX_PAGES
            pages = LARGEST_WRITE // BLOCK
            return struct.pack("=IIIIHHIIHH32x", 7, 31, 1 << 17, flags, 16, 12, LARGEST_WRITE, 1, pages, 0)
        if code == LOOKUP:
            return struct.pack("=QQQQII", 2, 0, 3600, 3600, 0, 0) + self.attributes(2) if body == b"disk\0" else errno.ENOENT
        if code in (GETATTR, SETATTR):
            return struct.pack("=QII", 3600, 0, 0) + self.attributes(node)
        if code == OPEN:
            return struct.pack("=QII", 1, 2, 0)
        if code == READ:
            _, offset, size = struct.unpack_from("=QQI", body)
            return os.pread(self.current, size, offset)
        if code == WRITE:
            _, offset, size = struct.unpack_from("=QQI", body)
            data = body[40 : 40 + size]
            os.pwrite(self.current, data, offset)
            self.pending.append((offset, data))
            return struct.pack("=II", size, 0)
        if code == FSYNC:
            for offset, data in self.pending:
                os.pwrite(self.flushed, data, offset)
            self.pending = []
            return b""
        if code == STATFS:
            return struct.pack("=QQQQQIIII24x", 1 << 20, 1 << 19, 1 << 19, 10, 10, BLOCK, 255, BLOCK, 0)
        if code in (RELEASE, FLUSH, DESTROY):
            return b""
        return errno.EOPNOTSUPP if code == FALLOCATE else errno.ENOSYS

    def attributes(self, node):
        mode, size = (0o40755, 0) if node == 1 else (0o100600, self.size)
        return struct.pack("=6Q10I", node, size, size // 512, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, BLOCK, 0)

    def cut(self, path, seed):
        copy_sparse(self.flushed_path, path)
        chance = random.Random(seed)
        kept = chance.choice([0.0, 0.3, 0.7, 1.0])
        with open(path, "r+b") as image:
            for offset, data in self.pending:
                for start in range(0, len(data), BLOCK):
                    if chance.random() < kept:
                        image.seek(offset + start)
                        image.write(data[start : start + BLOCK])
        return len(self.pending)


def detach(device):
    """Gives a loop device back, once the last mount namespace has let go of the filesystem on it."""
    subprocess.run(["losetup", "--detach", device], check=True)
    deadline = time.monotonic() + 30
    while os.path.exists(f"/sys/block/{os.path.basename(device)}/loop/backing_file"):
        if time.monotonic() > deadline:
            raise OSError(f"{device} stays in use")
        time.sleep(0.01)


def copy_sparse(source, target):
    """Copies a file without its holes."""
    with open(source, "rb") as reading, open(target, "wb") as writing:
        end = os.fstat(reading.fileno()).st_size
        writing.truncate(end)
        position = 0
        while position < end:
            try:
                start = os.lseek(reading.fileno(), position, os.SEEK_DATA)
            except OSError:
                return
            position = os.lseek(reading.fileno(), start, os.SEEK_HOLE)
            os.lseek(writing.fileno(), start, os.SEEK_SET)
            os.lseek(reading.fileno(), start, os.SEEK_SET)
            while start < position:
                start += os.sendfile(writing.fileno(), reading.fileno(), start, min(position - start, 1 << 30))
