"""A command that is followed while it runs."""

from __future__ import annotations

import collections
import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from .._io import asynchronous as io
from .._streams import Output
from .._wire import frames, http
from ..errors import Cancelled, InternalError, ServerUnavailable, WrongState, from_message
from ..results import Result
from .connections import LOSSES, PATIENCE

if TYPE_CHECKING:
    from typing_extensions import Self

    from .sandbox import AsyncSandbox


class AsyncExecStream:
    """What a command prints, as it prints it; see `AsyncSandbox.stream`.

    Iterating yields `Output`s until the command has ended; then there is `result`. It survives the server:
    when the connection breaks, it finds the command again, and no byte is lost or doubled. Leaving a `with`
    block detaches: the command runs on. Different threads or tasks may read and write at the same time.

        async with await sb.stream("python3 -i", stdin=True, tty=True) as stream:
            await stream.write(b"1 + 1\\n")
    """

    def __init__(
        self, sandbox: AsyncSandbox, request: dict[str, Any], command: str, *, follows: bool
    ) -> None:
        self._sandbox = sandbox
        self._request = request
        self._command = command
        self._stdin = frames.Stdin()
        self._stdin.closed = not request["interactive"]
        self._offsets = {"stdout": 0, "stderr": 0}
        self._unknown = {"stdout", "stderr"} if follows else set()
        self._connection: io.Connection | None = None
        self._decoder = frames.Decoder()
        self._outputs: collections.deque[Output] = collections.deque()
        self._turn = io.Condition()
        self._reads = False
        self._sending = io.Lock()
        self._result: Result | None = None
        self._detached = False
        self._losses = 0

    @property
    def id(self) -> str:
        """The command's id, by which another stream can follow it."""
        return str(self._request["id"])

    @property
    def result(self) -> Result:
        """How the command ended; its output is empty. Raises `WrongState` before the end."""
        if self._result is None:
            raise WrongState(f"command {self.id} runs, or was not followed to its end")
        return self._result

    @property
    def ended(self) -> bool:
        """Whether the command has ended and all it printed has arrived here."""
        return self._result is not None

    # Receiving

    async def read(self) -> Output | None:
        """Waits for the next piece of output; `None` when the command has ended and all was read.

        Raises `SandboxDied`, `Cancelled` after `detach`, and `ServerUnavailable` where no server can be
        found again.
        """
        while True:
            if self._outputs:
                return self._outputs.popleft()
            if self._result is not None:
                return None
            await self._pump(lambda: bool(self._outputs))

    async def wait(self) -> Result:
        """Waits for the end; what is printed until then and was not read is dropped."""
        while await self.read() is not None:
            pass
        return self.result

    async def collect(self) -> tuple[bytes, bytes]:
        """Waits for the end and returns what was not read yet of stdout and stderr."""
        collected: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
        async for output in self:
            collected[output.stream].append(output.data)
        return b"".join(collected["stdout"]), b"".join(collected["stderr"])

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Output:
        output = await self.read()
        if output is None:
            raise StopAsyncIteration
        return output

    async def _pump(self, is_enough: Callable[[], bool]) -> None:
        """Takes what the server says next.

        While another reader does, waits until that one has got something.
        """
        async with self._turn:
            if self._reads:
                await self._turn.wait()
                return
            if is_enough() or self._result is not None:
                return
            self._reads = True
        try:
            await self._receive()
        finally:
            async with self._turn:
                self._reads = False
                self._turn.notify_all()

    async def _receive(self) -> None:
        if self._detached or self._connection is None:
            raise Cancelled("the stream was left")
        try:
            data = await self._connection.receive()
        except OSError:
            data = b""
        if not data:
            await self._again()
            return
        self._losses = 0
        for kind, payload in self._decoder.feed(data):
            await self._obey(kind, payload)

    async def _obey(self, kind: int, payload: bytes) -> None:
        if kind in (frames.STDOUT, frames.STDERR):
            self._take("stdout" if kind == frames.STDOUT else "stderr", payload)
        elif kind == frames.STDIN_ACK:
            self._stdin.arrived(frames.offset_and_bytes(payload)[0])
        elif kind == frames.EXIT:
            self._result = Result(json.loads(payload), self._command)
            self._close()
        elif kind == frames.ERROR:
            self._close()
            raise await self._sandbox._explained(from_message(json.loads(payload)))
        elif kind == frames.STARTED:
            self._stdin.resume(json.loads(payload)["stdinOffset"])

    def _take(self, stream: Literal["stdout", "stderr"], payload: bytes) -> None:
        offset, data = frames.offset_and_bytes(payload)
        if stream in self._unknown:
            # Another stream has read the command's output until here.
            self._unknown.remove(stream)
            self._offsets[stream] = offset
        have = self._offsets[stream]
        if offset > have:
            raise InternalError(f"{offset - have} bytes of {stream} are missing at byte {have}")
        data = data[have - offset :]
        if data:
            self._offsets[stream] += len(data)
            self._outputs.append(Output(stream, data))

    # Sending

    async def write(self, data: bytes | str) -> None:
        """Gives the command more stdin; waits while 256 KiB are on their way.

        What the command prints meanwhile is kept for `read`. Raises `WrongState` where the stream has no
        stdin, and `BrokenPipeError` once the command has ended.
        """
        if self._stdin.closed:
            raise WrongState("the command has no stdin, or it was closed", hint="start it with stdin=True")
        rest = memoryview(data.encode() if isinstance(data, str) else data)
        while rest:
            if self._result is not None:
                raise BrokenPipeError(f"command {self.id} has ended")
            room = self._stdin.room
            if room == 0:
                await self._pump(lambda: self._stdin.room > 0)
                continue
            self._stdin.add(bytes(rest[:room]))
            rest = rest[room:]
            await self._flush()

    async def close_stdin(self) -> None:
        """Ends the command's stdin after what was written."""
        self._stdin.closed = True
        await self._flush()

    async def signal(self, number: int) -> None:
        """Sends a signal to the command's process group."""
        await self._send(frames.signal(number))

    async def resize(self, rows: int, columns: int) -> None:
        """Changes the size of its terminal, in characters."""
        self._request |= {"rows": rows, "columns": columns}
        await self._send(frames.resize(rows, columns))

    async def _flush(self) -> None:
        async with self._sending:
            if self._connection is not None and self._request["interactive"]:
                await self._transmit(self._stdin.frames())

    async def _send(self, data: bytes) -> None:
        async with self._sending:
            await self._transmit(data)

    async def _transmit(self, data: bytes) -> None:
        if self._connection is None or not data:
            return
        try:
            await self._connection.send(data)
        except OSError:
            # The reader notices a broken connection, and mends it.
            pass

    # Connections

    async def detach(self) -> None:
        """Stops following; the command runs on, and `stream(…, id=…)` finds it again."""
        self._detached = True
        if self._connection is not None:
            self._connection.shutdown()
            async with self._turn:
                while self._reads:
                    await self._turn.wait()
                self._close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.detach()

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    async def _connect(self) -> None:
        """Attaches, for the first time or again, and waits until the command runs."""
        transport = self._sandbox._client._transport
        request = self._request | {f"{name}Offset": have for name, have in self._offsets.items()}
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                connection, rest = await transport.upgrade(f"{self._sandbox._path}/attach", frames.UPGRADE)
                received = await self._begun(connection, rest, frames.request(request))
                break
            except http.Lost as lost:
                if time.monotonic() > deadline:
                    raise ServerUnavailable(
                        "the server breaks the exec stream off", cause=str(lost)
                    ) from lost
                await io.sleep(0.02)
            except (WrongState, InternalError) as error:
                raise await self._sandbox._explained(error) from error
        self._connection = connection
        for kind, payload in received:
            await self._obey(kind, payload)
        await self._flush()

    async def _begun(self, connection: io.Connection, rest: bytes, request: bytes) -> list[tuple[int, bytes]]:
        """Sends the request, and returns the first frames of the answer."""
        self._decoder = frames.Decoder()
        try:
            await connection.send(request)
            received = self._decoder.feed(rest)
            while not received:
                data = await connection.receive()
                if not data:
                    raise http.Lost("the server closed it", untouched=False)
                received = self._decoder.feed(data)
            return received
        except OSError as error:
            connection.close()
            raise http.Lost(str(error), untouched=False) from error
        except BaseException:
            connection.close()
            raise

    async def _again(self) -> None:
        """Finds the command again after the connection broke."""
        self._close()
        if self._detached:
            raise Cancelled("the stream was left")
        self._losses += 1
        if self._losses > LOSSES:
            raise ServerUnavailable("the server breaks the exec stream off again and again")
        await self._connect()

    def __repr__(self) -> str:
        return f"AsyncExecStream({self.id!r}, {self._command!r})"
