"""Sandboxes that hold much of one thing."""

import contextlib
import os
import subprocess
import time

from .common import check, equal, median, round_trip, say, shell, timed


def files(server, divisor):
    count = 10_000 // divisor
    connection = server.connect()
    connection.create("files")
    shell(
        connection, "files",
        f"mkdir /root/many; cd /root/many; for n in $(seq {count}); do echo $n > $n; done; "
        "rm 7; mkdir sub; mv 8 sub",
    )

    def read(name):
        return shell(connection, name, "cd /root/many; ls | wc -l; find . -type f | sort | xargs cat | md5sum")

    yield from round_trip(connection, "files", read, lambda name: shell(connection, name, "echo x > /root/many/9"))
    again = [timed(lambda: connection.save("files"))[1] for _ in range(5)]
    yield f"{count} files: save of an unchanged layer {median(again)} ms"


def large(server, divisor):
    size = 2 << 30 if divisor == 1 else 64 << 20
    connection = server.connect()
    connection.create("large")
    shell(connection, "large", f"truncate -s {size} /root/sparse; echo end >> /root/sparse")

    def read(name):
        return shell(connection, name, "cd /root; stat -c '%n %s' *; [ $(stat -c %b sparse) -lt 99 ]; echo $?; md5sum sparse")

    def change(name):
        shell(connection, name, "echo more >> /root/sparse")

    for line in round_trip(connection, "large", read, change):
        yield f"a hole of {size >> 20} MiB: {line}"
    shell(
        connection, "large",
        f"head -c {size} /dev/urandom > /root/real", timeout=600,
    )
    digest = shell(connection, "large", "md5sum < /root/real")

    def read_all(name):
        return read(name) + shell(connection, name, "md5sum < /root/real")

    for line in round_trip(connection, "large", read_all, change):
        yield f"{size >> 20} MiB of data: {line}"
    equal(shell(connection, "large", "md5sum < /root/real"), digest, "the large file")


def processes(server, divisor):
    count = 1000 // divisor
    connection = server.connect()
    connection.create("crowd")
    say(connection, "crowd", f"for n in $(seq {count}); do sleep 10000 & done; kept=$!; jobs -p | wc -l")

    def read(name):
        return say(connection, name, "jobs -r | wc -l; ps -e -o pid,args | grep '[s]leep 10000' | md5sum; echo $kept")

    def change(name):
        say(connection, name, "kill $kept; wait $kept 2>/dev/null; :")

    for line in round_trip(connection, "crowd", read, change):
        yield f"{count} processes: {line}"


DESCRIPTORS = """
import os, resource, socket, stat, sys
count = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (count + 64, count + 64))
held = []
while len(held) < count - 8:
    kind = len(held) % 8
    if kind < 4:
        f = os.open("/root/held-%d" % (len(held) % 50), os.O_RDWR | os.O_CREAT)
        os.lseek(f, len(held), 0); held.append(f)
    elif kind < 6: held += os.pipe()
    else:
        a, b = socket.socketpair(); a.send(b"%d" % len(held)); held += [a.detach(), b.detach()]
print("ready", flush=True)
for line in sys.stdin:
    if line.strip() == "change": os.lseek(held[0], 77, 0); print("changed", flush=True); continue
    places = []
    for f in held:
        try: places.append(os.lseek(f, 0, 1))
        except OSError: places.append(os.readlink("/proc/self/fd/%d" % f).split(":")[0])
    peeks = []
    for f in held:
        if not stat.S_ISSOCK(os.fstat(f).st_mode): continue
        s = socket.socket(fileno=os.dup(f))
        try: peeks.append(s.recv(20, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except BlockingIOError: peeks.append(None)
        s.close()
    print(len(os.listdir("/proc/self/fd")) - 1, hash(tuple(places)), hash(tuple(peeks)), flush=True)
"""


def descriptors(server, divisor):
    count = 4096 // divisor
    connection = server.connect()
    connection.create("holder")
    connection.call("PUT", "/v1/sandboxes/holder/file?path=/root/hold.py", raw=DESCRIPTORS.encode())
    answer = say(
        connection, "holder",
        f"coproc PY {{ PYTHONHASHSEED=0 exec python3 -u /root/hold.py {count} 2>/root/err; }}; "
        'read -r -u "${PY[0]}" got; echo "$got"',
    )
    equal(answer, "ready", "the holder of descriptors")

    def ask(name, text):
        return say(connection, name, f'echo {text} >&"${{PY[1]}}"; read -r -t 60 -u "${{PY[0]}}" got; echo "$got"')

    check(abs(int(ask("holder", "look").split()[0]) - count) < 16, "too few descriptors")
    with many_pipes():
        for line in round_trip(connection, "holder", lambda name: ask(name, "look"), lambda name: ask(name, "change")):
            yield f"{count} descriptors: {line}"


@contextlib.contextmanager
def many_pipes():
    """Root without CAP_SYS_RESOURCE may not have this many pipes three times over (pipe(7), pipe-user-pages-soft)."""
    soft = "/proc/sys/fs/pipe-user-pages-soft"
    with open(soft) as limit:
        before = limit.read()
    with open(soft, "w") as limit:
        limit.write("0")
    try:
        yield
    finally:
        with open(soft, "w") as limit:
            limit.write(before)


def names(server, divisor):
    connection = server.connect()
    name, host, tag = "n" * 63, "h" * 63, "t" * 128
    text = "wörter " * 500
    connection.create(name, hostname=host)
    shell(
        connection, name,
        'cd /root; x=$(printf "d%.0s" $(seq 255)); for n in $(seq 15); do mkdir $x; cd $x; done; '
        'echo deep > "$(printf "f%.0s" $(seq 200))"; '
        "for n in $(seq 10); do mkdir $x; cd -P $x; done; echo deeper > file",
    )
    walk = "import os; print(sum(len(f) for d, s, f, _ in os.fwalk('/root')), sum(1 for _ in os.fwalk('/root')))"

    def read(one):
        return shell(connection, one, f'hostname; python3 -c "{walk}"; cat /root/mark 2>/dev/null; :')

    def change(one):
        shell(connection, one, "echo x > /root/mark")

    yield from round_trip(connection, name, read, change)
    snapshot = connection.save(name, tag=tag, message=text)
    found = connection.call("GET", f"/v1/snapshots/{tag}")
    equal((found["id"], found["message"], found["tags"]), (snapshot["id"], text, [tag]), "tag and message")
    equal(connection.call("POST", "/v1/verify", {})["damage"], [], "verify")
    binary = server.process.args[0]
    deep = os.path.join(server.root, *(["r" * 100] * 3))
    environment = dict(os.environ, CKPT_ROOT=deep)
    got = subprocess.run([binary, "ps"], env=environment, capture_output=True, text=True, timeout=60)
    try:
        yield f"a root of {len(deep)} bytes: exit {got.returncode}, {got.stderr.strip()[:300] or 'works'}"
    finally:
        if got.returncode == 0:
            subprocess.run([binary, "serve", "--stop"], env=environment, capture_output=True, timeout=60)


def pids(server, divisor):
    connection = server.connect()
    info = connection.create("wrap")
    largest = int(shell(connection, "wrap", "cat /proc/sys/kernel/pid_max"))
    # Millions of processes would do as well. The kernel takes the namespace of the writer (pid_namespaces(7)).
    last = f"echo {largest - 3} > /proc/sys/kernel/ns_last_pid"
    subprocess.run(["nsenter", "-t", str(info["pid"]), "-p", "sh", "-c", last], check=True, timeout=60)
    say(connection, "wrap", "for n in 1 2 3 4 5 6 7 8; do sleep 10000 & all=\"$all $!\"; done")

    def look(name):
        return say(connection, name, "kill -0 $all && echo $all $(jobs -r | wc -l) $$")

    numbers = list(map(int, look("wrap").split()[:8]))
    check(max(numbers) > largest - 4 and min(numbers) < 1000, f"the numbers did not wrap: {numbers}")
    for line in round_trip(connection, "wrap", look, lambda name: say(connection, name, "sleep 30000 &")):
        yield f"process numbers {numbers[0]} … {numbers[-1]}: {line}"


def clocks(server, divisor):
    pause = 30 // divisor
    connection = server.connect()
    connection.create("clock")
    # By a process that lives through it all, and by one that is new.
    python = "python3 -c 'import time; print(time.monotonic(), time.clock_gettime(7))'"
    say(connection, "clock", f"read_clocks() {{ read -r up rest < /proc/uptime; echo $up; {python}; }}")

    def read(name):
        return [float(one) for one in say(connection, name, "read_clocks").split()]

    began = time.monotonic()
    before = read("clock")
    snapshot = connection.save("clock")["id"]
    lived = time.monotonic() - began
    time.sleep(pause)
    resumed = time.monotonic()
    connection.restore("clock", snapshot)
    connection.fork(snapshot, "clock-fork")
    for name in "clock", "clock-fork":
        now = read(name)
        # However slow the machine is, the time in between must not count.
        most = lived + time.monotonic() - resumed
        for which, was, is_now in zip(("uptime", "CLOCK_MONOTONIC", "CLOCK_BOOTTIME"), before, now):
            said = f"{which} of {name}: {was} → {is_now}, at most {most} later"
            check(-0.02 <= is_now - was <= most + 0.02, said)
    yield f"{pause} s between a save and a restore do not count: {before[1]:.2f} → {now[1]:.2f} s"
