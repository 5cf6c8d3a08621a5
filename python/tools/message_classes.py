"""Makes Python classes of the answers that docs/openapi.yaml describes."""

import keyword
import pathlib
import re
import textwrap
from typing import Any

import yaml

HEADER = '''# Generated from docs/openapi.yaml by scripts/generate-python; never edited.
"""What the server answers, one class a schema of the API.

Times are seconds since 1970 (float), durations milliseconds, sizes bytes unless a field says otherwise. A
field that an answer does not have is `None`, or empty where it is a list or a mapping.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from ._decoding import Message

__all__ = [
{names}
]
'''
SCALARS = {"string": "str", "integer": "int", "number": "float", "boolean": "bool"}


def module(openapi: pathlib.Path) -> str:
    """The module's text."""
    document = yaml.safe_load(openapi.read_text())
    schemas = document["components"]["schemas"]
    names = sorted(reachable(document, schemas) - {"Done", "ErrorEnvelope", "ExecResult"})
    parts = [HEADER.replace("{names}", "\n".join(f'    "{name}",' for name in names))]
    parts += [declaration(name, schemas[name]) for name in names]
    return "\n\n".join(parts)


def reachable(document: dict[str, Any], schemas: dict[str, Any]) -> set[str]:
    """The schemas that an answer has in it."""
    found: set[str] = set()

    def follow(node: Any) -> None:
        if isinstance(node, list):
            for item in node:
                follow(item)
        elif isinstance(node, dict):
            reference = node.get("$ref")
            if isinstance(reference, str):
                name = reference.rsplit("/", 1)[1]
                if "/schemas/" in reference:
                    if name in found:
                        return
                    found.add(name)
                    follow(schemas[name])
                elif "/responses/" in reference:
                    follow(document["components"]["responses"][name])
            else:
                for value in node.values():
                    follow(value)

    for path in document["paths"].values():
        for operation in path.values():
            if isinstance(operation, dict):
                follow(operation.get("responses", {}).get("200", {}))
    # A stream of JSON lines has no schema in OpenAPI's words.
    follow({"$ref": "#/components/schemas/Event"})
    return found


def declaration(name: str, schema: dict[str, Any]) -> str:
    """One class."""
    lines = ["@dataclass(frozen=True, slots=True, kw_only=True)", f"class {name}(Message):"]
    lines += docstring(schema.get("description") or f"`{name}` of the API.")
    fields = schema.get("properties", {})
    required = schema.get("required", [])
    aliases = {snake(key): key for key in fields if camel(snake(key)) != key}
    if aliases:
        lines += ["", f"    JSON_NAMES = {aliases!r}".replace("'", '"')]
        lines[-1] = wrapped_mapping(aliases)
    for key in sorted(fields, key=lambda key: key not in required):
        lines += ["", *member(key, fields[key], key in required)]
    return "\n".join(lines) + "\n"


def wrapped_mapping(aliases: dict[str, str]) -> str:
    """The class variable that names the fields whose spelling cannot be derived."""
    lines = ["    JSON_NAMES = {"]
    lines += [f'        "{key}": "{value}",' for key, value in aliases.items()]
    return "\n".join([*lines, "    }"])


def member(key: str, schema: dict[str, Any], required: bool) -> list[str]:
    """One field with its description."""
    name = snake(key)
    kind = annotation(schema)
    if required:
        line = f"    {name}: {kind}"
    elif kind.startswith("list["):
        line = f"    {name}: {kind} = field(default_factory=list)"
    elif kind.startswith("dict["):
        line = f"    {name}: {kind} = field(default_factory=dict)"
    else:
        line = f"    {name}: {kind} | None = None"
    if len(line) > 110:
        line = line.replace("Literal[", "Literal[\n        ").replace("] | None", "\n    ] | None")
        if line.endswith("]"):
            line = line[:-1] + "\n    ]"
        line = "\n".join(
            textwrap.fill(part, 104, subsequent_indent=" " * 8) if part.startswith(" " * 8) else part
            for part in line.split("\n")
        )
    description = schema.get("description")
    return [line] + (docstring(description) if description else [])


def annotation(schema: dict[str, Any]) -> str:
    """The Python type of a schema."""
    if "$ref" in schema:
        return str(schema["$ref"].rsplit("/", 1)[1])
    if "enum" in schema:
        return "Literal[" + ", ".join(f'"{value}"' for value in schema["enum"]) + "]"
    kind = schema.get("type")
    if kind == "array":
        return f"list[{annotation(schema['items'])}]"
    if kind == "object":
        values = schema.get("additionalProperties")
        return f"dict[str, {annotation(values) if isinstance(values, dict) else 'Any'}]"
    return SCALARS.get(kind or "", "Any")


def docstring(text: str) -> list[str]:
    """A docstring, indented for a class body."""
    text = " ".join(text.split())
    text = text[0].upper() + text[1:]
    if not text.endswith((".", ":", "`")):
        text += "."
    if len(text) <= 98:
        return [f'    """{text}"""']
    return textwrap.wrap(
        f'"""{text}"""', 106, initial_indent="    ", subsequent_indent="    ", break_long_words=False
    )


def snake(name: str) -> str:
    """`cpuPercent` as `cpu_percent`, `effectiveUID` as `effective_uid`."""
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    return text + "_" if keyword.iskeyword(text) else text


def camel(name: str) -> str:
    """What `ckpt._decoding` takes a field to be called in JSON."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
