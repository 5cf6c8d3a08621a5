"""Reads the public names of other packages out of their wheels, without running them.

    peer_surface.py WHEEL… > python/tests/compat/surface.json

For each module whose name has no underscore in front: classes with their methods, properties and fields, and
functions with their parameters.
"""

from __future__ import annotations

import ast
import json
import sys
import zipfile
from typing import Any

Names = dict[str, dict[str, Any]]


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef, *, bound: bool) -> list[list[str]]:
    """Name, kind and default of each parameter; `self` and `cls` are left out."""
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    found = [
        [each.arg, "positional", ast.unparse(value) if value else ""]
        for each, value in zip(positional, defaults, strict=True)
    ]
    if bound:
        found = found[1:]
    if arguments.vararg:
        found.append([arguments.vararg.arg, "several", ""])
    found += [
        [each.arg, "keyword", ast.unparse(value) if value else ""]
        for each, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]
    if arguments.kwarg:
        found.append([arguments.kwarg.arg, "others", ""])
    return found


def decorators(node: Any) -> set[str]:
    """The names of its decorators."""
    return {ast.unparse(each).partition("(")[0] for each in node.decorator_list}


def members(node: ast.ClassDef, prefix: str) -> Names:
    """The public members of a class."""
    found: Names = {}
    for each in node.body:
        if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef)):
            marks = decorators(each)
            if each.name == "__init__":
                found[prefix] = {"kind": "class", "parameters": parameters(each, bound=True)}
            elif not each.name.startswith("_"):
                kind = "property" if "property" in marks else "method"
                bound = "staticmethod" not in marks
                found[f"{prefix}.{each.name}"] = {"kind": kind, "parameters": parameters(each, bound=bound)}
        elif isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
            if not each.target.id.startswith("_"):
                default = ast.unparse(each.value) if each.value else ""
                found[f"{prefix}.{each.target.id}"] = {"kind": "field", "default": default}
        elif isinstance(each, ast.Assign) and ast.unparse(each.targets[0])[0] != "_":
            found[f"{prefix}.{ast.unparse(each.targets[0])}"] = {
                "kind": "field",
                "default": ast.unparse(each.value),
            }
    return found


def surface(source: str) -> Names:
    """The public names that a module defines."""
    found: Names = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            found[node.name] = {"kind": "class", "parameters": []}
            found |= members(node, node.name)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not node.name.startswith("_"):
            found[node.name] = {"kind": "function", "parameters": parameters(node, bound=False)}
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name) and target.id == "__all__" and node.value is not None:
                for name in ast.literal_eval(node.value):
                    found.setdefault(name, {"kind": "exported"})
            elif isinstance(target, ast.Name) and not target.id.startswith("_") and target.id != "logger":
                found[target.id] = {"kind": "constant"}
    return found


def of_private_modules(source: str, package: str, sources: dict[str, str]) -> Names:
    """The public names that a module takes from private ones, as `from nitrobox.compose._project …`."""
    found: Names = {}
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.ImportFrom) or node.module is None or node.col_offset:
            continue
        owner = sources.get(node.module.removeprefix(f"{package}."))
        if owner is not None and node.module.rpartition(".")[2].startswith("_"):
            wanted = {alias.name for alias in node.names}
            names = surface(owner)
            found |= {name: facts for name, facts in names.items() if name.partition(".")[0] in wanted}
    return found


def modules_of(path: str) -> dict[str, Names]:
    """The surface of each public module of a wheel that has one."""
    sources: dict[str, str] = {}
    packages: set[str] = set()
    with zipfile.ZipFile(path) as wheel:
        for entry in sorted(wheel.namelist()):
            if entry.endswith(".py"):
                parts = entry.removesuffix(".py").removesuffix("/__init__").split("/")
                package = parts[0]
                if entry.endswith("/__init__.py"):
                    packages.add(".".join(parts[1:]))
                sources[".".join(parts[1:])] = wheel.read(entry).decode()
    found: dict[str, Names] = {}
    for module, source in sources.items():
        if any(part.startswith("_") for part in module.split(".")):
            continue
        names = surface(source)
        if module in packages and module:
            names |= of_private_modules(source, package, sources)
        if names:
            found[module] = names
    return found


def main() -> None:
    """Prints the surface of every wheel that is named, a line for each name."""
    packages: list[str] = []
    for path in sys.argv[1:]:
        name, version = path.rpartition("/")[2].split("-")[:2]
        modules = [
            f"  {json.dumps(module)}: {{\n"
            + ",\n".join(
                f"   {json.dumps(each)}: {json.dumps(facts)}" for each, facts in sorted(names.items())
            )
            + "\n  }"
            for module, names in modules_of(path).items()
        ]
        title = f"{name.replace('_', '-')} {version}"
        packages.append(f" {json.dumps(title)}: {{\n" + ",\n".join(modules) + "\n }")
    sys.stdout.write("{\n" + ",\n".join(packages) + "\n}\n")


if __name__ == "__main__":
    main()
