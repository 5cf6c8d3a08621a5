"""Writes docs/compat-nitrobox.md: every public name of the packages whose names ckpt.compat.nitrobox has.

    compat_table.py [--check]

The names are those of tests/compat/surface.json, which peer_surface.py reads out of the wheels; what each is
here is looked up in the package itself.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "compat-nitrobox.md"
SURFACE = ROOT / "python" / "tests" / "compat" / "surface.json"
DOORS = {"nitrobox": "ckpt.compat.nitrobox", "agentdocker-lite": "ckpt.compat.agentdocker_lite"}
BEGIN = "<!-- The rest is written by python/tools/compat_table.py. -->\n"

MACHINERY = {
    "backends.rootful": "how theirs works",
    "backends.rootless": "how theirs works",
    "cli": "the command line is `ckpt`",
    "docker_api": "how theirs reaches Docker",
    "image.buildkit": "how theirs reaches BuildKit",
    "image.docker": "how theirs reaches Docker",
    "image.layers": "how theirs unpacks images",
    "image.registry": "how theirs fetches images",
    "image.store": "how theirs keeps images",
    "network": "how theirs starts pasta",
    "security": "how theirs builds filters",
    "storage": "how theirs mounts",
    "storage.overlay": "how theirs mounts",
    "storage.whiteout": "how theirs mounts",
}
NOT_HERE = {
    "Sandbox.CGROUP_PREALLOCATED": "ckpt makes its own cgroups",
    "rmtree_mapped": "how theirs removes files of mapped users",
}
"""Names of modules that are here, which are not."""
HERE = {"image.store": ("get_image_config", "ImageConfig")}
"""Names of modules that are not here, which are, in the module above them."""
WITH_A_VALUE = ("SandboxConfig.net_ns", "SandboxConfig.shared_userns", "SandboxConfig.vm_mode")
"""Fields whose values raise `NotImplementedError`."""


def found(package: str, module: str, name: str) -> Any:
    """The object of that name here. Raises `LookupError`."""
    first, _, rest = name.partition(".")
    if first in HERE.get(module, ()):
        module = module.rpartition(".")[0]
    try:
        value = getattr(importlib.import_module(f"{DOORS[package]}.{module}".rstrip(".")), first)
    except (ImportError, AttributeError):
        raise LookupError(f"{module}.{name}") from None
    if not rest:
        return value
    try:
        return inspect.getattr_static(value, rest)
    except AttributeError:
        if rest in value.__annotations__:
            return value.__annotations__[rest]
    raise LookupError(f"{module}.{name}")


def is_later(value: Any) -> bool:
    """Whether it raises `NotImplementedError` until a later version."""
    return getattr(value, "later", False) is True


def state(package: str, module: str, name: str) -> str:
    """What the table says of a name."""
    first = name.partition(".")[0]
    if module in MACHINERY and first not in HERE.get(module, ()):
        return f"not here: {MACHINERY[module]}"
    if name in NOT_HERE:
        return f"not here: {NOT_HERE[name]}"
    if is_later(found(package, module, first)):
        return "later: `NotImplementedError`"
    found(package, module, name)
    if name in WITH_A_VALUE:
        return "later: a value raises `NotImplementedError`"
    return "there"


def spelled(facts: dict[str, Any]) -> str:
    """Parameters or default of a name, as the newest package that has it writes them."""
    if "default" in facts:
        return f" = {facts['default']}" if facts["default"] else ""
    if facts["kind"] == "property" or "parameters" not in facts:
        return ""
    stars = {"several": "*", "others": "**"}
    words: list[str] = []
    for name, kind, default in facts["parameters"]:
        if kind == "keyword" and "*" not in words:
            words.append("*")
        words.append(stars.get(kind, "") + name + (f"={default}" if default else ""))
    return f"({', '.join(words)})"


def table() -> str:
    """The generated part of the page."""
    packages: dict[str, Any] = json.loads(SURFACE.read_text())
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for version, modules in packages.items():
        for module, names in modules.items():
            for name, facts in names.items():
                row = rows.setdefault((module, name), {"facts": facts, "in": []})
                row["in"].append(version)
    titles = [f"{version} |" for version in packages]
    lines: list[str] = []
    for module in sorted({module for module, _ in rows}):
        lines += ["", f"## `{module}`" if module else "## The package itself", ""]
        lines += [f"| name | {' '.join(titles)} here |", "|---|" + "---|" * len(titles) + "---|"]
        for (place, name), row in sorted(rows.items()):
            if place == module:
                has = " | ".join("yes" if version in row["in"] else "" for version in packages)
                text = (name + spelled(row["facts"])).replace("|", "\\|")
                lines.append(f"| `{text}` | {has} | {state(row['in'][0].split()[0], module, name)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Writes the page, or says that it is not what would be written."""
    sys.path.insert(0, str(ROOT / "python" / "src"))
    head = PAGE.read_text().partition(BEGIN)[0]
    text = head + BEGIN + table()
    if sys.argv[1:] == ["--check"]:
        if PAGE.read_text() != text:
            print("docs/compat-nitrobox.md is not what python/tools/compat_table.py writes", file=sys.stderr)
            return 1
        return 0
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
