"""Measures one peer; runs in an interpreter that has it, and prints its samples in milliseconds as JSON.

    python peer.py PACKAGE PASSES DIRECTORY

The operations are those of `ckpt bench`, as far as the peer has them. A command goes through its own long-lived shell.
"""

import contextlib
import io
import json
import logging
import os
import sys
import time

COMMANDS = 10
BLOCK = "x" * 4096


def timed(call):
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000


def load(package):
    """Its classes, with a directory taken for what it is: neither looks for an image of that name."""
    rootfs = __import__(f"{package}.rootfs", fromlist=["rootfs"])
    rootfs.get_image_config = lambda *_: None
    module = __import__(package)
    checkpoint = __import__(f"{package}.checkpoint", fromlist=["CheckpointManager"])
    return module.Sandbox, module.SandboxConfig, checkpoint.CheckpointManager


class Peer:
    def __init__(self, package, directory):
        self.Sandbox, self.Config, self.Manager = load(package)
        self.directory = directory
        self.samples = {}
        self.failures = {}

    def add(self, name, value):
        self.samples.setdefault(name, []).append(value)

    def expect(self, box, command, answer=""):
        output, code = box.run(command)
        if code != 0 or output.strip() != answer:
            raise RuntimeError(f"{command!r} gave {output!r} and {code}")

    def once(self, number, measured):
        held = []

        def create():
            config = self.Config(image="/", env_base_dir=os.path.join(self.directory, "sandboxes"))
            held.append(self.Sandbox(config, f"bench-{number}"))
            self.expect(held[0], ":")

        took = {"create": [timed(create)]}
        box = held[0]
        try:
            took["session-builtin"] = [timed(lambda: self.expect(box, "true")) for _ in range(COMMANDS)]
            took["session-echo"] = [timed(lambda: self.expect(box, "/bin/echo hi", "hi")) for _ in range(COMMANDS)]
            took["write-4k"] = [timed(lambda: box.write_file("/tmp/block", BLOCK)) for _ in range(COMMANDS)]
            took["read-4k"] = [timed(lambda: box.read_file("/tmp/block")) for _ in range(COMMANDS)]
            self.roll_back(box, number, took)
            took["reset"] = [timed(box.reset)]
            self.expect(box, ":")
        finally:
            took["rm"] = [timed(box.delete)]
        if measured:
            for name, values in took.items():
                for value in values:
                    self.add(name, value)

    def roll_back(self, box, number, took):
        """A save and a restore of processes; one that fails is told and not tried again."""
        if "save" in self.failures:
            return
        try:
            manager = self.Manager(box)
            path = os.path.join(self.directory, f"checkpoint-{number}")
            # A file, for its shell keeps no variables from one command to the next.
            self.expect(box, "echo before > /tmp/kept")
            # This kernel has no soft-dirty bits, without which its default fails.
            took["save"] = [timed(lambda: manager.save(path, track_mem=False))]
            self.expect(box, "echo after > /tmp/kept")

            def restore():
                manager.restore(path)
                self.expect(box, "cat /tmp/kept", "before")

            took["restore"] = [timed(restore)]
        except Exception as error:
            self.failures["save"] = " ".join(str(error).split())[:200]


def main():
    package, passes, directory = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    logging.disable(logging.CRITICAL)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        peer = Peer(package, directory)
        for number in range(passes + 1):
            peer.once(number, measured=number > 0)
    print(json.dumps({"samples": peer.samples, "failures": peer.failures}))


main()
