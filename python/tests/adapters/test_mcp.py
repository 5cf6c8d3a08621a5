"""The MCP server, with the protocol's own client: over stdio as clients start it, and in one process."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from mcp import Client, StdioServerParameters, stdio_client

import ckpt
from ckpt.adapters.mcp import SandboxTools

pytestmark = pytest.mark.anyio


async def call(client: Client, tool: str, **arguments: Any) -> Any:
    answer = await client.call_tool(tool, arguments)
    text = answer.content[0].text if answer.content else ""
    assert not answer.is_error, text
    content = answer.structured_content
    return content["result"] if content and set(content) == {"result"} else content


async def refused(client: Client, tool: str, **arguments: Any) -> str:
    answer = await client.call_tool(tool, arguments)
    assert answer.is_error
    return str(answer.content[0].text)


async def test_a_client_that_starts_the_server_saves_restores_and_forks() -> None:
    import os

    parameters = StdioServerParameters(
        command=sys.executable,
        args=["-m", "ckpt.adapters.mcp", "--memory", "1g"],
        env=dict(os.environ),
    )
    async with Client(stdio_client(parameters)) as client:
        tools = {tool.name for tool in (await client.list_tools()).tools}
        assert tools == {
            "create", "list_sandboxes", "exec", "read_file", "write_file", "list_files", "save", "restore",
            "fork", "reset", "tree", "diff", "remove",
        }  # fmt: skip
        done = await call(client, "exec", command="n=1; echo hello; echo err >&2; (exit 3)", session="main")
        assert (done["stdout"], done["stderr"], done["exit_code"]) == ("hello\n", "err\n", 3)
        await call(client, "write_file", path="/root/a/b.txt", content="one\ntwo\n")
        assert await call(client, "read_file", path="/root/a/b.txt", offset=4) == "two\n"
        assert [each["name"] for each in await call(client, "list_files", path="/root/a")] == ["b.txt"]

        saved = await call(client, "save", tag="before", message="all is well")
        await call(client, "exec", command="n=2; rm -rf /root/a", session="main")
        after = await call(client, "save")
        assert after["parent"] == saved["id"]
        changed = await call(client, "diff", before="before", after=after["id"])
        assert any(file["path"] == "/root/a/b.txt" for file in changed["files"])
        await call(client, "restore", snapshot="before")
        assert (await call(client, "exec", command="echo $n; cat /root/a/b.txt", session="main"))[
            "stdout"
        ] == "1\none\ntwo\n"

        forks = await call(client, "fork", snapshot="before", count=2)
        for number, fork in enumerate(forks):
            step = f"n=$((n + {number})); echo $n"
            done = await call(client, "exec", command=step, session="main", sandbox=fork["name"])
            assert done["stdout"] == f"{1 + number}\n"
        assert [each["id"] for each in await call(client, "tree")] == [saved["id"], after["id"]]
        assert len(await call(client, "list_sandboxes")) == 3
        await call(client, "remove", sandbox=forks[0]["name"])
        assert len(await call(client, "list_sandboxes")) == 2
        assert ckpt.Sandbox(forks[1]["name"]).info().spec.limits.memory == 1 << 30
        late = await call(client, "exec", command="sleep 60", timeout=0.2)
        assert late["timed_out"]
    assert ckpt.Sandbox.list() == [], "the server left sandboxes behind"
    ckpt.Tree().delete("before", subtree=True)


async def test_a_client_touches_only_what_is_its_own() -> None:
    with ckpt.Sandbox.create() as mine, ckpt.Sandbox.create() as lent:
        kept = mine.save(tag="private")
        async with SandboxTools(sandboxes=[lent.name]) as tools, Client(tools.server) as client:
            assert [each["name"] for each in await call(client, "list_sandboxes")] == [lent.name]
            assert "no sandbox" in await refused(client, "exec", command="true", sandbox=mine.name)
            assert "no sandbox" in await refused(client, "remove", sandbox=mine.name)
            assert "no snapshot" in await refused(client, "restore", snapshot="private")
            assert "no snapshot" in await refused(client, "fork", snapshot=kept.id)
            assert await call(client, "tree") == []
            # What is not told is the one that was lent.
            assert (await call(client, "exec", command="hostname"))["stdout"] == f"{lent.name}\n"
            made = await call(client, "create", name="ours")
            assert made == {"name": "ours", "state": "running", "snapshot": None}
            assert "ours" in await refused(client, "create", name="ours")
        assert {each.name for each in ckpt.Sandbox.list()} == {mine.name, lent.name}
    kept.delete()


async def test_errors_reach_the_model_with_their_hint() -> None:
    async with SandboxTools() as tools, Client(tools.server) as client:
        assert "/root/none" in await refused(client, "read_file", path="/root/none")
        assert "none" in await refused(client, "restore", snapshot="none")
        await call(client, "reset", sandbox=(await call(client, "list_sandboxes"))[0]["name"])
        assert "greater than 0" in await refused(client, "exec", command="true", timeout=0)
