"""Saves, rolls back and branches whole Linux sandboxes: files, memory, descriptors and clocks of one instant.

    import ckpt

    with ckpt.Sandbox.create() as sb:
        sb.exec("echo one > /root/file", check=True)
        ready = sb.save(tag="ready")
        attempts = ready.fork(4)

Every class has a twin for asyncio with the same methods: `AsyncSandbox`, `AsyncSnapshot`, `AsyncTree` …
"""

from __future__ import annotations

from . import errors, messages
from ._async.borrowed import AsyncBorrowedSession
from ._async.client import AsyncClient
from ._async.events import AsyncEvents
from ._async.files import AsyncFiles
from ._async.jobs import AsyncJob
from ._async.python_session import AsyncPythonSession
from ._async.sandbox import AsyncSandbox
from ._async.session import AsyncSession
from ._async.snapshot import AsyncSnapshot
from ._async.stream import AsyncExecStream
from ._async.tree import AsyncTree
from ._python_values import Opaque, PythonResult
from ._streams import Output
from ._sync.borrowed import BorrowedSession
from ._sync.client import Client
from ._sync.events import Events
from ._sync.files import Files
from ._sync.jobs import Job
from ._sync.python_session import PythonSession
from ._sync.sandbox import Sandbox
from ._sync.session import Session
from ._sync.snapshot import Snapshot
from ._sync.stream import ExecStream
from ._sync.tree import Tree
from ._version import __version__
from .errors import (
    Ambiguous,
    Cancelled,
    CannotRestore,
    CannotSave,
    CkptError,
    CommandError,
    CommandFailed,
    CommandTimeout,
    Conflict,
    InternalError,
    InUse,
    InvalidOption,
    NameTaken,
    NoSpace,
    NotFound,
    NotInstalled,
    NotPermitted,
    PythonError,
    SandboxDied,
    SandboxNotFound,
    ServerUnavailable,
    SnapshotNotFound,
    VersionMismatch,
    WrongState,
)
from .options import LimitOptions, SandboxOptions
from .results import Result

__all__ = [
    "Ambiguous",
    "AsyncBorrowedSession",
    "AsyncClient",
    "AsyncEvents",
    "AsyncExecStream",
    "AsyncFiles",
    "AsyncJob",
    "AsyncPythonSession",
    "AsyncSandbox",
    "AsyncSession",
    "AsyncSnapshot",
    "AsyncTree",
    "BorrowedSession",
    "Cancelled",
    "CannotRestore",
    "CannotSave",
    "CkptError",
    "Client",
    "CommandError",
    "CommandFailed",
    "CommandTimeout",
    "Conflict",
    "Events",
    "ExecStream",
    "Files",
    "InUse",
    "InternalError",
    "InvalidOption",
    "Job",
    "LimitOptions",
    "NameTaken",
    "NoSpace",
    "NotFound",
    "NotInstalled",
    "NotPermitted",
    "Opaque",
    "Output",
    "PythonError",
    "PythonResult",
    "PythonSession",
    "Result",
    "Sandbox",
    "SandboxDied",
    "SandboxNotFound",
    "SandboxOptions",
    "ServerUnavailable",
    "Session",
    "Snapshot",
    "SnapshotNotFound",
    "Tree",
    "VersionMismatch",
    "WrongState",
    "__version__",
    "errors",
    "messages",
]
