"""A server of the Model Context Protocol: sandboxes, with save, restore and fork, as tools of any client.

    python -m ckpt.adapters.mcp --memory 2g

A client may touch the sandboxes that it made, and those that `--sandbox` names; which base and which options
they have is the command line's to say, not the model's. Sandboxes made here end with the server, unless
`--keep`; snapshots stay.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import signal
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

import ckpt

from ._mcp_answers import CommandOutput, FileState, SandboxState, SnapshotState, snapshot_state

Name = Annotated[str | None, Field(description="The sandbox; the first one, made at need, when missing.")]
Reference = Annotated[str, Field(description="A snapshot: its id, a beginning of it, a tag, or one with ~N.")]
OUTPUT = 100_000
"""Bytes of each stream that a command's answer holds, when not said."""
INSTRUCTIONS = """\
Linux sandboxes that can be saved, rolled back and branched as a whole: files, memory, running processes.
Save before what is risky and restore when it went wrong. Fork to try several ways from one instant.
Commands of the same session share one bash, whose directory and variables stay; others are each a fresh
process."""


class SandboxTools:
    """The tools over one server of ckpt, and the sandboxes that they made.

    async with SandboxTools(options={"memory": "2g"}) as tools:
        await tools.server.run_stdio_async()
    """

    def __init__(
        self,
        base: str = "host",
        *,
        options: Mapping[str, Any] | None = None,
        sandboxes: Sequence[str] = (),
        keep: bool = False,
        client: ckpt.AsyncClient | None = None,
    ) -> None:
        """`base` and `options` are what every new sandbox is made of; `sandboxes` may be used besides.

        `keep`: what was made stays when the tools are closed.
        """
        self._base = base
        self._options = dict(options or {})
        self._keep = keep
        self._client = client
        self._made: set[str] = set()
        self._allowed: list[str] = list(sandboxes)
        self._snapshots: set[str] = set()
        self._first = asyncio.Lock()
        self.server = MCPServer("ckpt", instructions=INSTRUCTIONS, version=ckpt.__version__)
        """The server, to be run over any transport."""
        for tool in (
            self.create, self.list_sandboxes, self.exec, self.read_file, self.write_file, self.list_files,
            self.save, self.restore, self.fork, self.reset, self.tree, self.diff, self.remove,
        ):  # fmt: skip
            self.server.add_tool(tool)

    async def __aenter__(self) -> SandboxTools:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Removes the sandboxes that were made, unless they are to stay."""
        made, self._made = self._made, set()
        for name in () if self._keep else made:
            await ckpt.AsyncSandbox(name, self._client).remove()

    # Sandboxes

    async def create(
        self, name: Annotated[str | None, Field(description="Made up when missing.")] = None
    ) -> SandboxState:
        """Make a new sandbox from the base."""
        with _told():
            sandbox = await ckpt.AsyncSandbox.create(self._base, name, client=self._client, **self._options)
            self._own(sandbox)
            return await self._state(sandbox)

    async def list_sandboxes(self) -> list[SandboxState]:
        """List the sandboxes that can be used here."""
        with _told():
            known = await ckpt.AsyncSandbox.list(client=self._client)
        return [
            SandboxState(name=each.name, state=each.state, snapshot=each.snapshot)
            for each in known
            if each.name in self._allowed
        ]

    async def remove(self, sandbox: str) -> str:
        """End a sandbox and remove its files. Its snapshots stay."""
        with _told():
            await (await self._sandbox(sandbox)).remove()
        self._allowed.remove(sandbox)
        self._made.discard(sandbox)
        return f"{sandbox} is removed"

    # Commands and files

    async def exec(
        self,
        command: Annotated[str, Field(description="Text for bash.")],
        sandbox: Name = None,
        session: Annotated[str | None, Field(description="A bash that stays, by a name of yours.")] = None,
        cwd: Annotated[
            str | None, Field(description="Where it starts; a session goes there and stays.")
        ] = None,
        timeout: Annotated[float, Field(description="Seconds until it is killed.", gt=0, le=3600)] = 120,
        stdin: str | None = None,
        max_output: Annotated[int, Field(gt=0, le=1 << 20)] = OUTPUT,
    ) -> CommandOutput:
        """Run a command in a sandbox and wait for its end."""
        with _told():
            done = await (await self._sandbox(sandbox)).exec(
                command, session=session, cwd=cwd, timeout=timeout, stdin=stdin, max_output=max_output
            )
        return CommandOutput(
            stdout=done.stdout,
            stderr=done.stderr,
            exit_code=done.exit_code,
            timed_out=done.timed_out,
            oom_killed=done.oom_killed,
            truncated=done.truncated,
        )

    async def read_file(
        self,
        path: Annotated[str, Field(description="An absolute path.")],
        sandbox: Name = None,
        offset: Annotated[int, Field(description="Bytes to pass over.", ge=0)] = 0,
        limit: Annotated[int, Field(description="Bytes at most.", gt=0, le=1 << 20)] = OUTPUT,
    ) -> str:
        """Read a text file of a sandbox."""
        with _told():
            data = await (await self._sandbox(sandbox)).files.read(path, offset=offset, limit=limit)
        return data.decode(errors="replace")

    async def write_file(
        self,
        path: Annotated[str, Field(description="An absolute path; missing directories are made.")],
        content: str,
        sandbox: Name = None,
        append: bool = False,
    ) -> str:
        """Write a text file in a sandbox."""
        with _told():
            files = (await self._sandbox(sandbox)).files
            info = await files.write(path, content, parents=True, append=append)
        return f"{path} has {info.size} bytes"

    async def list_files(self, path: str, sandbox: Name = None) -> list[FileState]:
        """List a directory of a sandbox."""
        with _told():
            entries = await (await self._sandbox(sandbox)).files.list(path)
        return [FileState(name=each.name or "", kind=each.kind, size=each.size) for each in entries]

    # Snapshots

    async def save(
        self,
        sandbox: Name = None,
        tag: Annotated[str | None, Field(description="A name for the snapshot.")] = None,
        message: str | None = None,
    ) -> SnapshotState:
        """Save a sandbox as it is: files, memory and processes of one instant. It goes on running."""
        with _told():
            snapshot = await (await self._sandbox(sandbox)).save(tag, message)
        self._snapshots.add(snapshot.id)
        return snapshot_state(snapshot)

    async def restore(self, snapshot: Reference, sandbox: Name = None) -> SandboxState:
        """Roll a sandbox back to a snapshot. What it did since is undone, its processes too."""
        with _told():
            rolled = await self._sandbox(sandbox)
            await rolled.restore(await self._snapshot(snapshot))
            return await self._state(rolled)

    async def fork(
        self, snapshot: Reference, count: Annotated[int, Field(ge=1, le=100)] = 1
    ) -> list[SandboxState]:
        """Start new sandboxes that go on from a snapshot, each its own way."""
        with _told():
            forks = await (await self._snapshot(snapshot)).fork(count)
            for fork in forks:
                self._own(fork)
            return [await self._state(fork) for fork in forks]

    async def reset(self, sandbox: str) -> SandboxState:
        """Roll a sandbox back to its base: no processes, no changes."""
        with _told():
            rolled = await self._sandbox(sandbox)
            await rolled.reset()
            return await self._state(rolled)

    async def tree(self) -> list[SnapshotState]:
        """List the snapshots of the sandboxes that can be used here, oldest first, with their parents."""
        with _told():
            return [snapshot_state(each) for each in await self._visible()]

    async def diff(
        self, before: Reference, after: Reference, patch: bool = False
    ) -> Annotated[dict[str, Any], Field(description="Files, processes, descriptors and memory.")]:
        """Tell what is different in one snapshot from another; patch shows the text of files."""
        with _told():
            first = await self._snapshot(before)
            found = await first.diff(await self._snapshot(after), patch=patch)
        return dataclasses.asdict(found)

    # What may be touched

    async def _sandbox(self, name: str | None) -> ckpt.AsyncSandbox:
        if name is None:
            async with self._first:
                if not self._allowed:
                    await self.create()
                name = self._allowed[0]
        if name not in self._allowed:
            raise ToolError(f"there is no sandbox {name} here; `list_sandboxes` names those that are")
        return ckpt.AsyncSandbox(name, self._client)

    async def _snapshot(self, reference: str) -> ckpt.AsyncSnapshot:
        found = await ckpt.AsyncSnapshot.get(reference, client=self._client)
        if found.id not in {each.id for each in await self._visible()}:
            raise ToolError(f"there is no snapshot {reference} here; `tree` names those that are")
        return found

    async def _visible(self) -> list[ckpt.AsyncSnapshot]:
        """The snapshots saved here, those that usable sandboxes stand on, and the ancestors of both."""
        every = {each.id: each for each in await ckpt.AsyncTree(self._client).snapshots()}
        wanted = [
            each.id
            for each in every.values()
            if each.id in self._snapshots or set(each.info.standing) & set(self._allowed)
        ]
        found: set[str] = set()
        while wanted:
            here = wanted.pop()
            if here in every and here not in found:
                found.add(here)
                wanted += [parent] if (parent := every[here].parent_id) else []
        return [each for each in every.values() if each.id in found]

    def _own(self, sandbox: ckpt.AsyncSandbox) -> None:
        self._made.add(sandbox.name)
        self._allowed.append(sandbox.name)

    async def _state(self, sandbox: ckpt.AsyncSandbox) -> SandboxState:
        info = await sandbox.info()
        return SandboxState(name=info.name, state=info.state, snapshot=info.snapshot)


@contextlib.contextmanager
def _told() -> Any:
    """Errors of ckpt, as texts for the model with their hints."""
    try:
        yield
    except ckpt.CkptError as error:
        raise ToolError(str(error)) from error


Transport = Literal["stdio", "streamable-http"]


async def serve(tools: SandboxTools, transport: Transport = "stdio", port: int = 8000) -> None:
    """Serves until the client leaves, or the program is told to end, and cleans up."""
    task = asyncio.current_task()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel if task else lambda: None)
    async with tools:
        with contextlib.suppress(asyncio.CancelledError):
            if transport == "stdio":
                await tools.server.run_stdio_async()
            else:
                await tools.server.run_streamable_http_async(port=port)


def main(words: Sequence[str] | None = None) -> None:
    """The command line of `python -m ckpt.adapters.mcp`."""
    parser = argparse.ArgumentParser("ckpt.adapters.mcp", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--base", default="host", help="what sandboxes start from")
    parser.add_argument("--sandbox", action="append", default=[], help="one that may be used; repeatable")
    parser.add_argument("--keep", action="store_true", help="leave the sandboxes behind")
    parser.add_argument("--memory", help="memory of each sandbox, as 2g")
    parser.add_argument("--cpus", help="CPU time of each sandbox, as 1.5")
    parser.add_argument("--pids", type=int, help="processes of each sandbox")
    parser.add_argument("--net", choices=["none", "nat", "host"], help="its network; none when missing")
    parser.add_argument("--volume", action="append", default=[], help="HOST:BOX[:ro|rw|cow]; repeatable")
    parser.add_argument("--transport", choices=["stdio", "streamable-http"], default="stdio")
    parser.add_argument("--port", type=int, default=8000, help="of 127.0.0.1, for streamable-http")
    given = parser.parse_args(words)
    options = {"memory": given.memory, "cpus": given.cpus, "pids": given.pids, "net": given.net}
    options = {name: value for name, value in options.items() if value is not None}
    if given.volume:
        options["volumes"] = given.volume
    tools = SandboxTools(given.base, options=options, sandboxes=given.sandbox, keep=given.keep)
    asyncio.run(serve(tools, given.transport, given.port))


if __name__ == "__main__":
    main()
