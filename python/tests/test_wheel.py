"""The wheel carries all it needs."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import ckpt

PACKAGE = Path(__file__).parents[1]
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
libraries = open(f"/proc/{ckpt.Client().version().pid}/maps").read()
print(sorted({line.split()[-1] for line in libraries.splitlines() if ".so" in line}))
ckpt.Client().shutdown()
"""


def test_a_wheel_in_an_empty_environment(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "--wheel-dir", tmp_path, PACKAGE],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.startswith(f"ckpt-{ckpt.__version__}-py3-none-manylinux_2_")
    names = zipfile.ZipFile(wheel).namelist()
    for name in (
        "ckpt/py.typed",
        "ckpt/_bin/ckpt",
        "ckpt/_bin/libexec/ckpt/criu",
        "ckpt/_bin/libexec/ckpt/ckpt-init",
    ):
        assert name in names
    home = tmp_path / "environment"
    venv.create(home, with_pip=False)
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", home / "bin" / "python", "install", "--quiet",
         "--no-index", wheel],
        check=True, capture_output=True,
    )  # fmt: skip
    # PATH has no program at all.
    environment = {
        "CKPT_ROOT": str(tmp_path / "root"),
        "PATH": str(tmp_path / "nothing"),
        "HOME": os.environ["HOME"],
    }
    done = subprocess.run(
        [home / "bin" / "python", "-c", SCRIPT], env=environment, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    own = [name for name in eval(done.stdout) if "_bin/lib/" in name]
    assert any("libarchive" in name for name in own) and any("libcrypto" in name for name in own)
    others = [name for name in eval(done.stdout) if "_bin/lib/" not in name]
    assert all(
        name.rsplit("/", 1)[1].split(".so")[0].split("-")[0] in ("libc", "libm", "ld") for name in others
    )
    said = subprocess.run(
        [home / "bin" / "ckpt", "version"], env=environment, check=True, capture_output=True, text=True
    )
    assert said.stdout.startswith(f"ckpt {ckpt.__version__} ")
