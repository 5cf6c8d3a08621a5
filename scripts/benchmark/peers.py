"""The peers beside which ckpt is measured: how each is had, and how it is run."""

import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
# Name, version, and the package that has its classes.
PACKAGES = [("agentdocker-lite", "0.0.5", "agentdocker_lite"), ("nitrobox", "0.1.0", "nitrobox")]
# Debian's package, and the program in it.
PROGRAMS = {"bubblewrap": "bwrap", "crun": "crun", "podman": "podman"}


class Unavailable(Exception):
    """The peer cannot be had here; says why."""


def interpreters():
    """Pythons that the peers may run in: they need 3.12."""
    names = ["python3.13", "python3.12", "python3"]
    found = [path for path in map(shutil.which, names) if path]
    found += sorted(glob.glob(os.path.expanduser("~/.pyenv/versions/3.1[2-9]*/bin/python3")))
    for path in found:
        code = "import sys; sys.exit(sys.version_info < (3, 12))"
        if subprocess.run([path, "-c", code], capture_output=True).returncode == 0:
            yield path


def environment(directory):
    """A Python with all packages in it, made once in `directory`."""
    python = os.path.join(directory, "bin/python")
    wanted = [f"{name}=={version}" for name, version, _ in PACKAGES]
    stamp = os.path.join(directory, "has-" + "-".join(wanted))
    if os.path.exists(stamp):
        return python
    for interpreter in interpreters():
        made = subprocess.run([interpreter, "-m", "venv", "--clear", directory], capture_output=True)
        if made.returncode == 0:
            break
    else:
        raise Unavailable("there is no Python 3.12 with venv")
    done = subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], capture_output=True, text=True)
    if done.returncode:
        raise Unavailable("they cannot be installed: " + done.stderr.strip().splitlines()[-1])
    open(stamp, "w").close()
    return python


def measure_package(python, package, passes):
    """Its samples and failures, from a process with a mount namespace of its own."""
    directory = tempfile.mkdtemp(prefix="ckpt-peer-", dir="/var/tmp")
    try:
        done = subprocess.run(
            ["unshare", "--mount", python, os.path.join(HERE, "peer.py"), package, str(passes), directory],
            capture_output=True, text=True, timeout=600,
        )
        if done.returncode:
            raise Unavailable((done.stderr.strip().splitlines() or ["it ended without a word"])[-1][:200])
        return json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise Unavailable("it did not end within ten minutes") from None
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def crun_bundle(directory):
    """An OCI bundle of the host's root that runs true."""
    subprocess.run(["crun", "spec"], cwd=directory, check=True, capture_output=True)
    path = os.path.join(directory, "config.json")
    with open(path) as file:
        config = json.load(file)
    config["process"].update(args=["/bin/true"], terminal=False)
    config["root"] = {"path": "/", "readonly": True}
    with open(path, "w") as file:
        json.dump(config, file)


def one_shots(ckpt, directory):
    """Commands that make a sandbox, run true in it and take it away, by the name of who does it."""
    commands = {"ckpt": [ckpt, "run", "--rm", "--", "true"]}
    if shutil.which("bwrap"):
        commands["bubblewrap"] = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev",
                                  "/bin/true"]
    if shutil.which("crun"):
        crun_bundle(directory)
        commands["crun"] = ["crun", "run", "--bundle", directory, "ckpt-bench-crun"]
    if shutil.which("podman"):
        commands["podman"] = ["podman", "run", "--rm", "--network=none", "--rootfs", "/:O", "/bin/true"]
    return commands


def measure_one_shots(ckpt, passes):
    """Milliseconds of each, in turn so that noise meets all, and why one does not run."""
    directory = tempfile.mkdtemp(prefix="ckpt-one-shot-", dir="/var/tmp")
    environment = dict(os.environ, CKPT_ROOT=os.path.join(directory, "root"))
    samples, failures = {}, {}
    try:
        commands = one_shots(ckpt, directory)
        failures.update({name: "it is not installed" for name in PROGRAMS if name not in commands})
        for number in range(passes + 2):
            for name, command in commands.items():
                if name in failures:
                    continue
                began = time.perf_counter()
                done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
                took = (time.perf_counter() - began) * 1000
                if done.returncode:
                    failures[name] = (done.stderr.strip().splitlines() or ["no reason given"])[-1][:200]
                # The first ones start a server and fill caches.
                elif number >= 2:
                    samples.setdefault(name, []).append(took)
        return samples, failures
    finally:
        subprocess.run([ckpt, "serve", "--stop"], env=environment, capture_output=True)
        shutil.rmtree(directory, ignore_errors=True)


def names():
    return [name for name, _, _ in PACKAGES]


if __name__ == "__main__":
    print(json.dumps(measure_one_shots(sys.argv[1], 3)))
