"""A backend for Deep Agents, with the names of `deepagents_sandbox`, whose sandbox an agent can roll back.

from ckpt.adapters.deepagents import Sandbox

with Sandbox() as backend:
    agent = create_deep_agent(model=…, backend=backend, tools=backend.tools())
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from deepagents.backends.protocol import ExecuteResponse, FileDownloadResponse, FileUploadResponse
from deepagents.backends.sandbox import BaseSandbox
from deepagents.backends.utils import validate_path
from langchain_core.tools import BaseTool, StructuredTool, ToolException

import ckpt

from ._deepagents_native import TMP, WORKSPACE, NativeSandbox, SandboxConfig

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["NativeSandbox", "Sandbox", "SandboxConfig"]
T = TypeVar("T")


class Sandbox(BaseSandbox):
    """A backend whose files and commands are in a sandbox: /workspace and /tmp belong to the agent.

    Files elsewhere can be read by commands only, as far as an ordinary user may. When the sandbox itself
    dies, `ckpt.SandboxDied` ends the run: it is no output an agent should go on with.
    """

    enable_capture_offload = False

    def __init__(self, config: SandboxConfig | None = None, default_timeout: int | None = None) -> None:
        """Makes the sandbox. `default_timeout`: seconds of a command, instead of `config.timeout_seconds`."""
        self._default_timeout = default_timeout
        # Connections belong to an event loop, so this one has a client of its own.
        self._client = ckpt.AsyncClient()
        self._native = NativeSandbox(config, client=self._client)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ckpt-deepagents", daemon=True)
        self._thread.start()
        self._closed = False
        self._snapshots: dict[str, ckpt.AsyncSnapshot] = {}
        try:
            self._run(self._native.__aenter__())
        except BaseException:
            self._end()
            raise
        atexit.register(self.close)

    @property
    def id(self) -> str:
        """The sandbox's name in ckpt."""
        return self._native.id

    @property
    def sandbox(self) -> ckpt.Sandbox:
        """The sandbox itself."""
        return ckpt.Sandbox(self.id)

    def execute(self, command: str, *, timeout: int | None = None) -> ExecuteResponse:
        """Runs a command in /workspace; exit code -1 where it ran out of time."""
        done = self._run(self._native.execute(command, self._default_timeout if timeout is None else timeout))
        between = "\n" if done.stdout and done.stderr else ""
        return ExecuteResponse(done.stdout + between + done.stderr, done.exit_code, done.truncated)

    def upload_files(self, files: list[tuple[str, bytes]]) -> list[FileUploadResponse]:
        """Writes files below /workspace and /tmp."""
        responses = []
        for path, content in files:
            place, error = self._place(path)
            if error is None:
                error, _ = self._run(self._native.transfer(place, content))
            responses.append(FileUploadResponse(path=place, error=error))
        return responses

    def download_files(self, paths: list[str]) -> list[FileDownloadResponse]:
        """Reads files below /workspace and /tmp."""
        responses = []
        for path in paths:
            place, error = self._place(path)
            content = None
            if error is None:
                error, content = self._run(self._native.transfer(place, None))
            responses.append(FileDownloadResponse(path=place, content=content, error=error))
        return responses

    # Snapshots

    def checkpoint(self, message: str | None = None) -> str:
        """Saves files, memory and processes of this instant, and returns the snapshot's id.

        Raises `ckpt.CannotSave` with the process that stands in the way.
        """
        snapshot = self._run(self._native.sandbox.save(message=message))
        self._snapshots[snapshot.id] = snapshot
        return snapshot.id

    def rollback(self, snapshot: str | None = None) -> str:
        """Rolls the sandbox back to a checkpoint of its own, the last one when missing, and returns its id.

        Raises `ckpt.SnapshotNotFound` for any other.
        """
        if not self._snapshots:
            raise ckpt.SnapshotNotFound("there is no checkpoint yet", hint="make one with checkpoint")
        found = next(reversed(self._snapshots)) if snapshot is None else snapshot
        if found not in self._snapshots:
            known = ", ".join(self._snapshots)
            raise ckpt.SnapshotNotFound(f"{found} is no checkpoint of this sandbox", hint=f"one of {known}")
        self._run(self._native.sandbox.restore(found))
        return found

    def tools(self) -> list[BaseTool]:
        """`checkpoint` and `rollback` as tools of an agent."""

        def checkpoint(message: Annotated[str, "What is so at this point, in a line."] = "") -> str:
            """Save the whole sandbox: files, memory, running processes. Do so before what is risky."""
            return f"checkpoint {self.checkpoint(message or None)}"

        def rollback(checkpoint: Annotated[str, "Its id; the last one when empty."] = "") -> str:
            """Undo all that happened in the sandbox since a checkpoint, in files and in processes."""
            return f"rolled back to checkpoint {self.rollback(checkpoint or None)}"

        return [_tool(checkpoint), _tool(rollback)]

    # Its end

    def close(self) -> None:
        """Removes the sandbox; its snapshots stay."""
        if not self._closed:
            atexit.unregister(self.close)
            try:
                self._run(self._native.__aexit__(None, None, None))
            finally:
                self._end()

    async def aclose(self) -> None:
        """As `close`."""
        await asyncio.to_thread(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if self._closed:
            work.close()
            raise RuntimeError("Sandbox is closed")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _end(self) -> None:
        self._closed = True
        asyncio.run_coroutine_threadsafe(self._disconnect(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _disconnect(self) -> None:
        self._client.close()
        # A transport gives its socket back in a later round of the loop.
        await asyncio.sleep(0.001)

    def _place(self, path: str) -> tuple[str, str | None]:
        """A path as it is, or the code of what is wrong with it."""
        if not path.startswith("/") or "\0" in path:
            return path, "invalid_path"
        try:
            place = validate_path(path)
        except ValueError:
            return path, "invalid_path"
        if place in (WORKSPACE, TMP):
            return place, "is_directory"
        inside = place.startswith((f"{WORKSPACE}/", f"{TMP}/"))
        return place, None if inside else "permission_denied"


def _tool(function: Any) -> BaseTool:
    """A function as a tool, whose errors of ckpt the agent is told."""

    def told(**arguments: Any) -> str:
        try:
            return str(function(**arguments))
        except (ckpt.CannotSave, ckpt.SnapshotNotFound, ckpt.NoSpace) as error:
            raise ToolException(str(error)) from error

    schema = StructuredTool.from_function(function)
    return StructuredTool(
        name=schema.name,
        description=schema.description,
        args_schema=schema.args_schema,
        func=told,
        handle_tool_error=True,
    )
