"""Tells of every process of the sandbox but itself what the kernel shows: descent, program, files, mappings, attributes."""
import os
import re

pipes = {}


def name(target):
    """Pipes are numbered in the order in which they are seen: the kernel's numbers are others after a restore."""
    return re.sub(r"pipe:\[\d+\]", lambda found: f"pipe {pipes.setdefault(found[0], len(pipes))}", target)


def read(pid, what):
    with open(f"/proc/{pid}/{what}", "rb") as file:
        return file.read().decode(errors="surrogateescape")


def mappings(pid):
    """What of which file lies where. CRIU puts together what can be one mapping."""
    seen = []
    for line in read(pid, "maps").splitlines():
        words = line.split(None, 5)
        if len(words) < 6 or words[5][0] != "/":
            continue
        start, end = (int(word, 16) for word in words[0].split("-"))
        offset = int(words[2], 16)
        if seen:
            last = seen[-1]
            if (last[1], last[2], last[3] + start - last[0], last[4]) == (start, words[1], offset, words[5]):
                last[1] = end
                continue
        seen.append([start, end, words[1], offset, words[5]])
    return [f"{start:x}-{end:x} {rights} {offset:x} {path}" for start, end, rights, offset, path in seen]


def tell(pid):
    stat = read(pid, "stat")
    fields = stat[stat.rindex(")") + 2:].split()
    print(pid, stat[stat.index("("):stat.rindex(")") + 1], "parent group session", *fields[1:4], "nice", fields[16])
    print(" ", read(pid, "cmdline").split("\0"))
    # Whoever has fewer rights than PID 1 is not told more of it.
    if pid == 1:
        return
    print(" ", os.readlink(f"/proc/{pid}/exe"), os.readlink(f"/proc/{pid}/cwd"), read(pid, "environ").split("\0"))
    for number in sorted(os.listdir(f"/proc/{pid}/fd"), key=int):
        info = dict(line.split(":", 1) for line in read(pid, f"fdinfo/{number}").splitlines() if ":" in line)
        target = name(os.readlink(f"/proc/{pid}/fd/{number}"))
        print(" ", number, target, info["flags"].strip(), info["pos"].strip())
    status = dict(line.split(":\t", 1) for line in read(pid, "status").splitlines() if ":\t" in line)
    for key in ["Umask", "Uid", "Groups", "SigBlk", "SigIgn", "SigCgt", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp"]:
        print(" ", key, status[key])
    print(*[f"  {line}" for line in mappings(pid)], sep="\n")
    print("  auxv", read(pid, "auxv").encode(errors="surrogateescape").hex().rstrip("0"))


mine = set()
one = os.getpid()
while one > 1:
    mine.add(one)
    one = int(read(one, "stat").rsplit(")", 1)[1].split()[1])
for pid in sorted(int(pid) for pid in os.listdir("/proc") if pid.isdigit()):
    if pid not in mine:
        tell(pid)
