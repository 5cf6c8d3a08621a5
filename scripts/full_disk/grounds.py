"""Filesystems for a store, each with its own way to run out."""

import errno
import os
import subprocess
import time

from power_loss.disk import detach
from power_loss.mounts import mount, unmount


def run(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


class Ground:
    """`point` is mounted from the beginning; `exhaust` takes the room away and `relieve` gives it back."""

    # What a refusal has to speak of.
    cause = "No space left on device"
    # Whether a sandbox can still write where its files lie.
    stays_writable = True
    # Whether a rename, which every removal begins with, needs no room.
    can_remove = True

    def __init__(self, directory):
        self.directory = directory
        self.point = os.path.join(directory, "mnt")
        os.mkdir(self.point)
        self.make()

    def free(self):
        """Bytes that are left, and inodes."""
        status = os.statvfs(self.point)
        return status.f_bavail * status.f_frsize, status.f_favail

    def exhaust(self):
        self.fill(leave=0)

    def fill(self, leave):
        """Writes a file until only `leave` bytes are left."""
        path = os.path.join(self.point, "filler")
        with open(path, "ab", buffering=0) as filler:
            for size in (1 << 20, 4096, 512):
                chunk = b"x" * size
                try:
                    while self.room() > leave:
                        filler.write(chunk)
                except OSError:
                    pass
        os.sync()

    def room(self):
        return self.free()[0]

    def relieve(self):
        os.unlink(os.path.join(self.point, "filler"))

    def close(self):
        unmount(self.point)
        os.rmdir(self.point)


class LoopGround(Ground):
    """A filesystem on an image file."""

    kind, megabytes, options, maker = "ext4", 256, "", ["mkfs.ext4", "-q", "-F", "-m", "0"]

    def make(self):
        self.image = os.path.join(self.directory, "image")
        with open(self.image, "wb") as image:
            image.truncate(self.megabytes << 20)
        run(*self.maker, self.image)
        self.attach()

    def attach(self):
        found = subprocess.run(
            ["losetup", "--find", "--show", self.image], check=True, capture_output=True, text=True)
        self.device = found.stdout.strip()
        mount(self.point, self.kind, self.options, self.device)

    def detach(self):
        unmount(self.point)
        detach(self.device)

    def close(self):
        self.detach()
        os.unlink(self.image)
        os.rmdir(self.point)


class Disk(LoopGround):
    """A full ext4."""


class Tmpfs(Ground):
    """A full tmpfs."""

    def make(self):
        mount(self.point, "tmpfs", "size=256m")


class Inodes(LoopGround):
    """An ext4 with bytes and without inodes."""

    maker = [*LoopGround.maker, "-N", "4096"]

    def exhaust(self):
        many = os.path.join(self.point, "many")
        os.mkdir(many)
        try:
            for number in range(1 << 20):
                os.mknod(f"{many}/{number}")
        except OSError:
            pass

    def relieve(self):
        run("rm", "-r", os.path.join(self.point, "many"))


class Quota(LoopGround):
    """A quota of btrfs: the filesystem has room that the store may not have."""

    kind, megabytes, maker = "btrfs", 512, ["mkfs.btrfs", "-q", "-f"]
    cause = "Disk quota exceeded"
    can_remove = False

    def attach(self):
        super().attach()
        run("btrfs", "quota", "enable", self.point)

    def exhaust(self):
        # The quota is of the whole tree, with what is in it so far and a little more.
        os.sync()
        run("btrfs", "quota", "rescan", "-w", self.point)
        shown = subprocess.run(
            ["btrfs", "qgroup", "show", "--raw", self.point], check=True, capture_output=True, text=True).stdout
        used = int(next(line for line in shown.splitlines() if line.startswith("0/5")).split()[1])
        run("btrfs", "qgroup", "limit", str(used + (1 << 20)), "0/5", self.point)
        with open(os.path.join(self.point, "filler"), "ab", buffering=0) as filler:
            try:
                while True:
                    filler.write(b"x" * 4096)
            except OSError:
                pass

    def relieve(self):
        # To note the new limit takes room in the quota itself, which what is written back or removed just now may hold.
        for left in reversed(range(50)):
            try:
                run("btrfs", "qgroup", "limit", "none", "0/5", self.point)
                break
            except subprocess.CalledProcessError:
                if not left:
                    raise
                os.sync()
                time.sleep(0.1)
        super().relieve()


class ReadOnly(LoopGround):
    """An ext4 that met an error, which makes it read-only until it is repaired."""

    options = "errors=remount-ro"
    cause = "Read-only file system"
    stays_writable = False

    def exhaust(self):
        with open(f"/sys/fs/ext4/{os.path.basename(self.device)}/trigger_fs_error", "w") as trigger:
            trigger.write("a test of what a read-only store does")
        # Since Linux 6.14 the mount goes on showing rw.
        deadline = time.monotonic() + 10
        while True:
            try:
                os.mknod(os.path.join(self.point, "filler"))
                os.unlink(os.path.join(self.point, "filler"))
            except OSError as error:
                assert error.errno == errno.EROFS, error
                return
            assert time.monotonic() < deadline, "it stays writable"

    def relieve(self):
        """Only for a point that nobody uses."""
        self.detach()
        subprocess.run(["e2fsck", "-fy", self.image], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.attach()


GROUNDS = {"disk": Disk, "tmpfs": Tmpfs, "inodes": Inodes, "quota": Quota, "readonly": ReadOnly}
