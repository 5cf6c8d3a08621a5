"""Holds state of many kinds and tells it when it is asked: a process that is nobody's child but PID 1's.

It looks for /root/ask, does what stands there, and writes the answer to /root/answer.
"""
import hashlib
import os
import signal
import time

blob = bytearray(os.urandom(1 << 20) * 16)
count = 0
alarms = 0
log = open("/root/log", "w+")
gone = open("/root/gone", "w+")
gone.write("nobody sees this\n")
gone.flush()
os.unlink("/root/gone")


def alarm(*_):
    global alarms
    alarms += 1


signal.signal(signal.SIGALRM, alarm)
signal.setitimer(signal.ITIMER_REAL, 3600, 3600)


def state():
    gone.seek(0)
    left = signal.getitimer(signal.ITIMER_REAL)[0]
    return (f"{os.getpid()} {os.getsid(0)} {os.getpgid(0)} {os.getppid()} {count} {log.tell()} {os.getcwd()} "
            f"{gone.read().strip()!r} {hashlib.sha256(blob).hexdigest()} {0 < left <= 3600} "
            f"{os.sched_getaffinity(0)} {sorted(os.listdir('/proc/self/fd'))[:-1]}")


def change():
    global count
    count += 1
    blob[count * 4096 % len(blob)] ^= 255
    blob.extend(b"more" * 100000)
    log.write(f"line {count}\n")
    log.flush()
    gone.write("changed\n")
    gone.flush()
    os.makedirs(f"/root/d{count}")
    os.chdir(f"/root/d{count}")
    signal.setitimer(signal.ITIMER_REAL, 0)


while True:
    time.sleep(0.002)
    try:
        with open("/root/ask") as file:
            asked = file.read().strip()
        os.unlink("/root/ask")
    except OSError:
        continue
    answer = state() if asked == "state" else change() or "changed"
    with open("/root/answer.new", "w") as file:
        file.write(answer + "\n")
    os.rename("/root/answer.new", "/root/answer")
