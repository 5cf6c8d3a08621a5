"""Drives the `ckpt` command line and keeps what every save, restore and fork took."""

import json
import os
import subprocess
import time


class CkptFailed(Exception):
    """`ckpt` itself failed (not a command inside a sandbox)."""


class Ckpt:
    """One store, one binary; every method is one call of the command line."""

    def __init__(self, binary, root):
        self.binary = binary
        self.root = root
        self.operations = []

    def call(self, *arguments, stdin=b""):
        """The JSON a command printed. Exit codes of commands inside a sandbox are no failure here."""
        done = self._run(arguments, stdin)
        try:
            return json.loads(done.stdout)
        except ValueError:
            command = " ".join(["ckpt", *arguments[:3]])
            said = (done.stderr or done.stdout).decode(errors="replace").strip()
            raise CkptFailed(f"{command} … ended with {done.returncode}: {said}") from None

    def text(self, *arguments):
        """What a command prints for people."""
        done = self._run(arguments, b"")
        if done.returncode != 0:
            raise CkptFailed(f"ckpt {arguments[0]}: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout.decode()

    def create(self, name):
        return self._timed("create", name, "create", "--json", name)

    def save(self, name, tag, message):
        return self._timed("save", f"{name} as {tag}", "save", "--json", name, "-t", tag, "-m", message)

    def restore(self, name, snapshot):
        return self._timed("restore", f"{name} to {snapshot}", "restore", "--json", name, snapshot)

    def fork(self, snapshot, count, prefix):
        """The names of the new sandboxes."""
        answer = self._timed(
            "fork", f"{count} from {snapshot}", "fork", "--json", snapshot, "-n", str(count), "--name", prefix
        )
        return [sandbox["name"] for sandbox in answer["sandboxes"]]

    def remove(self, *names):
        self.text("rm", "-f", *names)

    def exec(self, name, *argv, stdin=b""):
        """A fresh process: its result, as the API tells it."""
        options = ["--json", "-i"] if stdin else ["--json"]
        return self._checked(self.call("exec", *options, name, "--", *argv, stdin=stdin))

    def shell(self, name, session, text):
        """Shell text in a session: what it wrote to stdout. Raises when it fails."""
        result = self._checked(self.call("exec", "--json", "--session", session, name, "--", text))
        if result["exitCode"] != 0:
            raise CkptFailed(
                f"session {session} of {name}: {text!r} ended with {result['exitCode']}: "
                f"{result.get('stderr') or result.get('stdout')}"
            )
        return result.get("stdout") or ""

    def stop_server(self):
        """Ends the store's server, where one runs."""
        self._run(("serve", "--stop"), b"")

    def _run(self, arguments, stdin):
        environment = dict(os.environ, CKPT_ROOT=self.root)
        command = [self.binary, *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, env=environment, check=False)

    def _timed(self, kind, what, *arguments):
        began = time.monotonic()
        answer = self.call(*arguments)
        ended = time.monotonic()
        if "error" in answer:
            raise CkptFailed(f"ckpt {kind}: {answer['error']}")
        self.operations.append((kind, what, answer.get("timings") or {}, (ended - began) * 1000))
        return answer

    @staticmethod
    def _checked(result):
        if "error" in result:
            raise CkptFailed(f"exec: {result['error']}")
        return result


def table(operations):
    """The operations with their milliseconds, one line each."""
    columns = ("totalMs", "frozenMs", "criuMs", "filesystemMs", "publishMs")
    head = f"{'operation':<34}{'total':>8}{'frozen':>8}{'criu':>8}{'files':>8}{'publish':>9}{'as seen':>9}"
    lines = [head, "-" * len(head)]
    for kind, what, timings, seen in operations:
        cells = [f"{timings[column]:.1f}" if timings.get(column) is not None else "·" for column in columns]
        lines.append(
            f"{kind + ' ' + what:<34}"
            + "".join(f"{cell:>{9 if column == 'publishMs' else 8}}" for column, cell in zip(columns, cells))
            + f"{seen:>9.1f}"
        )
    lines.append("milliseconds; total is what the server measured, as seen includes starting the command line")
    return "\n".join(lines)
