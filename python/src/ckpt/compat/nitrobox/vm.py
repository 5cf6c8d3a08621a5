"""Virtual machines: not there yet."""

from __future__ import annotations

from .later import Later


class QemuVM(Later):
    """A virtual machine in a sandbox. Raises `NotImplementedError`."""

    _what = "virtual machines"
    _instead = "save and restore the sandbox itself, which needs none"
