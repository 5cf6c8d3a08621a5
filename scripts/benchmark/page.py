"""Writes docs/performance.md from a report of scripts/bench."""

import time

from . import growth

WORDS = {
    "": "An idle bash",
    "python": "Python",
    "python-64m": "Python of 64 MiB",
    "python-256m": "Python of 256 MiB",
    "python-1g": "Python of 1 GiB",
}
RATES = {
    "resets": "cycles of reset and a command, a second",
    "saves-and-restores": "cycles of save, restore and a command, a second",
    "rollouts": "rollouts a second: a tree search of depth 6 and branching 4, a save after every step",
    "rollouts-parallel": "the same in as many sandboxes as there are processors",
    "bytes-per-snapshot": "bytes on disk for each snapshot of that search",
}


def milliseconds(value):
    if value is None:
        return "·"
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows] + [""]


def place(report):
    where = report["place"]
    when = time.strftime("%Y-%m-%d", time.gmtime(where["time"]))
    memory = where["memoryBytes"] / 2**30
    return (
        f"Measured on {when} with ckpt {where['version']} on {where['cores']} cores ({where['processor']}), "
        f"{memory:.0f} GiB of memory, Linux {where['kernel']}, the store on {where['filesystem']}, sandboxes from "
        f"`{where['base']}`. The load was {where['load']:.1f} when the run began."
    )


def title(group):
    if group in WORDS:
        return WORDS[group]
    kind, number = group.split("-", 1)
    words = {"processes": "{} processes", "files": "{} files in the writable layer", "chain": "A chain {} deep",
             "tree": "A tree of {} snapshots"}
    return words[kind].format(f"{int(number):,}")


def operations(report):
    groups = {}
    for one in report["operations"]:
        group = one["name"].split("/")[0] if "/" in one["name"] else ""
        groups.setdefault(group, []).append(one)
    lines = []
    for group, rows in groups.items():
        lines += [f"### {title(group)}", ""]
        cells = []
        for one in rows:
            budget = one["budget_ms"]
            verdict = "·" if budget is None else "kept" if one["median_ms"] <= budget else "**missed**"
            cells.append([
                f"`{one['name']}`", str(report["samples"][one["name"]]["count"]), milliseconds(one["median_ms"]),
                milliseconds(one["p90_ms"]), milliseconds(report["samples"][one["name"]]["p99_ms"]),
                milliseconds(one["floor_ms"]),
                "·" if one["ratio"] is None else f"{one['ratio']:.1f}", milliseconds(budget), verdict,
            ])
        lines += table(["operation", "samples", "median", "p90", "p99", "floor", "ratio", "budget", ""], cells)
    return lines


def comparison(report):
    peers = report.get("peers")
    if not peers:
        return []
    names = list(peers["versions"])
    head = ["operation", "ckpt", "floor"] + [f"{name} {peers['versions'][name]}" for name in names]
    head += [f"ckpt is … times as fast as {name}" for name in names]
    rows = []
    for operation, values in peers["operations"].items():
        row = [f"`{operation}`"] + [milliseconds(values.get(who)) for who in ["ckpt", "floor", *names]]
        row += [f"{values[name] / values['ckpt']:.1f}" if name in values else "·" for name in names]
        rows.append(row)
    lines = [
        "## Beside the peers", "",
        "Medians in milliseconds on an idle bash, taken by turns in the same run; theirs are calls of their Python "
        "packages, ckpt's are requests to its server. They read and write a sandbox's files from the host, beside "
        "whatever runs in it: a call of Python's own.", "",
    ] + table(head, rows)
    create = peers["operations"].get("create", {})
    if "nitrobox" in create:
        verdict = "kept" if create["ckpt"] <= create["nitrobox"] / 2 else "**missed**"
        lines += [f"The budget of `create` beside nitrobox is half of its time, "
                  f"{milliseconds(create['nitrobox'] / 2)} ms: {verdict}.", ""]
    if peers["one_shot"]:
        lines += ["One command line that makes a sandbox, runs `true` in it and takes it away:", ""]
        lines += table(["", "ms"], [[name, milliseconds(value)] for name, value in peers["one_shot"].items()])
        if "bubblewrap" in peers["one_shot"]:
            lines += ["bubblewrap gives a view of the host without a writable layer, limits or a way to save.", ""]
    for name, reason in peers["failures"].items():
        lines.append(f"- {name} did not run here: {reason}")
    return lines + ([""] if peers["failures"] else [])


def grown(report):
    lines = []
    for series in growth.series(report):
        head = [series["axis"]] + [name for name, _ in series["lines"]]
        at = sorted({x for _, points in series["lines"] for x, _ in points})
        rows = [
            [f"{x:,}"] + [milliseconds(dict(points).get(x)) for _, points in series["lines"]] for x in at
        ]
        lines += [f"### {series['title']}", ""] + table(head, rows)
    return ["## How cost grows", "", "Medians in milliseconds.", ""] + lines if lines else []


def sustained(report):
    if not report["sustained"]:
        return []
    rows = []
    for rate in report["sustained"]:
        name = rate["name"]
        if name.startswith("commands-"):
            words = f"builtins of sessions a second, sandboxes at once: {name.split('-')[1]}"
        else:
            words = RATES[name]
        value = rate["value"]
        rows.append([words, f"{value:,.1f}" if value < 100 else f"{value:,.0f}"])
    return ["## Sustained", ""] + table(["", ""], rows)


def tables(report):
    """The tables of operations, peers and rates, for who reads them in a terminal."""
    return "\n".join(operations(report) + comparison(report) + sustained(report))


def write(report):
    floors = report["floors"]
    moved = [f"{what} 1 GiB {milliseconds(floors[key])} ms" for key, what in
             [("copy-1g", "copying"), ("write-1g", "writing")] if key in floors]
    lines = [
        "# Performance", "",
        "This page is written by `scripts/bench --docs` from one run of it; `ckpt bench` measures the same on your "
        "machine.", "",
        place(report), "",
    ]
    remarks = report["notes"] + report["failures"]
    lines += [f"- {remark}" for remark in remarks] + ([""] if remarks else [])
    lines += [
        "Times are milliseconds of requests over the server's Unix socket, one write and one read each. The floor is "
        "the least that the operation can cost on the same machine in the same run: plain C that makes namespaces and "
        "an overlay and executes bash, commands on pipes to that bash, and CRIU driven by hand on the same processes; "
        "meanwhile the server lets [processors sleep](operations.md#processors-that-sleep) as they do without it. "
        "Budgets are worked out from these floors. `session-hops` is what it takes to hand a byte through three "
        "processes and back; `session-by-id` is a builtin with an id by which its caller may ask for it once more, as the "
        "Python package makes its calls: PID 1 looks after it; `borrowed-builtin` and `borrowed-echo` are calls made by who "
        "has [borrowed](lending.md) the session, and go to its bash directly; `save-criu` and `restore-criu` are CRIU's "
        "share, where it is told to do it. `restore`, `fork` and `create` last until the first command is answered. Of "
        "fewer than 100 samples p99 is the longest. The process of 1 GiB is not forked 16 and 100 times: all of its "
        "memory would come in, as often. [Where the time goes](where-time-goes.md) tells of budgets that are "
        "missed.", "",
        "![the operations beside their floors and the peers, and how cost grows](performance.svg)", "",
        "## Operations", "",
    ]
    lines += operations(report) + comparison(report) + sustained(report) + grown(report)
    if moved:
        lines += [f"This machine takes, for comparison: {', '.join(moved)}.", ""]
    return "\n".join(lines).rstrip() + "\n"
