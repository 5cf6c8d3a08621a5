"""A store worth damaging, and what is asked of a server that starts on it afterwards."""

import filecmp
import os

from benchmark.api import RequestFailed
from power_loss.workload import Machine


def build(binary, root):
    """Makes the store; what each snapshot holds, by its id."""
    os.makedirs(os.path.dirname(root) + "/run", exist_ok=True)
    machine = Machine(binary, root, None)
    snapshots = {}
    try:
        connection = machine.connection()

        def say(box, text):
            body = {"argv": [text], "session": "s"}
            connection.call("POST", f"/v1/sandboxes/{box}/exec", body)

        def save(box, token, tag=None):
            say(box, f"token={token}; echo $token > /root/token; seq ${{#token}}00 > /root/{token}")
            saved = connection.call("POST", f"/v1/sandboxes/{box}/save", {"tag": tag} if tag else {})
            snapshots[saved["id"]] = token
            return saved["id"]

        connection.call("POST", "/v1/sandboxes", {"name": "box", "spec": {"base": "host"}})
        say("box", "mkdir -p /root/d/e; ln -s token /root/link; mkfifo /root/fifo")
        say("box", "echo x > /root/d/x; ln /root/d/x /root/y")
        say("box", "big=$(head -c 300000 /dev/urandom | base64 -w 0)")
        for number in range(4):
            middle = save("box", f"chain-{number}", f"tag-{number}")
            if number == 1:
                branched = middle
        say("box", "rm -r /root/d; echo z > /root/z")
        save("box", "removed")
        fork = connection.call("POST", "/v1/fork", {"source": branched, "count": 1})["sandboxes"][0]["name"]
        for number in range(2):
            save(fork, f"branch-{number}")
        connection.close()
    finally:
        machine.close()
    return snapshots


def look_at(machine, done, snapshots, pristine):
    """Raises unless the damage was found and everything else is whole; says who found it."""
    connection = machine.connection()
    report = connection.call("POST", "/v1/verify", {})
    said = machine.said()
    started = said if "level=warn" in said or "operation=recovered" in said else ""
    named = {damage["path"] for damage in report["damage"]}
    hurt = {id for damage in report["damage"] for id in damage.get("snapshots", [])}
    present = {snapshot["id"] for snapshot in connection.call("GET", "/v1/snapshots")["snapshots"]}
    for id in set(snapshots) - present:
        if id not in said:
            raise RequestFailed(f"snapshot {id} is gone and nobody says so; {said}")
    outcome = found_by(machine.root, done, named, started, pristine)
    if not outcome:
        raise RequestFailed(f"nobody names it: {report['damage']}; {said}")
    for id, token in snapshots.items():
        if id in present:
            ask(connection, id, token, id in hurt)
    connection.close()
    return outcome


def found_by(root, done, named, started, pristine):
    """Who found it; `nobody needs it` for a file that is made anew without a loss."""
    # A name of the same file is as good as another.
    for path in done.paths:
        if any(path == name or same(root, path, name) or name.startswith(path + "/") for name in named):
            return "verify"
    if any(os.path.dirname(path) in named for path in done.paths):
        return "verify"
    top = {path.split("/")[0].split(".")[0] for path in done.paths}
    ids = [path.split("/")[1] for path in done.paths if "/" in path]
    if started and (top & {"catalog", "settings", "session", "merges"} or any(id in started for id in ids)):
        return "the start"
    if top <= {"session", "settings", "format"}:
        return "nobody, for nobody needs it"
    # The server puts its own PID 1 into each store.
    whole = [filecmp.cmp(f"{root}/{path}", f"{pristine}/{path}", shallow=False) for path in done.paths if top == {"init"}]
    if whole and all(whole):
        return "nobody, for it is there again"
    return None


def same(root, one, other):
    try:
        return os.path.samefile(os.path.join(root, one), os.path.join(root, other))
    except OSError:
        return False


def ask(connection, id, token, is_hurt):
    """A snapshot shows what it was saved with, or, when it is hurt, is refused."""
    try:
        body = {"source": id, "count": 1, "verify": True}
        box = connection.call("POST", "/v1/fork", body)["sandboxes"][0]["name"]
    except RequestFailed as error:
        if is_hurt and "damaged" in str(error):
            return
        raise
    asked = {"argv": ["echo $token; cat /root/token"], "session": "s"}
    answer = connection.call("POST", f"/v1/sandboxes/{box}/exec", asked)["stdout"].split()
    if answer != [token, token]:
        raise RequestFailed(f"snapshot {id} shows {answer} and was saved with {token}")
    connection.call("DELETE", f"/v1/sandboxes/{box}?force=true")
