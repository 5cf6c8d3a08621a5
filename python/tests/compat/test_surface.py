"""Every public name of the packages, read out of their wheels, is in the table and is what the table says."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import ckpt.compat.nitrobox as door

ROOT = Path(__file__).resolve().parents[3]
SURFACE = json.loads((Path(__file__).parent / "surface.json").read_text())
spec = importlib.util.spec_from_file_location("compat_table", ROOT / "python/tools/compat_table.py")
assert spec is not None and spec.loader is not None
compat_table = importlib.util.module_from_spec(spec)
spec.loader.exec_module(compat_table)

NAMES = [
    (package, module, name, facts)
    for package, modules in SURFACE.items()
    for module, names in modules.items()
    for name, facts in names.items()
    if compat_table.state(package.split()[0], module, name) == "there"
]
KINDS = {
    "positional": inspect.Parameter.POSITIONAL_OR_KEYWORD, "keyword": inspect.Parameter.KEYWORD_ONLY,
    "several": inspect.Parameter.VAR_POSITIONAL, "others": inspect.Parameter.VAR_KEYWORD,
}  # fmt: skip
# agentdocker-lite 0.0.5 calls it so; both are taken.
ALSO = {"criu_binary": "helper_binary"}
# agentdocker-lite 0.0.1 writes down what later versions make up.
MADE_UP = {"'/tmp/agentdocker_lite'", "'/tmp/agentdocker_lite_rootfs_cache'"}


def test_table_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "python/tools/compat_table.py"), "--check"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_most_is_there() -> None:
    assert len(NAMES) > 200
    assert set(SURFACE["nitrobox 0.1.0"][""]) <= set(dir(door))


def _signature(value: Any) -> dict[str, inspect.Parameter]:
    function = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
    found = dict(inspect.signature(function).parameters)
    for bound in ("self", "cls"):
        found.pop(bound, None)
    return found


@pytest.mark.parametrize(("package", "module", "name", "facts"), NAMES, ids=lambda value: str(value)[:40])
def test_name_has_their_form(package: str, module: str, name: str, facts: dict[str, Any]) -> None:
    value = compat_table.found(package.split()[0], module, name)
    if facts["kind"] == "property":
        assert isinstance(value, property)
    elif facts.get("default") in MADE_UP:
        assert getattr(door.SandboxConfig(), name.partition(".")[2])
    elif facts["kind"] == "field" and name.startswith("SandboxConfig."):
        _check_default(name.partition(".")[2], facts["default"])
    elif facts["kind"] in ("method", "function", "class") and facts["parameters"]:
        mine = _signature(value)
        for parameter, kind, default in facts["parameters"]:
            own = mine[ALSO.get(parameter, parameter)]
            assert own.kind == KINDS[kind], parameter
            given = inspect.Parameter.empty if not default else ast.literal_eval(default)
            assert own.default == given, parameter


def test_every_name_is_used_by_a_test_of_what_it_does() -> None:
    tests = [path for path in Path(__file__).parent.glob("test_*.py") if path != Path(__file__)]
    words = set(re.findall(r"\w+", "".join(path.read_text() for path in tests)))
    assert {name.rpartition(".")[2] for _, _, name, _ in NAMES} - words == set()


def _check_default(name: str, default: str) -> None:
    field = next(each for each in dataclasses.fields(door.SandboxConfig) if each.name == name)
    if default.startswith("field("):
        kind = default.partition("default_factory=")[2].rstrip(")")
        assert field.default_factory is {"dict": dict, "list": list}[kind]  # type: ignore[comparison-overlap]
    else:
        assert field.default == ast.literal_eval(default)
