"""The operations of the plan: what each needs, what it is called with, and what must be so when it did or did not work."""

import os

from fault_plan.world import Violation


class Operation:
    """One operation. `outcome` is None where the client cannot know it, for it or the server was killed."""

    name = ""
    # Milliseconds that the server is still watched when the client has its answer.
    linger = 30
    # Whether it is to end the processes of box.
    ends_box = False
    # Whether its steps are those that the server takes when the client has its answer.
    is_behind = False

    def prepare(self, world):
        """Makes what it works on."""

    def words(self, world):
        """Its command line."""
        raise NotImplementedError

    def check(self, world, worked, killed):
        """Throws when the sandboxes and snapshots are not what they must be."""

    def states(self, world, worked):
        """What box may hold afterwards."""
        return [world.state]


def tree_of(world):
    return {each["id"]: each for each in world.json("tree")["snapshots"]}


class Save(Operation):
    name = "save"
    linger = 200

    def prepare(self, world):
        world.state = world.change()

    def words(self, world):
        return ["save", "box", "-t", f"t{world.counter}"]

    def check(self, world, worked, killed):
        new = set(tree_of(world)) - set(world.snapshots)
        if worked and len(new) != 1:
            raise Violation(f"a save that worked made {sorted(new)}")
        if worked is False and new:
            raise Violation(f"a save that failed published {sorted(new)}")
        for id in new:
            world.snapshots[id] = world.state


class SaveStop(Save):
    name = "save --stop"
    ends_box = True

    def words(self, world):
        return ["save", "box", "--stop"]

    def states(self, world, worked):
        return ["stopped"] if worked else [world.state] if worked is False else ["stopped", world.state]


class Restore(Operation):
    name = "restore"
    linger = 100

    def words(self, world):
        return ["restore", "box", world.a]

    def states(self, world, worked):
        before, after = world.state, world.snapshots[world.a]
        return [after] if worked else [before] if worked is False else [before, after]


class Reset(Operation):
    name = "reset"
    linger = 100

    def words(self, world):
        return ["reset", "box"]

    def states(self, world, worked):
        return ["fresh"] if worked else [world.state] if worked is False else ["fresh", world.state]


class Making(Operation):
    """One that makes sandboxes."""

    linger = 100
    made = ()

    def check(self, world, worked, killed):
        infos = {info["name"]: info for info in world.json("ps")["sandboxes"]}
        made = [name for name in self.made if name in infos]
        if worked and len(made) != len(self.made):
            raise Violation(f"it worked and made only {made}")
        if worked is False and made:
            raise Violation(f"it failed and made {made}")
        for name in made:
            if infos[name]["state"] == "running":
                self.look(world, name)
            elif worked and not killed:
                raise Violation(f"{name} is {infos[name]['state']}")

    def look(self, world, name):
        """Throws when what was made is not as it should be."""


class Create(Making):
    name = "create"
    made = ("made",)

    def words(self, world):
        return ["create", "made"]

    def look(self, world, name):
        if world.succeed("exec", name, "--", "echo", "here") != "here":
            raise Violation("a new sandbox runs nothing")


class CreateLimited(Create):
    name = "create, limited"

    def words(self, world):
        return ["create", "made", "--memory", "64m", "--pids-limit", "50"]


class Fork(Making):
    name = "fork"
    made = ("made-1", "made-2")

    def words(self, world):
        return ["fork", world.b, "-n", "2", "--name", "made"]

    def look(self, world, name):
        if world.ask(name) != world.snapshots[world.b]:
            raise Violation(f"{name} holds {world.ask(name)!r}")


class Remove(Operation):
    name = "rm"
    linger = 100

    def prepare(self, world):
        world.succeed("create", "doomed", "--memory", "64m")

    def words(self, world):
        return ["rm", "-f", "doomed"]

    def check(self, world, worked, killed):
        names = [info["name"] for info in world.json("ps")["sandboxes"]]
        if worked and "doomed" in names:
            raise Violation("rm worked and the sandbox is still there")


class Delete(Operation):
    name = "delete"
    linger = 100

    def prepare(self, world):
        self.id = world.save("-t", "doomed")
        world.succeed("restore", "box", world.b)
        world.state = world.snapshots[world.b]

    def words(self, world):
        return ["delete", self.id]

    def check(self, world, worked, killed):
        is_there = self.id in tree_of(world)
        if worked is not None and is_there == worked:
            raise Violation("a delete that " + ("worked left it" if worked else "failed took it"))
        if not is_there:
            del world.snapshots[self.id]


class Collect(Operation):
    name = "gc"
    linger = 50

    def prepare(self, world):
        # What a crash can leave.
        self.garbage = [f"{world.root}/{each}" for each in ("layers/0123456789ab", "snapshots/0123456789ac")]
        for path in self.garbage:
            os.makedirs(path + "/etc")
            with open(path + "/etc/file", "w", encoding="ascii") as file:
                file.write("garbage\n")
        with open(f"{world.root}/digests/0123456789ab", "w", encoding="ascii") as file:
            file.write("\n")

    def words(self, world):
        return ["gc"]

    def check(self, world, worked, killed):
        left = [path for path in self.garbage if os.path.exists(path)]
        if worked and left:
            raise Violation(f"gc left {left}")
        world.succeed("gc")
        left = [path for path in self.garbage if os.path.exists(path)]
        if left:
            raise Violation(f"a second gc left {left}")


class Compact(Save):
    """The ninth layer of a chain: the server merges the eight below it once the save is answered."""

    name = "compaction"
    linger = 600
    is_behind = True

    def prepare(self, world):
        world.succeed("restore", "box", world.chain()[-1])
        world.state = world.change()
        world.save()
        world.state = world.change()

    def check(self, world, worked, killed):
        super().check(world, worked, killed)
        if not worked and not killed:
            raise Violation("the save before it failed")


class Import(Operation):
    """Of two snapshots, parent and child."""

    name = "import"
    linger = 50

    def prepare(self, world):
        self.states_of = {}
        for _ in range(2):
            world.state = world.change()
            self.states_of[world.save()] = world.state
        self.archive = world.path("archive")
        world.succeed("export", list(self.states_of)[-1], "--with-ancestors", "-o", self.archive)
        world.succeed("restore", "box", world.b)
        world.state = world.snapshots[world.b]
        for id in reversed(self.states_of):
            world.succeed("delete", id)
            del world.snapshots[id]

    def words(self, world):
        return ["import", self.archive]

    def check(self, world, worked, killed):
        here = [id for id in self.states_of if id in tree_of(world)]
        if worked and len(here) != 2:
            raise Violation(f"an import that worked brought only {here}")
        if worked is False and here:
            raise Violation(f"an import that failed brought {here}")
        for id in here:
            world.snapshots[id] = self.states_of[id]


OPERATIONS = [
    Create, CreateLimited, Save, SaveStop, Restore, Fork, Reset, Remove, Delete, Collect, Compact, Import,
]
