"""One operation under one fault, and everything that is looked at afterwards."""

import json
import os
import re
import subprocess
import tempfile

from fault_plan.world import Violation


def steps_of(report):
    """What the injector wrote: the steps, whether the fault came, the client's code, whether it got stuck."""
    steps, at, code, stuck = [], None, None, False
    with open(report, encoding="utf-8", errors="replace") as file:
        for line in file:
            words = line.split()
            if words[0] == "end":
                code, stuck = int(words[1]), "stuck" in words
            elif words[0] == "killed":
                at = steps[-1] if steps else "?"
            else:
                steps.append(" ".join(words[1:]))
                if "failed" in words:
                    at = steps[-1]
    return steps, at, code, stuck


class Trial:
    """Runs an operation with a fault at a step; without one it only counts."""

    def __init__(self, plan, operation, fault=None, step=0, variant=0):
        self.plan = plan
        self.world = plan.world
        self.operation = operation
        self.fault = fault
        self.step = step
        self.variant = variant
        self.at = None
        self.answer = ""
        self.outcome = ""

    @property
    def title(self):
        return f"{self.operation.name}, {self.fault} at step {self.step} variant {self.variant} ({self.at})"

    def command(self, report):
        words = [
            self.plan.injector, "--server", str(self.world.server()), "--root", self.world.root, "--report", report,
            "--linger", str(self.operation.linger), "--limit", os.environ.get("FAULT_PLAN_LIMIT", "40000")]
        if self.plan.options.criu:
            words.append("--criu")
        if self.plan.options.reading:
            words.append("--reading")
        if self.operation.is_behind:
            words.append("--after")
        if self.fault == "error":
            words += ["--fail", str(self.step), "--variant", str(self.variant)]
        elif self.fault:
            # The server last: what it would do about the death of the others it must not do.
            targets = ["client", "criu", "init", "server"] if self.fault == "all" else [self.fault]
            words += ["--kill-at", str(self.step)]
            for target in targets:
                words += ["--kill", target]
        return words + ["--", self.plan.binary, *self.operation.words(self.world)]

    def run(self):
        """The number of steps. Throws `Violation`."""
        world = self.world
        if not world.server() or self.fault == "error" or not self.fault:
            world.json("ps")
        self.operation.prepare(world)
        world.settle()
        with tempfile.TemporaryDirectory(prefix="ckpt-fault-") as directory:
            report = f"{directory}/steps"
            done = subprocess.run(
                self.command(report), env=world.environment, capture_output=True, stdin=subprocess.DEVNULL,
                text=True, errors="replace", timeout=90)
            steps, self.at, code, stuck = steps_of(report)
        self.answer = (done.stdout.strip() + " " + done.stderr.strip()).strip()
        if stuck:
            raise Violation("it never ends")
        if done.returncode != 0:
            raise Violation(f"the injector: {done.returncode} {done.stderr}")
        self.judge(code)
        if not self.fault and not (code == 0):
            raise Violation(f"without a fault: {self.answer}")
        world.renew()
        world.check_descriptors()
        return len(steps)

    def judge(self, code):
        world, operation = self.world, self.operation
        killed = self.fault not in (None, "error") and self.at
        # After a kill of the client or the server nobody knows; a server that died of an error has crashed.
        was = world.baseline[0]
        if not killed and world.server() != was:
            raise Violation(f"the server ended: {self.answer}")
        unknown = killed and self.fault in ("server", "client", "all")
        worked = True if code == 0 else None if unknown or self.is_line_cut() else False
        if code != 0 and not killed:
            self.check_cause(code)
        if killed and self.fault == "client":
            world.wait_for_requests()
        if killed and self.fault in ("init", "all"):
            world.wait_for_ends()
        infos = {info["name"]: info for info in world.json("ps")["sandboxes"]}
        operation.check(world, worked, killed)
        self.check_box(infos, worked, killed)
        for id in world.snapshots:
            if id not in world.links:
                world.check_snapshot(id)
        world.check_all()
        if killed and self.fault in ("server", "all"):
            self.check_report(infos)
        if not self.at:
            self.outcome = "not reached"

    def is_line_cut(self):
        """Whether the answer itself was lost on its way."""
        return self.at is not None and "socket:" in self.at and ("send" in self.at or "recv" in self.at or "write" in self.at)

    def check_report(self, infos):
        """The server that took over says what became of each sandbox."""
        found = json.loads(self.world.call("doctor", "--quick", "--json").stdout)
        checks = {each["name"]: each["detail"] for each in found["checks"]}
        report = checks.get("recovery", "")
        running = sum(info["state"] == "running" for info in infos.values())
        # What the next server made, asked again by the client, ran on from nobody.
        late = sum(name in getattr(self.operation, "made", ()) for name in infos)
        counts = "|".join({str(running), str(running - late)})
        if running and not re.search(f"\\b({counts}) sandbox(es)? runs? on", report):
            raise Violation(f"{running} sandboxes run on, and the server says {report!r}")
        for name, info in infos.items():
            if info["state"] == "dead" and f"sandbox {name} is dead" not in report:
                raise Violation(f"{name} is dead, and the server says {report!r}")

    def check_cause(self, code):
        if code != 125 or not self.answer.startswith("ckpt: "):
            raise Violation(f"exit code {code} with {self.answer!r}")

    def check_box(self, infos, worked, killed):
        world = self.world
        box = infos.get("box")
        if box is None:
            raise Violation("box is gone")
        self.outcome = "unaffected" if worked else "refused"
        if killed and self.fault in ("server", "all"):
            self.outcome = "recovered"
        if box["state"] == "dead":
            if not killed or self.fault not in ("init", "criu", "all") and not self.operation.ends_box:
                raise Violation(f"box is dead: {box.get('reason')}")
            done = world.call("exec", "box", "--", "true")
            # One that was reset has none.
            last = box.get("snapshot") or ("dead" if "fresh" in self.operation.states(world, worked) else None)
            if last is None or last not in done.stderr:
                raise Violation(f"box is dead and its last snapshot is not named: {done.stderr}")
            self.outcome = "dead"
            return
        state = "stopped" if box["state"] == "stopped" else self.state_of_box()
        allowed = self.operation.states(world, worked)
        if state not in allowed:
            raise Violation(f"box holds {state!r} instead of {allowed} (worked: {worked})")
        world.state = state

    def state_of_box(self):
        if "fresh" in self.operation.states(self.world, True):
            if self.world.call("exec", "box", "--", "cat", "/root/file").returncode != 0:
                return "fresh"
        return self.world.ask("box")
