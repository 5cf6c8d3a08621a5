# Has what only a process itself can set and tell, and answers at /root/answer when /root/ask names a question.
import ctypes
import faulthandler
import os
import resource
import signal
import time

math = ctypes.CDLL(None)
one, three = ctypes.c_double(1), ctypes.c_double(3)
log = open("/root/log", "a+")


def third():
    a, b = one.value, three.value
    return (a / b).hex()


def change(number):
    # FE_UPWARD, FE_DOWNWARD of <fenv.h>: the control word and MXCSR.
    math.fesetround(0x800 if number % 2 else 0x400)
    signal.setitimer(signal.ITIMER_REAL, 10000 + number, 7)
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, (lambda *_: None) if number % 2 else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGUSR2, 40 + number})
    # An alternate stack comes with it.
    faulthandler.enable() if number % 2 else faulthandler.disable()
    os.umask(0o20 + number)
    os.chdir(f"/usr/lib" if number % 2 else "/root")
    resource.setrlimit(resource.RLIMIT_NOFILE, (200 + number, 4096))
    ctypes.CDLL(None).prctl(1, 10 + number)  # PR_SET_PDEATHSIG
    log.write("x" * (100 * number))
    log.flush()
    log.seek(number * 3)
    os.nice(1)
    global grown
    grown = [bytes([number]) * 5000 for _ in range(200 * number)]


grown = []


def state():
    pdeath = ctypes.c_int()
    math.prctl(2, ctypes.byref(pdeath))
    remaining, interval = signal.getitimer(signal.ITIMER_REAL)
    with open("/proc/self/status") as file:
        masks = [line.strip() for line in file if line.startswith(("SigB", "SigI", "SigC", "Cap", "Seccomp", "Umask"))]
    return repr((
        third(), math.fegetround(), round(remaining, -2), interval, masks, os.getcwd(), log.tell(),
        resource.getrlimit(resource.RLIMIT_NOFILE), pdeath.value, os.getpriority(os.PRIO_PROCESS, 0), len(grown),
        sum(map(len, grown)), grown[-1][:2] if grown else b"", faulthandler.is_enabled(),
    ))


while True:
    time.sleep(0.01)
    try:
        with open("/root/ask") as file:
            question = file.read().strip()
    except OSError:
        continue
    if not question:
        continue
    os.unlink("/root/ask")
    if question != "state":
        change(int(question))
    with open("/root/answer.new", "w") as file:
        file.write(state())
    os.rename("/root/answer.new", "/root/answer")
