"""A server on a store of its own, one sandbox whose state is known to the last variable, and what must hold of both."""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time

MARK = "fault-plan"
# What a session says of itself: a variable, a counter in its memory, a file, and whether its child lives.
ASK = 'echo "$mark $n $(cat /root/file) $(kill -0 $child 2>/dev/null && echo lives)"'


# Sandboxes that a server keeps ready.
SPARES = 4


def is_waiting_worker(pid):
    """Whether it is a CRIU that waits for its one request: recvfrom(2) on descriptor 3 (criu swrk).

    One that was killed meanwhile is reaped when it is wanted.
    """
    comm, call = (lines(f"/proc/{pid}/comm") or [""])[0], (lines(f"/proc/{pid}/syscall") or [""])[0]
    state = (lines(f"/proc/{pid}/stat") or [""])[0].rpartition(")")[2].split()[:1]
    return comm == "criu" and (call.startswith("45 0x3 ") or state == ["Z"])


def is_ending(pid):
    """Whether a process was told to exit and has not been reaped (PF_EXITING of the kernel's include/linux/sched.h)."""
    fields = (lines(f"/proc/{pid}/stat") or [""])[0].rpartition(")")[2].split()
    return len(fields) > 6 and int(fields[6]) & 4 != 0


class Violation(Exception):
    """Something that must hold does not."""


def lines(path):
    try:
        with open(path, "rb") as file:
            return file.read().decode("utf-8", "replace").split("\n")
    except OSError:
        return []


def eventually(check, seconds=10.0):
    """The first true answer of `check`, or its last one."""
    deadline = time.monotonic() + seconds
    pause = 0.005
    while True:
        answer = check()
        if answer or time.monotonic() > deadline:
            return answer
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)


class World:
    """The server, its sandbox `box` and the snapshots `a` and `b`."""

    def __init__(self, binary):
        self.binary = binary
        self.root = os.path.realpath(tempfile.mkdtemp(prefix="ckpt-faults-"))
        self.environment = dict(os.environ, CKPT_ROOT=self.root, LC_ALL="C")
        # The states that snapshots hold, by id; and that of box.
        self.snapshots = {}
        self.state = None
        self.counter = 0
        # Snapshots below each other above `b`, kept for what needs a chain.
        self.links = []
        # Files of trials, outside the root.
        self.place = tempfile.mkdtemp(prefix="ckpt-fault-files-")
        self.baseline = None
        self.warm = None

    # Calls

    def call(self, *words, limit=60):
        done = subprocess.run(
            [self.binary, *words], env=self.environment, capture_output=True, stdin=subprocess.DEVNULL,
            timeout=limit, text=True, errors="replace")
        return done

    def succeed(self, *words):
        done = self.call(*words)
        if done.returncode != 0:
            raise Violation(f"ckpt {' '.join(words)}: {done.returncode}: {done.stderr.strip()}")
        return done.stdout.strip()

    def json(self, *words):
        return json.loads(self.succeed(*words, "--json"))

    def server(self):
        """The pid of the server that runs; 0 for none."""
        text = lines(f"{self.root}/server.pid")
        pid = int(text[0]) if text and text[0].isdigit() else 0
        return pid if pid and self.runs(pid) else 0

    @staticmethod
    def runs(pid):
        status = lines(f"/proc/{pid}/stat")
        return bool(status and status[0]) and status[0].rpartition(")")[2].split()[0] != "Z"

    # States

    def ask(self, name):
        return self.succeed("exec", "--session", "main", name, "--", ASK)

    def change(self, name="box"):
        """Gives a sandbox a state that nothing else has; the state."""
        self.counter += 1
        mark = f"m{self.counter}"
        text = f"mark={mark}; n=$(( ${{n:-0}} + 1 )); echo {mark} > /root/file; mkdir -p /root/d{self.counter % 5}"
        self.succeed("exec", "--session", "main", name, "--", text)
        return self.ask(name)

    def save(self, *words):
        state = self.state
        id = self.succeed("save", "box", *words).split("\n")[-1]
        self.snapshots[id] = state
        return id

    def begin(self):
        """Makes everything afresh."""
        self.succeed("create", "box", "--memory", "512m", "--pids-limit", "200")
        self.succeed("exec", "--session", "main", "box", "--", "sleep 1000000 & child=$!")
        self.state = self.change()
        self.a = self.save("-t", "a")
        self.state = self.change()
        self.b = self.save("-t", "b")
        self.state = self.change()
        self.settle()

    def chain(self):
        """Seven snapshots below each other, each with a layer of its own, the topmost last."""
        if not self.links:
            self.succeed("restore", "box", self.b)
            self.state = self.snapshots[self.b]
            for _ in range(5):
                self.state = self.change()
                self.links.append(self.save())
        return self.links

    def path(self, name):
        return f"{self.place}/{name}"

    def renew(self):
        """Brings box back to a state of its own above `b`, whatever became of it."""
        info = {each["name"]: each for each in self.json("ps")["sandboxes"]}
        for name in info:
            if name != "box":
                self.succeed("rm", "-f", name)
        if "box" not in info:
            raise Violation("box is gone")
        if info["box"]["state"] != "running" or self.ask("box") != self.state or info["box"].get("snapshot") != self.b:
            self.succeed("restore", "box", self.b)
            self.state = self.snapshots[self.b]
            self.state = self.change()
        # Children before their parents.
        for id in list(reversed(self.snapshots)):
            if id not in (self.a, self.b, *self.links):
                self.succeed("delete", id)
                del self.snapshots[id]
        self.check_layers()

    def settle(self):
        """Waits for what is done in the background and notes what the server holds then."""
        if self.warm != self.server():
            # It keeps sandboxes ready of what was last asked for.
            self.succeed("create", "first")
            self.succeed("rm", "-f", "first")
            self.warm = self.server()
        eventually(self.is_warm, 3)
        self.check_nothing_half_made()
        eventually(self.is_durable, 3)
        self.baseline = (self.server(), self.descriptors())

    def is_warm(self):
        """Whether its sandboxes that are kept ready are there, and it holds the process of each."""
        running = sum(info["state"] == "running" for info in self.json("ps")["sandboxes"])
        held = self.descriptors().get("anon_inode:[pidfd]", 0)
        return self.spares() >= SPARES and held >= running + self.spares()

    def wait_for_requests(self):
        """Waits until the server has done with what a client that is gone had asked for."""
        time.sleep(0.2)
        eventually(lambda: self.connections() == 0 and not os.listdir(f"{self.root}/staging"), 30)

    def wait_for_ends(self):
        """Waits until no sandbox is told to run whose PID 1 is just ending."""
        running = lambda: [info["pid"] for info in self.json("ps")["sandboxes"] if info["state"] == "running"]
        eventually(lambda: not any(is_ending(pid) for pid in running()), 10)

    def connections(self):
        """How many clients' connections the server holds, those of clients that are gone among them (proc_net_unix(5))."""
        ends = [line.split() for line in lines("/proc/net/unix") if line]
        return sum(end[-1] == f"{self.root}/server.sock" and end[5] == "03" for end in ends)

    def is_durable(self):
        snapshots = f"{self.root}/snapshots"
        return all(os.path.exists(f"{snapshots}/{id}/durable") for id in self.snapshots if os.path.isdir(f"{snapshots}/{id}"))

    # What the machine shows

    def descriptors(self):
        counts = {}
        pid = self.server()
        for number in os.listdir(f"/proc/{pid}/fd"):
            try:
                target = os.readlink(f"/proc/{pid}/fd/{number}")
            except OSError:
                continue
            kind = re.sub(r"\[\d+\]", "", target).replace(self.root, "ROOT")
            kind = re.sub(r"/[0-9a-f]{12}\b", "/ID", re.sub(r"-\d+", "-N", kind))
            counts[kind] = counts.get(kind, 0) + 1
        # One of the server's own, made at first use, which tells when the clock was set.
        clock = "anon_inode:[timerfd]"
        counts[clock] = max(0, counts.get(clock, 0) - 1)
        # One for each sandbox that is kept ready, and for each CRIU that waits, of which there are some at times.
        pidfd = "anon_inode:[pidfd]"
        counts[pidfd] = counts.get(pidfd, 0) - self.spares()
        counts["socket:"] = counts.get("socket:", 0) - self.waiting_workers()
        return counts

    def processes(self):
        """(pid, command, kind) of every process of this root but clients."""
        found = []
        for name in os.listdir("/proc"):
            if not name.isdigit() or int(name) == os.getpid():
                continue
            pid = int(name)
            comm = (lines(f"/proc/{pid}/comm") or [""])[0]
            if comm == "ckpt-init" and any(f"{self.root}/sandboxes/" in line for line in lines(f"/proc/{pid}/mountinfo")):
                if self.runs(pid):
                    found.append((pid, comm))
            elif comm in ("criu",) or comm.startswith("pas"):
                status = lines(f"/proc/{pid}/stat")
                text = " ".join(lines(f"/proc/{pid}/cmdline"))
                parent = int(status[0].rpartition(")")[2].split()[1]) if status and status[0] else 0
                if parent == self.server() and is_waiting_worker(pid):
                    continue
                if parent == self.server() or self.root in text or self.holds_root(pid):
                    found.append((pid, comm))
        return found

    def waiting_workers(self):
        """How many CRIUs the server has ready that nobody has asked for anything."""
        children = " ".join(
            (lines(f"/proc/{self.server()}/task/{task}/children") or [""])[0]
            for task in os.listdir(f"/proc/{self.server()}/task")
        )
        return sum(is_waiting_worker(pid) for pid in children.split())

    def holds_root(self, pid):
        try:
            names = os.listdir(f"/proc/{pid}/fd")
        except OSError:
            return False
        for name in names:
            try:
                if os.readlink(f"/proc/{pid}/fd/{name}").startswith(self.root):
                    return True
            except OSError:
                pass
        return False

    def spares(self):
        return sum(name.startswith(".spare-") for name in os.listdir(f"{self.root}/sandboxes"))

    def cgroups(self):
        mark = os.path.basename(self.root)
        found = []
        for directory, names, _ in os.walk("/sys/fs/cgroup"):
            if mark in os.path.dirname(directory):
                found.append(directory)
        return found

    # What must hold

    def check_nothing_half_made(self):
        staging = lambda: os.listdir(f"{self.root}/staging")
        eventually(lambda: not staging(), 10)
        if staging():
            raise Violation(f"staging keeps {staging()}")

    def check_processes(self, running):
        wanted = sorted([info["pid"] for info in running])

        def stray():
            inits = sorted(pid for pid, comm in self.processes() if comm == "ckpt-init")
            others = [each for each in self.processes() if each[1] != "ckpt-init"]
            extra = [pid for pid in inits if pid not in wanted]
            missing = [pid for pid in wanted if pid not in inits]
            spares = self.spares()
            if others or missing or len(extra) > spares or spares > SPARES:
                return f"others {others}, PID 1s that nobody names {extra} ({spares} spares), missing {missing}"
            return None

        if not eventually(lambda: stray() is None, 10):
            raise Violation(f"processes: {stray()}")

    def check_directories(self, infos):
        names = {info["name"] for info in infos}
        for name in os.listdir(f"{self.root}/sandboxes"):
            if name not in names and not name.startswith(".spare-"):
                raise Violation(f"sandboxes/{name} belongs to nobody")

        def spare_uppers():
            return [
                f"{name}/{each}" for name in names
                for each in sorted(os.listdir(f"{self.root}/sandboxes/{name}"))[:-1]
                if len([one for one in os.listdir(f"{self.root}/sandboxes/{name}") if one.startswith("upper-")
                        and not one.endswith(".links")]) > 1]

        if not eventually(lambda: not spare_uppers(), 10):
            raise Violation(f"old writable layers are left: {spare_uppers()}")

    def check_layers(self):
        listed = {layer for each in self.json("tree")["snapshots"] for layer in each["layers"]}
        for info in self.json("ps")["sandboxes"]:
            record = json.loads("\n".join(lines(f"{self.root}/sandboxes/{info['name']}/sandbox.json")))
            listed |= set(record["layers"])
        for name in os.listdir(f"{self.root}/merges"):
            parts = [line.split()[1:] for line in lines(f"{self.root}/merges/{name}") if line.startswith("parts ")]
            if parts and set(parts[0]) <= listed:
                listed.add(name)
        for directory in ("layers", "digests", "merges"):
            stray = set(os.listdir(f"{self.root}/{directory}")) - listed
            if stray:
                raise Violation(f"{directory} that nobody lists: {sorted(stray)}")

    def check_mounts(self):
        own = [line for line in lines("/proc/self/mountinfo") if self.root in line]
        of_server = [line for line in lines(f"/proc/{self.server()}/mountinfo") if "/runtime/root-" in line]
        if own or of_server:
            raise Violation(f"mounts are left: {own + of_server}")

    def check_cgroups(self, running):
        def strays():
            names = {info["name"] for info in running}
            return [path for path in self.cgroups() if os.path.basename(path).rpartition("-")[0] not in names]

        if not eventually(lambda: not strays(), 5):
            raise Violation(f"cgroups are left: {strays()}")

    def check_descriptors(self):
        """No more are open than were: only where the server is the one of the last settling."""
        server, before = self.baseline
        if server != self.server():
            return

        def grown():
            now = self.descriptors()
            return {kind: (before.get(kind, 0), now[kind]) for kind in now if now[kind] > before.get(kind, 0)}

        if not eventually(lambda: not grown(), 6):
            raise Violation(f"descriptors are left open (before, now): {grown()}")

    def check_snapshot(self, id):
        """It restores, to what it held."""
        name = f"look-{id[:6]}"
        self.succeed("fork", id, "--name", name)
        state = self.ask(name)
        self.succeed("rm", "-f", name)
        if state != self.snapshots[id]:
            raise Violation(f"snapshot {id} holds {state!r} instead of {self.snapshots[id]!r}")

    def check_verified(self):
        report = json.loads(self.call("verify", "--json").stdout)
        if report["damage"]:
            raise Violation(f"verify: {report['damage']}")

    def check_all(self):
        """Everything that holds whatever was done."""
        self.check_nothing_half_made()
        infos = self.json("ps")["sandboxes"]
        running = [info for info in infos if info["state"] == "running"]
        self.check_verified()
        self.check_processes(running)
        self.check_directories(infos)
        self.check_layers()
        self.check_mounts()
        self.check_cgroups(running)

    def end(self):
        """Takes everything away."""
        names = []
        try:
            names = [info["name"] for info in self.json("ps")["sandboxes"]]
            if names:
                self.call("rm", "-f", *names)
            self.call("serve", "--stop")
        except (Violation, subprocess.TimeoutExpired, ValueError):
            pass
        pid = self.server()
        if pid:
            os.kill(pid, signal.SIGKILL)
        for pid, _ in self.processes():
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: not self.processes(), 5)
        for path in self.cgroups():
            try:
                os.rmdir(path)
            except OSError:
                pass
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.rmtree(self.place, ignore_errors=True)
