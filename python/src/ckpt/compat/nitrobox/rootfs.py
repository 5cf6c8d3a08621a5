"""Root filesystems out of images: not there yet, but for what an image says about itself."""

from __future__ import annotations

from .image import ImageConfig, get_image_config, prepare_rootfs_layers_from_docker

prepare_rootfs_from_docker = prepare_rootfs_layers_from_docker
"""Raises `NotImplementedError`."""
prepare_rootfs_without_docker = prepare_rootfs_layers_from_docker
"""Raises `NotImplementedError`."""
prepare_btrfs_rootfs_from_docker = prepare_rootfs_layers_from_docker
"""Raises `NotImplementedError`."""

__all__ = [
    "ImageConfig",
    "get_image_config",
    "prepare_btrfs_rootfs_from_docker",
    "prepare_rootfs_from_docker",
    "prepare_rootfs_layers_from_docker",
    "prepare_rootfs_without_docker",
]
