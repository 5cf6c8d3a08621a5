"""Saves and restores in turn: each snapshot stands one deeper."""

import random

from .common import check, equal, median, nothing_left, say, shell, timed

# One file of each step stays as it is; the rest is changed in every way that leaves a mark in a layer.
STEP = """
cd /root && n={n}
echo $n > file-$n; echo $n > same; mkdir -p d$((n % 7)); echo $n > d$((n % 7))/inside; ln -sfn file-$n link
ln -f same twin; touch -d @$((1000000 + n)) same; chmod $((600 + n % 70 % 8)) same
[ $((n % 3)) = 0 ] && rm -f d$(((n + 1) % 7))/inside
[ $((n % 5)) = 0 ] && d=d$(((n + 2) % 7)) && rm -rf $d && mkdir $d && echo new$n > $d/new
[ $((n % 11)) = 0 ] && mv d$((n % 7)) moved 2>/dev/null; rm -rf moved
[ $((n % 4)) = 0 ] && setfattr -n user.n -v $n file-$n 2>/dev/null
[ $((n % 13)) = 0 ] && rm -f file-$((n / 2)) && mkfifo fifo-$n
counter=$n; :
"""
LOOK = (
    "cd /root && find . ! -path './.bash*' -printf '%p %y %m %T@ %l %s\\n' | grep -v '^. d' | sort | md5sum; "
    "find . -type f | sort | xargs cat | md5sum; find . -samefile same | sort; find . -type f | sort | xargs getfattr -d | md5sum"
)


def run(server, divisor):
    depth = 500 // divisor
    connection = server.connect()
    connection.create("chain")
    say(connection, "chain", "counter=0")
    state, saves, restores = {}, [], []
    for n in range(1, depth + 1):
        say(connection, "chain", STEP.format(n=n))
        snapshot, saved = timed(lambda: connection.save("chain"))
        if n % 25 == 0 or n < 4 or n == depth:
            state[n] = (snapshot["id"], shell(connection, "chain", LOOK))
        _, restored = timed(lambda: connection.restore("chain"))
        equal(say(connection, "chain", "echo $counter"), str(n), f"memory at depth {n}")
        saves.append(saved)
        restores.append(restored)
        if n in state:
            equal(shell(connection, "chain", LOOK), state[n][1], f"files at depth {n}")
    tenth = max(5, depth // 10)
    yield (
        f"{depth} deep: save {median(saves[:tenth])} ms at first, {median(saves[-tenth:])} at last; "
        f"restore {median(restores[:tenth])} and {median(restores[-tenth:])}"
    )
    # The first ones have little to look through; the cost of depth alone is that of the same files in one layer.
    mounts = shell(connection, "chain", "grep -m1 ' / / ' /proc/self/mountinfo | tr , '\\n' | grep -c lowerdir || :")
    layers = [one["layers"] for one in connection.tree()["snapshots"]]
    yield f"layers of a snapshot: at most {max(map(len, layers))}, at last {len(layers[-1])}; mounted {mounts}"
    connection.create("flat")
    say(connection, "flat", "counter=0")
    shell(connection, "flat", "cd /root; for n in $(seq 500); do echo $n > file-$n; done")
    flats, flat_restores = [], []
    for _ in range(10):
        snapshot, saved = timed(lambda: connection.save("flat"))
        flats.append(saved)
        flat_restores.append(timed(lambda: connection.restore("flat", snapshot["id"]))[1])
    yield f"as many files in one layer: save {median(flats)} ms, restore {median(flat_restores)}"
    yield from look_back(connection, state)
    yield from delete(server, connection, state, depth)


def look_back(connection, state):
    for n in random.Random(1).sample(sorted(state), min(8, len(state))):
        fork = connection.fork(state[n][0], f"at-{n}")["sandboxes"][0]["name"]
        equal(shell(connection, fork, LOOK), state[n][1], f"files of snapshot {n}")
        equal(say(connection, fork, "echo $counter"), str(n), f"memory of snapshot {n}")
        connection.remove(fork)
    report, took = timed(lambda: connection.call("POST", "/v1/verify", {}))
    equal(report["damage"], [], "verify")
    yield f"verify of {len(report['snapshots'])} snapshots: {took:.0f} ms"


def delete(server, connection, state, depth):
    order = [one["id"] for one in connection.tree()["snapshots"] if one["sandbox"] == "chain"]
    kept = {state[n][0] for n in state}
    middle = [one for one in order[: depth // 2] if one not in kept]
    times = [timed(lambda one=one: connection.delete(one, "keepChildren"))[1] for one in middle]
    yield f"delete in the middle, children kept: {median(times)} ms"
    report = connection.call("POST", "/v1/verify", {})
    equal(report["damage"], [], "verify after deletions")
    for n in sorted(state)[-3:]:
        connection.restore("chain", state[n][0])
        equal(shell(connection, "chain", LOOK), state[n][1], f"files of snapshot {n} after deletions")
    for name in ("chain", "flat"):
        connection.remove(name)
    roots = [one["id"] for one in connection.tree()["snapshots"] if one.get("parent") is None]
    _, took = timed(lambda: [connection.delete(one, "subtree") for one in roots])
    connection.call("POST", "/v1/gc")
    nothing_left(server)
    check(connection.tree()["snapshots"] == [], "snapshots are left")
    yield f"the rest with --subtree: {took:.0f} ms"
