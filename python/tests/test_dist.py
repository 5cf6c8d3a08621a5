"""What `scripts/dist` makes runs where nothing of it is installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import ckpt

REPOSITORY = Path(__file__).parents[2]
SCRIPT = """
import os, ckpt
from ckpt import _binary
assert "site-packages" in ckpt.__file__, ckpt.__file__
assert _binary.find() == os.path.join(os.path.dirname(ckpt.__file__), "_bin", "ckpt")
with ckpt.Sandbox.create() as sb:
    sb.exec("echo 1 > /root/x")
    snapshot = sb.save()
    sb.exec("rm /root/x")
    sb.restore(snapshot)
    assert sb.exec("cat /root/x").stdout == "1\\n"
snapshot.delete()
print(open(f"/proc/{ckpt.Client().version().pid}/maps").read())
ckpt.Client().shutdown()
"""


def run(*words: object, **environment: str) -> str:
    """Runs a program and returns what it printed."""
    done = subprocess.run(
        list(map(str, words)), env=environment or None, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with everything that is given to users."""
    directory = tmp_path_factory.mktemp("dist")
    run(REPOSITORY / "scripts" / "dist", directory)
    return directory


def libraries(maps: str) -> set[str]:
    """The shared libraries in a process's mappings."""
    return {line.split()[-1] for line in maps.splitlines() if ".so" in line}


def test_the_wheel_in_an_empty_environment(made: Path, tmp_path: Path) -> None:
    (wheel,) = made.glob("*.whl")
    assert re.fullmatch(rf"ckpt-{ckpt.__version__}-py3-none-manylinux_2_\d+_x86_64\.whl", wheel.name)
    names = zipfile.ZipFile(wheel).namelist()
    for name in ("py.typed", "_bin/ckpt", "_bin/libexec/ckpt/criu", "_bin/libexec/ckpt/ckpt-init"):
        assert f"ckpt/{name}" in names
    home = tmp_path / "environment"
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", wheel)
    # PATH has no program at all.
    environment = {
        "CKPT_ROOT": str(tmp_path / "root"),
        "PATH": str(tmp_path / "nothing"),
        "HOME": os.environ["HOME"],
    }
    loaded = libraries(run(python, "-c", SCRIPT, **environment))
    own = {name for name in loaded if "/_bin/lib/" in name}
    # A debug build brings the others as files too, where a release build has them inside.
    assert {"libnl-3", "libstdc++"} <= {name.rsplit("/", 1)[1].partition(".")[0] for name in own}
    assert {re.split(r"[.-]", name.rsplit("/", 1)[1])[0] for name in loaded - own} <= {"libc", "libm", "ld"}
    assert run(home / "bin" / "ckpt", "version", **environment).startswith(f"ckpt {ckpt.__version__} ")


def test_the_tarball_wherever_it_is_put(made: Path, tmp_path: Path) -> None:
    (tarball,) = made.glob("*.tar.gz")
    with tarfile.open(tarball) as archive:
        assert all(member.uid == 0 and member.name.startswith("ckpt-") for member in archive)
    run("tar", "-C", tmp_path, "-xf", tarball)
    (home,) = (each for each in tmp_path.iterdir())
    environment = {"CKPT_ROOT": str(tmp_path / "root"), "PATH": os.environ["PATH"]}
    assert run(home / "bin" / "ckpt", "run", "--rm", "--", "echo", "hi", **environment) == "hi\n"
    run(home / "bin" / "ckpt", "serve", "--stop", **environment)
    assert "not found" not in run("ldd", home / "bin" / "ckpt")
    for name in ("libnl-3.so.200", "libarchive-dev", "libssl-dev", "criu", "ckpt"):
        assert (home / "licenses" / name).stat().st_size > 100


def test_the_debian_package(made: Path, tmp_path: Path) -> None:
    (package,) = made.glob("*.deb")
    fields = run("dpkg-deb", "--field", package)
    needed = re.search(r"^Depends: (.*)$", fields, re.MULTILINE)[1]
    for name in re.findall(r"(?:^|, )([a-z0-9.+-]+)", needed):
        assert "installed" in run("dpkg-query", "-Wf", "${db:Status-Status}", name)
    assert "libnl-3-200" in needed and "libc6 (>= " in needed
    root = tmp_path / "system"
    (root / "var/lib/dpkg/updates").mkdir(parents=True)
    (root / "var/lib/dpkg/status").touch()
    run(
        "dpkg",
        f"--root={root}",
        "--force-depends",
        "--force-script-chrootless",
        "--log=/dev/null",
        "-i",
        package,
    )
    environment = {"CKPT_ROOT": str(tmp_path / "root"), "PATH": os.environ["PATH"]}
    program = root / "usr/bin/ckpt"
    assert run(program, "run", "--rm", "--", "echo", "hi", **environment) == "hi\n"
    run(program, "serve", "--stop", **environment)
    assert (root / "usr/share/bash-completion/completions/ckpt").stat().st_size > 100
    for name in ("ckpt.service", "ckpt.socket"):
        unit = (root / "usr/lib/systemd/system" / name).read_text()
        assert unit == (REPOSITORY / "packaging" / name).read_text()
    assert run("dpkg", f"--root={root}", "-l", "ckpt").splitlines()[-1].startswith("ii")
    run("dpkg", f"--root={root}", "--force-script-chrootless", "--log=/dev/null", "-r", "ckpt")
    assert not program.exists()
