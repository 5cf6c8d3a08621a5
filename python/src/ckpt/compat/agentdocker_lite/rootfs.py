"""Root filesystems out of images: not there yet."""

from __future__ import annotations

from ..nitrobox.rootfs import (
    get_image_config,
    prepare_btrfs_rootfs_from_docker,
    prepare_rootfs_from_docker,
    prepare_rootfs_layers_from_docker,
    prepare_rootfs_without_docker,
)

__all__ = [
    "get_image_config",
    "prepare_btrfs_rootfs_from_docker",
    "prepare_rootfs_from_docker",
    "prepare_rootfs_layers_from_docker",
    "prepare_rootfs_without_docker",
]
