"""Holds one of each thing that `ckpt inspect` tells about, with values that a test knows."""

import ctypes
import mmap
import os
import select
import signal
import socket
import sys
import threading
import time

libc = ctypes.CDLL(None, use_errno=True)


class Timer(ctypes.Structure):
    _fields_ = [("interval", ctypes.c_long * 2), ("left", ctypes.c_long * 2)]


reader, writer = os.pipe()
os.write(writer, b"hello")
one, two = socket.socketpair()
two.send(b"waiting")
listener = socket.socket()
listener.bind(("127.0.0.1", 8111))
listener.listen(5)
client = socket.create_connection(("127.0.0.1", 8111))
server, _ = listener.accept()
client.send(b"x" * 100)
named = socket.socket(socket.AF_UNIX)
named.bind("/tmp/named.sock")
named.listen(3)
abstract = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
abstract.bind("\0abstract")
datagrams = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
datagrams.bind(("::1", 9000))
link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
link.bind((0, 1))
poll = select.epoll()
poll.register(reader, select.EPOLLIN)
log = open("/tmp/log", "w+")
log.write("some text")
log.flush()
gone = open("/tmp/gone", "w+")
gone.write("deleted")
gone.flush()
os.unlink("/tmp/gone")
memory = os.memfd_create("scratch")
os.write(memory, b"memfd")
shared = mmap.mmap(-1, 8192)
shared[0:6] = b"shared"
event = libc.eventfd(7, 0)
timer = libc.timerfd_create(1, 0)
libc.timerfd_settime(timer, 0, ctypes.byref(Timer((5, 0), (1000, 0))), None)
watch = libc.inotify_init1(0)
libc.inotify_add_watch(watch, b"/tmp", 2)
mask = (ctypes.c_ulong * 16)(1 << 11)
signals = libc.signalfd(-1, ctypes.byref(mask), 0)
signal.setitimer(signal.ITIMER_REAL, 5000, 10)
signal.signal(signal.SIGUSR1, lambda *_: None)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
os.kill(os.getpid(), signal.SIGUSR2)
master, slave = os.openpty()
os.environ["INSIDE"] = "not what execve gave"
os.nice(3)
needle = ("needle" + "-in-" + "haystack").encode()
for _ in range(3):
    threading.Thread(target=time.sleep, args=(100000,), daemon=True).start()
names = "reader writer one two listener client server named abstract datagrams link poll log gone memory event timer "
names += "watch signals master slave"
if os.fork() == 0:
    os.setsid()
    time.sleep(100000)
with open("/tmp/holder.new", "w") as file:
    for name in names.split():
        value = globals()[name]
        file.write(f"{name} {value if isinstance(value, int) else value.fileno()}\n")
    # The bytes of a bytes object lie behind its header (PyBytesObject.ob_sval).
    file.write(f"pid {os.getpid()}\naddress {id(needle) + 32}\n")
os.rename("/tmp/holder.new", "/tmp/holder")
time.sleep(100000)
