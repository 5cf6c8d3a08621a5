"""Images: a rootfs directory or this machine's own programs; names of images are not there yet."""

from __future__ import annotations

import os
from typing import Any, TypedDict

from .errors import SandboxConfigError, SandboxInitError
from .later import function, missing

_INSTEAD = "give SandboxConfig the directory of a root filesystem, which `docker export` can make, or 'host'"
prepare_rootfs_layers_from_docker = function("images by name", _INSTEAD)
"""Raises `NotImplementedError`."""


class ImageConfig(TypedDict, total=False):
    """What an image says about the programs in it."""

    cmd: list[str] | None
    entrypoint: list[str] | None
    env: dict[str, str]
    working_dir: str | None
    exposed_ports: list[int]
    diff_ids: list[str]


def get_image_config(image_name: str) -> dict[str, Any] | None:
    """What an image says about itself: nothing for a directory or `host`, so `None`.

    Raises `NotImplementedError` for the name of an image.
    """
    base_of(image_name)
    return None


def base_of(image: str) -> str:
    """Ckpt's base for an `image`: `host`, or a directory that is a root filesystem."""
    if not image:
        raise SandboxConfigError("image is missing: give a rootfs directory, or 'host'")
    if image == "host":
        return image
    if os.path.isdir(image):
        return os.path.abspath(image)
    if image.startswith(("/", "./", "../", "~")):
        raise SandboxInitError(f"there is no rootfs directory {image}")
    raise missing(f"images by name ({image})", _INSTEAD)
