"""Takes from a report how cost grows: with memory, files, processes, depth, sandboxes and the size of the tree."""

MEMORY = [(64, "python-64m"), (256, "python-256m"), (1024, "python-1g")]
PLANS = [
    ("Memory", "MiB", MEMORY, ["save", "save-frozen", "restore"]),
    ("Files in the writable layer", "files", [(n, f"files-{n}") for n in (0, 200, 2000, 20000)],
     ["save", "restore", "reset"]),
    ("Processes", "processes", [(n, f"processes-{n}") for n in (10, 50, 200)], ["save", "save-frozen", "restore"]),
    ("Depth of the chain", "snapshots", [(n, f"chain-{n}") for n in (1, 10, 100, 400)], ["save", "restore"]),
    ("Size of the tree", "snapshots", [(n, f"tree-{n}") for n in (100, 1000, 10000)],
     ["list", "show", "tag", "delete"]),
]


def series(report):
    """One dictionary a chart: its title, its axis, and named lines of points."""
    medians = {one["name"]: one["median_ms"] for one in report["operations"]}
    found = []
    for title, axis, groups, names in PLANS:
        lines = []
        for name in names:
            points = [(x, medians[f"{group}/{name}"]) for x, group in groups if f"{group}/{name}" in medians]
            if len(points) > 1:
                lines.append((name, points))
        if lines:
            found.append({"title": title, "axis": axis, "lines": lines})
    forks = []
    for name, prefix in [("an idle bash", ""), ("Python", "python/")]:
        points = [(n, medians[f"{prefix}fork-{n}"]) for n in (1, 16, 100) if f"{prefix}fork-{n}" in medians]
        if len(points) > 1:
            forks.append((name, points))
    if forks:
        found.append({"title": "Sandboxes forked at once", "axis": "sandboxes", "lines": forks})
    rates = [
        (int(rate["name"].split("-")[1]), rate["value"])
        for rate in report["sustained"] if rate["name"].startswith("commands-")
    ]
    if len(rates) > 1:
        lines = [("builtins a second", rates)]
        found.append({"title": "Commands in sandboxes at once", "axis": "sandboxes", "lines": lines, "rate": True})
    return found
