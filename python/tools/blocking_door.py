"""Makes a module of the blocking door from its twin of the async door.

The words of coroutines go, `AsyncX` becomes `X`, and lines that end in `# async only` are dropped; in
comments and examples too. What really differs (sockets, locks, sleeping) is in `ckpt._io`.
"""

import pathlib
import re

HEADER = "# Generated from ../_async/{name} by scripts/generate-python; edit that one.\n"

RULES = [
    (re.compile(pattern), by)
    for pattern, by in [
        (r"\basync def\b", "def"),
        (r"\basync with\b", "with"),
        (r"\basync for\b", "for"),
        (r"\bawait ", ""),
        (r"\b__a(enter|exit|iter|next)__\b", r"__\1__"),
        (r"\bAsyncGenerator\[(\w+), None\]", r"Generator[\1, None, None]"),
        (r"\baclose\b", "close"),
        (r"\bStopAsyncIteration\b", "StopIteration"),
        (r"\bAsync([A-Z]\w*)", r"\1"),
        (r"\basyncio\.run\((.*)\)$", r"\1"),
        (r"\basynchronous\b", "blocking"),
        (r"\b_async\b", "_sync"),
    ]
]
DROPPED = re.compile(r"^.*# async only.*\n", re.MULTILINE)


def translated(source: pathlib.Path) -> str:
    """The text of the blocking twin of `source`."""
    text = DROPPED.sub("", source.read_text())
    for pattern, by in RULES:
        text = pattern.sub(by, text)
    return HEADER.format(name=source.name) + text
