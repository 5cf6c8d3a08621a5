"""A tree of 10,000 snapshots, made by as many saves."""

import os
import random
import time

from .common import equal, median, say, timed


def memory(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS"))


def run(server, divisor):
    count = 10_000 if divisor == 1 else 100
    connection = server.connect()
    draw = random.Random(7)
    began = time.monotonic()
    connection.create("tree")
    ids = [connection.save("tree")["id"]]
    while len(ids) < count:
        # Saves in a row from a random place: half deep, half wide.
        connection.restore("tree", draw.choice(ids[-200:] if draw.random() < 0.5 else ids))
        say(connection, "tree", f"echo {len(ids)} > /root/file")
        ids += [connection.save("tree")["id"] for _ in range(min(10, count - len(ids)))]
    yield f"{count} saves and {count // 10} restores in {time.monotonic() - began:.0f} s"
    yield from measure(server, connection, ids, draw)
    server.close()
    resident = yield from start(server, ids)
    yield f"server with {count} snapshots: {resident:.0f} MiB resident after its start"


def measure(server, connection, ids, draw):
    lists = [timed(connection.tree) for _ in range(5)]
    equal(len(lists[0][0]["snapshots"]), len(ids), "snapshots listed")
    yield f"list: {median(took for _, took in lists)} ms for {len(ids)} snapshots"
    some = draw.sample(ids, 100)
    shows = [timed(lambda one=one: connection.call("GET", f"/v1/snapshots/{one}"))[1] for one in some]
    tags = [
        timed(lambda n=n, one=one: connection.call("PUT", f"/v1/snapshots/{one}/tags/t{n}"))[1]
        for n, one in enumerate(some)
    ]
    found = connection.call("GET", "/v1/snapshots/t7")
    equal(found["id"], some[7], "the snapshot of a tag")
    leaves = [one["id"] for one in connection.tree()["snapshots"] if not one["children"] and not one["standing"]]
    leaves = draw.sample(leaves, min(100, len(leaves)))
    deletes = [timed(lambda one=one: connection.delete(one))[1] for one in leaves]
    for one in leaves:
        ids.remove(one)
    yield f"show {median(shows)} ms, tag {median(tags)} ms, delete {median(deletes)} ms"
    collected = timed(lambda: connection.call("POST", "/v1/gc"))[1]
    yield f"gc: {collected:.0f} ms; server {memory(server.pid):.0f} MiB resident"


def start(server, ids):
    again, took = timed(lambda: type(server)(server.process.args[0], server.root))
    server.process = again.process
    connection = server.connect()
    equal(len(connection.tree()["snapshots"]), len(ids), "snapshots after a start")
    yield f"start of the server: {took:.0f} ms"
    server.close()
    for name in os.listdir(server.root):
        if name.startswith("catalog.sqlite"):
            os.unlink(os.path.join(server.root, name))
    again, took = timed(lambda: type(server)(server.process.args[0], server.root))
    server.process = again.process
    equal({one["id"] for one in server.connect().tree()["snapshots"]}, set(ids), "snapshots of a new catalog")
    yield f"start that makes the catalog anew from the manifests: {took:.0f} ms"
    return memory(server.pid)
