"""One client of the soak: random operations on sandboxes of its own, compared with the model after each."""

import random
import shlex
import time

from .api import Connection, Refused
from .model import COUNTER, Counter, Session, Snapshot, State

SESSIONS = ("main", "side")
# Each limit needs control groups of its own, which have to go with the sandbox.
SPECS = ({}, {}, {"limits": {"memory": "512m"}}, {"limits": {"pids": 200, "cpus": 1.5}}, {"env": {"v_given": "yes"}})


class Difference(Exception):
    """A sandbox holds something else than it must."""


class Box:
    """A sandbox of this client and what it must hold."""

    def __init__(self, name, state, spec, position=None):
        self.name, self.state, self.spec, self.position = name, state, spec, position


class Client:
    """Runs until told to stop. Sandboxes belong to one client, snapshots to everybody."""

    def __init__(self, number, path, forest, seed, log, limits):
        self.random = random.Random(f"{seed}-{number}")
        self.number, self.forest, self.log, self.limits = number, forest, log, limits
        self.connection = Connection(path)
        self.boxes = {}
        self.made = 0
        self.operations = {}

    def step(self):
        """One random operation; the seconds it took."""
        choices = [(self.create, 6 if len(self.boxes) < self.limits.boxes else 0)]
        if self.boxes:
            full = len(self.forest.living()) >= self.limits.snapshots
            choices += [
                (self.write_file, 10), (self.upload_file, 5), (self.remove_file, 4), (self.make_directory, 3),
                (self.set_variable, 10), (self.count_in_shell, 6), (self.change_directory, 4),
                (self.start_background, 3), (self.end_background, 2), (self.start_counter, 4), (self.tick, 12),
                (self.stop_counter, 2), (self.save, 1 if full else 14), (self.save_and_stop, 0 if full else 2),
                (self.restore, 12), (self.fork, 6 if len(self.boxes) < self.limits.boxes else 0),
                (self.reset, 2), (self.remove, 4 if len(self.boxes) > 1 else 1),
                (self.delete, 14 if full else 4), (self.tag, 3), (self.collect, 1), (self.pause, 2),
                (self.look, 3), (self.compare_some, 6),
            ]  # fmt: skip
        operation = self.random.choices([one for one, _ in choices], [weight for _, weight in choices])[0]
        began = time.monotonic()
        operation()
        self.operations[operation.__name__] = self.operations.get(operation.__name__, 0) + 1
        return time.monotonic() - began

    def note(self, *words):
        self.log.append(f"{time.strftime('%H:%M:%S')} client {self.number}: {' '.join(map(str, words))}")

    def some_box(self):
        return self.boxes[self.random.choice(sorted(self.boxes))]

    def ok(self, box, *argv):
        """Runs a command that must succeed: what it printed."""
        self.note(box.name, "runs", shlex.join(argv)[:200])
        result = self.connection.run(box.name, *argv)
        if result["exitCode"] != 0:
            raise Difference(f"{box.name}: {argv} ended with {result}")
        return result["stdout"]

    def say(self, box, name, text):
        self.note(box.name, f"session {name}:", text[:200])
        result = self.connection.say(box.name, name, text)
        if result["exitCode"] != 0:
            raise Difference(f"{box.name}: session {name}: {text}: ended with {result}")
        return result["stdout"]

    # Files.

    def new_path(self, box):
        directory = self.random.choice([""] + [f"{one}/" for one in sorted(box.state.directories)])
        return f"{directory}f{self.random.randrange(12)}"

    def write_file(self):
        box = self.some_box()
        path, text = self.new_path(box), f"{self.random.getrandbits(64):x}"
        old = box.state.files.get(path, b"")
        if self.random.random() < 0.5 and len(old) < 1 << 16:
            self.ok(box, "sh", "-c", f"printf {text} >> /soak/{path}")
            box.state.files[path] = old + text.encode()
        else:
            self.ok(box, "sh", "-c", f"printf {text} > /soak/{path}")
            box.state.files[path] = text.encode()

    def upload_file(self):
        box = self.some_box()
        path, content = self.new_path(box), self.random.randbytes(self.random.choice((0, 100, 5000, 60000)))
        self.note(box.name, "upload", path, len(content))
        how = self.random.choice(("", "&atomic=true"))
        self.connection.call("PUT", f"/v1/sandboxes/{box.name}/file?path=/soak/{path}{how}", raw=content)
        box.state.files[path] = content

    def remove_file(self):
        box = self.some_box()
        if box.state.files:
            path = self.random.choice(sorted(box.state.files))
            self.ok(box, "rm", f"/soak/{path}")
            del box.state.files[path]

    def make_directory(self):
        box = self.some_box()
        name = f"d{self.random.randrange(4)}"
        if name in box.state.directories and not self.is_used(box, name):
            self.ok(box, "rm", "-r", f"/soak/{name}")
            box.state.directories.remove(name)
            box.state.files = {path: text for path, text in box.state.files.items() if not path.startswith(f"{name}/")}
        elif name not in box.state.directories:
            self.ok(box, "mkdir", f"/soak/{name}")
            box.state.directories.add(name)

    @staticmethod
    def is_used(box, name):
        return any(session.directory == f"/soak/{name}" for session in box.state.sessions.values())

    # Sessions.

    def session(self, box):
        name = self.random.choice(SESSIONS)
        if name not in box.state.sessions:
            session = Session()
            session.variables.update(box.spec.get("env", {}))
            box.state.sessions[name] = session
        return name, box.state.sessions[name]

    def set_variable(self):
        box = self.some_box()
        name, session = self.session(box)
        variable, value = f"v_{self.random.choice('abcdef')}", f"{self.random.getrandbits(40):x}"
        self.say(box, name, f"{variable}={value}")
        session.variables[variable] = value

    def count_in_shell(self):
        box = self.some_box()
        name, session = self.session(box)
        number = int(session.variables.get("v_count", 0)) + 1
        answer = self.say(box, name, "v_count=$((v_count + 1)); echo $v_count")
        session.variables["v_count"] = str(number)
        self.expect(box, f"count in session {name}", answer, f"{number}\n")

    def change_directory(self):
        box = self.some_box()
        name, session = self.session(box)
        directory = self.random.choice(["/soak", "/root"] + [f"/soak/{one}" for one in sorted(box.state.directories)])
        self.say(box, name, f"cd {directory}")
        session.directory = directory

    def start_background(self):
        box = self.some_box()
        name, session = self.session(box)
        if session.jobs < 3:
            self.say(box, name, "sleep 1000000 &")
            session.jobs += 1

    def end_background(self):
        box = self.some_box()
        name, session = self.session(box)
        self.say(box, name, "kill $(jobs -r -p) 2>/dev/null; wait")
        session.jobs = 0

    # Processes with something in their memory.

    def start_counter(self):
        box = self.some_box()
        if len(box.state.counters) >= 2:
            return
        name, counter = f"c{self.random.randrange(1 << 30)}", Counter(self.random.randrange(4))
        self.note(box.name, "starts counter", name)
        request = {"id": name, "argv": ["python3", "-c", COUNTER, name, str(counter.seed)]}
        self.connection.call("POST", f"/v1/sandboxes/{box.name}/jobs", request)
        path, deadline = f"/v1/sandboxes/{box.name}/jobs/{name}?wait=20", time.monotonic() + 60
        while "ready" not in (self.connection.call("GET", path)["stdout"].get("text") or ""):
            if time.monotonic() > deadline:
                raise Difference(f"{box.name}: counter {name} does not begin")
        box.state.counters[name] = counter

    def ask(self, box, name, what):
        return self.ok(box, "sh", "-c", f"echo {what} >/soak/.{name}.ask; cat /soak/.{name}.answer")

    def tick(self):
        box = self.some_box()
        if not box.state.counters:
            return self.start_counter()
        name = self.random.choice(sorted(box.state.counters))
        counter = box.state.counters[name]
        answer = self.ask(box, name, "tick")
        counter.ticks += 1
        self.expect(box, f"counter {name}", answer, counter.answer() + "\n")

    def stop_counter(self):
        box = self.some_box()
        if box.state.counters:
            name = self.random.choice(sorted(box.state.counters))
            self.note(box.name, "stops counter", name)
            path = f"/v1/sandboxes/{box.name}/jobs/{name}"
            self.connection.call("POST", f"{path}/stop", {"signal": 15})
            self.connection.call("DELETE", path)
            self.ok(box, "sh", "-c", f"rm /soak/.{name}.*")
            del box.state.counters[name]

    # Comparing.

    def expect(self, box, what, found, wanted):
        if found != wanted:
            raise Difference(f"{box.name}: {what}: it holds\n{found}\nand must hold\n{wanted}")

    def compare(self, box):
        """Compares everything a sandbox holds with the model."""
        found = self.ok(box, "sh", "-c", State.QUESTION)
        self.expect(box, "files", found, box.state.files_text())
        for name, session in box.state.sessions.items():
            self.expect(box, f"session {name}", self.say(box, name, Session.QUESTION), session.text())
        jobs = self.connection.call("GET", f"/v1/sandboxes/{box.name}/jobs")["jobs"]
        self.expect(box, "jobs", {job["id"]: job["state"] for job in jobs},
                    dict.fromkeys(box.state.counters, "running"))  # fmt: skip
        for name, counter in box.state.counters.items():
            self.expect(box, f"counter {name}", self.ask(box, name, "tell"), counter.answer() + "\n")
        info = self.connection.call("GET", f"/v1/sandboxes/{box.name}")
        if info["state"] != "running" or info.get("snapshot") != box.position:
            raise Difference(f"{box.name} is {info['state']} on {info.get('snapshot')}, not on {box.position}")

    def compare_some(self):
        self.compare(self.some_box())

    def compare_all(self):
        for box in list(self.boxes.values()):
            self.compare(box)

    # Lives of sandboxes.

    def new_name(self):
        self.made += 1
        return f"c{self.number}-{self.made}"

    def create(self):
        name, spec = self.new_name(), self.random.choice(SPECS)
        self.note("creates", name, spec)
        self.connection.create(name, **spec)
        self.boxes[name] = Box(name, State(), spec)
        self.ok(self.boxes[name], "mkdir", "/soak")

    def remove(self):
        box = self.some_box()
        self.note("removes", box.name)
        self.connection.remove(box.name)
        del self.boxes[box.name]

    def reset(self):
        box = self.some_box()
        self.note("resets", box.name)
        self.connection.call("POST", f"/v1/sandboxes/{box.name}/reset")
        box.state, box.position = State(), None
        self.ok(box, "mkdir", "/soak")

    def pause(self):
        box = self.some_box()
        self.note("pauses", box.name)
        self.connection.call("POST", f"/v1/sandboxes/{box.name}/pause")
        if self.random.random() < 0.3:
            self.save_box(box)
        self.connection.call("POST", f"/v1/sandboxes/{box.name}/unpause")

    def look(self):
        """What only reads must change nothing."""
        box = self.some_box()
        for path in (f"sandboxes/{box.name}/stats", f"sandboxes/{box.name}/top", "sandboxes", "snapshots", "doctor"):
            if self.random.random() < 0.5:
                self.note("looks at", path)
                self.connection.call("GET", f"/v1/{path}")

    # The tree.

    def save(self):
        self.save_box(self.some_box())

    def save_box(self, box, **more):
        self.note("saves", box.name, more)
        info = self.connection.save(box.name, **more)
        if info.get("parent") != box.position and not self.was_moved(box.position, info.get("parent")):
            raise Difference(f"{info['id']} of {box.name} has parent {info.get('parent')}, not {box.position}")
        with self.forest.lock:
            self.forest.snapshots[info["id"]] = Snapshot(info["id"], box.position, box.state.copy(), box.spec)
        box.position = info["id"]
        self.note("has saved", box.name, "as", info["id"])

    def was_moved(self, position, parent):
        with self.forest.lock:
            snapshot = self.forest.snapshots.get(position)
            return snapshot is not None and snapshot.gone and self.forest.parent(snapshot) == parent

    def save_and_stop(self):
        box = self.some_box()
        self.save_box(box, stop=True)
        self.note("wakes", box.name)
        self.connection.restore(box.name)

    def some_snapshot(self):
        with self.forest.lock:
            living = sorted((one for one in self.forest.living() if not one.leaving), key=lambda one: one.id)
        return self.random.choice(living) if living else None

    def tolerates(self, snapshot, error):
        """Whether an error is no fault: somebody else has deleted the snapshot meanwhile."""
        self.note("is refused:", error)
        return error.code == "unknown_snapshot" and snapshot.leaving

    def restore(self):
        box, snapshot = self.some_box(), self.some_snapshot()
        if snapshot is None:
            return self.save_box(box)
        self.note("restores", box.name, "to", snapshot.id)
        try:
            self.connection.restore(box.name, snapshot.id)
        except Refused as error:
            if not self.tolerates(snapshot, error):
                raise
            return
        box.state, box.spec, box.position = snapshot.state.copy(), snapshot.spec, snapshot.id
        if self.random.random() < 0.4:
            self.compare(box)

    def fork(self):
        snapshot, count = self.some_snapshot(), self.random.choice((1, 1, 2, 3))
        if snapshot is None:
            return
        name = self.new_name()
        self.note("forks", snapshot.id, "into", count, name)
        try:
            answer = self.connection.fork(snapshot.id, name, count)
        except Refused as error:
            if not self.tolerates(snapshot, error):
                raise
            return
        for sandbox in answer["sandboxes"]:
            box = Box(sandbox["name"], snapshot.state.copy(), snapshot.spec, snapshot.id)
            self.boxes[box.name] = box
            if self.random.random() < 0.5:
                self.compare(box)

    def delete(self):
        snapshot = self.some_snapshot()
        if snapshot is None:
            return
        how = self.random.choice(("", "", "keepChildren", "keepChildren", "subtree"))
        with self.forest.lock:
            marked = [one for one in self.forest.living() if how == "subtree" and self.is_below(one, snapshot)]
            marked = [one for one in marked + [snapshot] if not one.leaving]
            for one in marked:
                one.leaving = True
        self.note("deletes", snapshot.id, how)
        try:
            gone = self.connection.delete(snapshot.id, how)["deleted"]
        except Refused as error:
            self.note("is refused:", error)
            gone = []
            if error.code not in ("in_use", "unknown_snapshot"):
                raise
        with self.forest.lock:
            for one in gone:
                self.forest.snapshots[one].gone = self.forest.snapshots[one].leaving = True
            for one in marked:
                one.leaving = one.gone

    def is_below(self, one, ancestor):
        while one is not None and one is not ancestor:
            one = self.forest.snapshots.get(one.parent)
        return one is ancestor

    def tag(self):
        snapshot = self.some_snapshot()
        if snapshot is None:
            return
        tag = f"t{self.number}-{self.random.randrange(5)}"
        self.note("tags", snapshot.id, tag)
        try:
            if self.random.random() < 0.3:
                self.connection.call("DELETE", f"/v1/tags/{tag}")
            else:
                self.connection.call("PUT", f"/v1/snapshots/{snapshot.id}/tags/{tag}")
        except Refused as error:
            self.note("is refused:", error)
            if error.code not in ("name_taken", "not_found", "unknown_snapshot"):
                raise

    def collect(self):
        self.note("gc")
        self.connection.call("POST", "/v1/gc")
