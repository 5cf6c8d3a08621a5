"""What the extremes have in common."""

import os
import statistics
import time


def check(condition, what):
    """Ends everything where something is not as it was."""
    if not condition:
        raise AssertionError(what)


def equal(found, wanted, what):
    check(found == wanted, f"{what}: found {found!r:.500}, wanted {wanted!r:.500}")


def timed(body):
    """What `body` returns, and the milliseconds it took."""
    began = time.monotonic()
    result = body()
    return result, (time.monotonic() - began) * 1000


def median(values):
    return f"{statistics.median(values):.1f}"


def shell(connection, name, text, **more):
    """What a shell text prints in a sandbox; it must end with 0."""
    result = connection.run(name, "bash", "-c", text, **more)
    check(result["exitCode"] == 0, f"{text[:200]}: {result}")
    return result["stdout"].strip()


def say(connection, name, text):
    """What a text prints in the main session."""
    result = connection.say(name, "main", text)
    check(result["exitCode"] == 0, f"{text[:200]}: {result}")
    return result["stdout"].strip()


def round_trip(connection, name, read, change):
    """Saves, changes, restores and forks, and compares each time; lines with the figures."""
    before = read(name)
    snapshot, saved = timed(lambda: connection.save(name))
    equal(read(name), before, "after the save")
    change(name)
    changed = read(name)
    check(changed != before, "the change changes nothing")
    _, restored = timed(lambda: connection.restore(name, snapshot["id"]))
    equal(read(name), before, "after the restore")
    fork, forked = timed(lambda: connection.fork(snapshot["id"], f"{name[:40]}-fork"))
    twin = fork["sandboxes"][0]["name"]
    equal(read(twin), before, "in the fork")
    change(twin)
    equal(read(twin), changed, "in the fork, which goes on")
    equal(read(name), before, "beside the fork")
    connection.remove(twin)
    timings = snapshot["timings"]
    yield (
        f"save {saved:.0f} ms (frozen {timings.get('frozenMs') or 0:.0f}), restore {restored:.0f} ms, "
        f"fork {forked:.0f} ms"
    )


def nothing_left(server, seconds=180):
    """Waits until the store is empty but for prepared sandboxes; what was deleted is removed behind its user's back."""
    end = time.monotonic() + seconds
    while True:
        left = {
            name: found
            for name in ("layers", "digests", "merges", "snapshots", "staging", "sandboxes")
            if (found := [one for one in os.listdir(os.path.join(server.root, name)) if one[0] != "."])
        }
        if not left:
            return
        check(time.monotonic() < end, f"left in the store: {left!r:.500}")
        time.sleep(0.05)
