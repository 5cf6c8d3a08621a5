"""Mounts in a mount namespace of one's own."""

import ctypes
import os
import subprocess
import sys
import time


def enter_own_mounts():
    """Nobody who makes a mount namespace meanwhile is to hold ours."""
    libc = ctypes.CDLL(None, use_errno=True)
    new_namespace, recursive, private = 0x20000, 0x4000, 0x40000
    if libc.unshare(new_namespace) or libc.mount(b"none", b"/", None, recursive | private, None):
        sys.exit(f"no mounts of its own: {os.strerror(ctypes.get_errno())}; run it as root")


def mount(target, kind, options, source="ckpt-disk"):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(source.encode(), target.encode(), kind.encode(), 0, options.encode()) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mount {target}: {os.strerror(number)}")


def unmount(point):
    """Waits until the last process of a sandbox has let go of it."""
    for _ in range(100):
        if subprocess.run(["umount", point], capture_output=True).returncode == 0:
            return
        time.sleep(0.1)
    subprocess.run(["umount", "--lazy", point], check=False)
    raise OSError(f"{point} stays busy")
