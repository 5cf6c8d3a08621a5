"""The two doors are the same, and all of the API's options are there."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import ckpt
from ckpt import options

REPOSITORY = Path(__file__).parents[2]
TWINS = [name.removeprefix("Async") for name in ckpt.__all__ if name.startswith("Async")]


def public(cls: type) -> dict[str, object]:
    """Its own and inherited names, of what ckpt wrote."""
    found = {}
    for name in dir(cls):
        if not name.startswith("_") or name in ("__enter__", "__exit__", "__iter__", "__next__"):
            found[name] = inspect.getattr_static(cls, name)
    return found


@pytest.mark.parametrize("name", TWINS)
def test_the_doors_have_the_same_names_and_parameters(name: str) -> None:
    blocking, asynchronous = getattr(ckpt, name), getattr(ckpt, f"Async{name}")
    ours, theirs = public(blocking), public(asynchronous)
    assert {each for each in ours if not each.startswith("_")} == {
        each for each in theirs if not each.startswith("_")
    }
    for each in ours:
        member, twin = getattr(blocking, each), getattr(asynchronous, each, None)
        if callable(member) and not each.startswith("_"):
            assert list(inspect.signature(member).parameters) == list(inspect.signature(twin).parameters), (
                each
            )
        assert each.startswith("_") or inspect.getdoc(member), f"{name}.{each} says nothing about itself"


def test_every_public_name_is_described() -> None:
    for name in ckpt.__all__:
        if inspect.isclass(getattr(ckpt, name)):
            assert getattr(ckpt, name).__doc__, name


def test_every_option_of_the_api_is_there() -> None:
    schemas = yaml.safe_load((REPOSITORY / "docs" / "openapi.yaml").read_text())["components"]["schemas"]
    expected = set(schemas["SandboxSpec"]["properties"]) - {"base", "limits", "security"}
    limits, security = (
        set(schemas["ResourceLimits"]["properties"]),
        set(schemas["SecurityOptions"]["properties"]),
    )
    camel = {options._camel(name) for name in options.SandboxOptions.__annotations__}
    assert camel == expected | limits | security
    assert {options._camel(name) for name in options.LIMITS} == limits
    assert {options._camel(name) for name in options.SECURITY} == security


def test_what_is_generated_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, REPOSITORY / "scripts" / "generate-python", "--check"],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()


def test_the_package_has_the_version_of_the_program() -> None:
    assert ckpt.Client.default().version().version == ckpt.__version__


def test_nothing_but_the_standard_library_is_imported() -> None:
    script = (
        "import sys, ckpt; print({name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", script], capture_output=True, check=True, text=True,
        env={"PYTHONPATH": str(Path(ckpt.__file__).parents[1])},
    )  # fmt: skip
    assert set(eval(done.stdout)) <= {"ckpt", "__main__"}
