"""Gathers what ckpt needs to run on a machine that has none of it: programs and libraries."""

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

# What belongs to glibc comes from the machine; a wheel's tag says which version it needs (PEP 600).
OF_GLIBC = re.compile(r"^(ld-linux.*|lib(c|m|dl|rt|pthread|resolv|util|nsl|anl))\.so")
ROOT = Path(__file__).resolve().parent.parent.parent


class Missing(Exception):
    """Something that must be built first."""


def binary() -> Path:
    """The ckpt to carry: `CKPT_BIN`, else the release build, which is made where it is missing."""
    named = os.environ.get("CKPT_BIN")
    if named:
        if not os.access(named, os.X_OK):
            raise Missing(f"CKPT_BIN names {named}, which is not a program")
        return Path(named).resolve()
    built = ROOT / ".build" / "release" / "ckpt"
    if not built.exists():
        setup = ROOT / "scripts" / "setup"
        if not setup.exists():
            raise Missing(f"there is no ckpt to carry: set CKPT_BIN, or build it in {ROOT}")
        if subprocess.run([setup], check=False).returncode != 0 or not built.exists():
            raise Missing(f"there is no ckpt to carry, and {setup} could not build one")
    return built.resolve()


def companions(program: Path) -> list[Path]:
    """ckpt-init and CRIU, where the program itself looks for them."""
    found = []
    for name in ("ckpt-init", "criu"):
        places = [program.parent / above / "libexec" / "ckpt" / name for above in ("..", ".", "../..")]
        place = next((each for each in places if each.exists()), None)
        if place is None:
            raise Missing(f"{name} is not beside {program}: run scripts/setup")
        found.append(place.resolve())
    return found


def libraries(program: Path) -> list[tuple[str, Path]]:
    """The shared libraries that it loads but for glibc's, by name."""
    listed = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    found = []
    for name, path in re.findall(r"^\s+(\S+) => (\S+|not found)", listed, re.MULTILINE):
        if path == "not":
            raise Missing(f"{program} needs {name}, which is not on this machine")
        if not OF_GLIBC.match(name):
            found.append((name, Path(path).resolve()))
    return found


def linked_in() -> list[str]:
    """The Debian packages whose libraries a release build has inside, after the package's own list."""
    manifest = (ROOT / "Package.swift").read_text()
    return sorted(set(re.findall(r'"(lib[a-z0-9.+-]+-dev)"', manifest)))


def gather(program: Path, into: Path, *, program_in: str, libexec_in: str, libraries_in: str) -> None:
    """Puts everything below `into`; the programs find each other by relative paths alone."""
    home, shared = into / program_in, into / libraries_in
    for directory in (home, shared, into / libexec_in):
        directory.mkdir(parents=True, exist_ok=True)
    own = home / "ckpt"
    shutil.copy(program, own)
    subprocess.run(["strip", "--strip-unneeded", own], check=True)
    relative = os.path.relpath(shared, home)
    _patch("--set-rpath", f"$ORIGIN/{relative}", "--force-rpath", own)
    for name, path in libraries(program):
        shutil.copy(path, shared / name)
        (shared / name).chmod(0o755)
        _patch("--set-rpath", "$ORIGIN", "--force-rpath", shared / name)
        _license(path, into / "licenses" / name)
    for path in companions(program):
        shutil.copy(path, into / libexec_in / path.name)
        (into / libexec_in / path.name).chmod(0o755)
    for package in linked_in():
        _copyright(package, into / "licenses" / package)
    shutil.copy(ROOT / "LICENSE", into / "licenses" / "ckpt")
    (into / "licenses" / "criu").write_text(
        "CRIU is free software under the GNU General Public License, version 2.\n"
        "Its source code is at https://github.com/checkpoint-restore/criu.\n"
    )


def _patch(*words: object) -> None:
    subprocess.run(["patchelf", *map(str, words)], check=True)


def _license(library: Path, to: Path) -> None:
    """The copyright file of the Debian package that a library is from, where there is one."""
    for path in (library, Path(str(library).removeprefix("/usr"))):
        asked = subprocess.run(["dpkg", "-S", path], check=False, capture_output=True, text=True)
        if asked.returncode == 0:
            _copyright(asked.stdout.partition(":")[0], to)
            return
    _copyright("", to)


def _copyright(package: str, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    text = Path("/usr/share/doc") / package / "copyright"
    if package and text.exists():
        shutil.copy(text, to)
    else:
        to.write_text(f"{to.name}: see the distribution it is from.\n")


def tag() -> str:
    """The wheel's platform: this machine's glibc is the oldest that the program is known to run with."""
    _, version = platform.libc_ver()
    return f"manylinux_{version.replace('.', '_')}_{platform.machine()}"
