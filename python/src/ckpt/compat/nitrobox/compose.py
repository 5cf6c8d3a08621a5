"""Compose projects: not there yet."""

from __future__ import annotations

from .later import Later


class ComposeProject(Later):
    """Several sandboxes described by a docker-compose.yml. Raises `NotImplementedError`."""

    _what = "Compose projects"
    _instead = "make a Sandbox for each service, with net_isolate and port_map as it needs"


class SharedNetwork(Later):
    """A network that several sandboxes share. Raises `NotImplementedError`."""

    _what = "networks that sandboxes share"
    _instead = "let the services run in one sandbox"
