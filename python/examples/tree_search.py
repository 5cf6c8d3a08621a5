"""Monte Carlo tree search over shell actions: every node of the search is a snapshot, every step back a
restore.

    python tree_search.py [ITERATIONS]

The task is a small maze of side effects: a counter in a running shell (memory, not files) starts at 1;
the actions double it, add three, or write it down, and one of them breaks things for good. The search
must find a way to 11 and write it to /root/answer. Because a rollback brings the shell's variables and
the files back together, no action has to be undone by hand, and what breaks the sandbox costs nothing.
"""

from __future__ import annotations

import math
import random
import sys
from dataclasses import dataclass, field

import ckpt

ACTIONS = {
    "double": "n=$((n * 2))",
    "add three": "n=$((n + 3))",
    "write": "echo $n > /root/answer",
    "break": "rm -rf /etc; n=0",
}
GOAL = 11
DEPTH = 6


@dataclass
class Node:
    """A state that was reached, as a snapshot."""

    snapshot: ckpt.Snapshot
    way: list[str]
    parent: Node | None = None
    children: dict[str, Node] = field(default_factory=dict)
    visits: int = 0
    value: float = 0.0

    def untried(self) -> list[str]:
        """The actions that were not taken from here yet."""
        return [] if len(self.way) >= DEPTH else [action for action in ACTIONS if action not in self.children]

    def promising(self) -> Node:
        """The child that is worth a look (UCT)."""
        return max(
            self.children.values(),
            key=lambda child: (
                child.value / child.visits + math.sqrt(2 * math.log(self.visits) / child.visits)
            ),
        )


def reward(shell: ckpt.Session) -> float:
    """How close it is: 1 for the goal written down."""
    said = shell.exec(
        'echo "$n"; [ ! -e /root/answer ] || read -r answer < /root/answer; echo "${answer:-0}"'
    )
    counter, answer = (int(word) for word in said.stdout.split())
    if answer == GOAL:
        return 1.0
    return 0.6 / (1 + abs(GOAL - counter)) if counter else 0.0


def search(sb: ckpt.Sandbox, iterations: int, chance: random.Random) -> Node | None:
    """Select, expand, play on at random, and tell the way up; returns the goal's node."""
    shell = sb.session("search")
    shell.exec("n=1", check=True)
    root = Node(sb.save(message="start"), [])
    for _ in range(iterations):
        node = root
        while not node.untried() and node.children:
            node = node.promising()
        sb.restore(node.snapshot)
        if node.untried():
            action = chance.choice(node.untried())
            shell.exec(ACTIONS[action], timeout=10)
            child = Node(sb.save(message=action), [*node.way, action], parent=node)
            node.children[action] = child
            node = child
        gained = reward(shell)
        if gained == 1.0:
            return node
        played = list(node.way)
        while len(played) < DEPTH and gained < 1:
            played.append(chance.choice(["double", "add three", "write"]))
            shell.exec(ACTIONS[played[-1]], timeout=10)
            gained = max(gained, reward(shell))
        if gained == 1.0:
            return Node(sb.save(message="played to the goal"), played, parent=node)
        while node is not None:
            node.visits += 1
            node.value += gained
            node = node.parent
    return None


def main(iterations: int) -> None:
    """Searches, and shows the way that was found."""
    with ckpt.Sandbox.create(pids=100) as sb:
        found = search(sb, iterations, random.Random(7))
        tree = ckpt.Tree()
        print(f"{len(tree.snapshots())} states were saved")
        if found is None:
            print("no way was found; give it more iterations")
        else:
            print("found:", " -> ".join(found.way))
            for snapshot in tree.path(found.snapshot):
                print(f"  {snapshot.id}  {snapshot.message}")
        start = tree.path(sb.snapshot() or "")[0]
    tree.delete(start, subtree=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
