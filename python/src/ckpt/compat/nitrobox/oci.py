"""A sandbox's root filesystem as an OCI image, in one archive (image-spec, image-layout.md)."""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from ..._sync.sandbox import Sandbox as Native
from .config import SandboxConfig

_LEFT_OUT = {"proc", "sys", "dev", ".ckpt"}
"""What the kernel or ckpt puts there."""
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def write(native: Native, name: str, config: SandboxConfig) -> Path:
    """Writes the archive and returns its path; an existing one is replaced when the new one is whole."""
    repository, _, tag = name.partition(":")
    if name.endswith(".tar"):
        place, reference = Path(name), f"{Path(name).stem}:latest"
    else:
        tag = tag or "latest"
        place, reference = Path(f"{repository.replace('/', '_')}_{tag}.tar"), f"{repository}:{tag}"
    part = place.with_name(place.name + ".part")
    try:
        with tempfile.TemporaryFile(dir=place.absolute().parent) as layer, part.open("wb") as archive:
            _write_layer(native, layer)
            _write_image(archive, layer, reference, config)
        os.replace(part, place)
    finally:
        part.unlink(missing_ok=True)
    return place


class _Pieces(io.RawIOBase):
    """The pieces of a stream as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = piece
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count


def _write_layer(native: Native, layer: IO[bytes]) -> None:
    with tarfile.open(fileobj=layer, mode="w|", format=tarfile.PAX_FORMAT) as made:
        for top in native.files.list("/"):
            if top.name in _LEFT_OUT:
                continue
            pieces = native.files.pack(f"/{top.name}", owners=True)
            with tarfile.open(fileobj=io.BufferedReader(_Pieces(pieces)), mode="r|") as source:
                for entry in source:
                    made.addfile(entry, source.extractfile(entry) if entry.isreg() else None)


def _write_image(archive: IO[bytes], layer: IO[bytes], reference: str, config: SandboxConfig) -> None:
    size = layer.tell()
    layer.seek(0)
    digest = hashlib.sha256()
    while block := layer.read(1 << 20):
        digest.update(block)
    layer.seek(0)
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as made:

        def add(name: str, data: IO[bytes], count: int) -> None:
            entry = tarfile.TarInfo(name)
            entry.size = count
            made.addfile(entry, data)

        def add_blob(value: Any, kind: str) -> dict[str, Any]:
            data = json.dumps(value).encode()
            found = hashlib.sha256(data).hexdigest()
            add(f"blobs/sha256/{found}", io.BytesIO(data), len(data))
            return {"mediaType": f"application/vnd.oci.image.{kind}.v1+json", "digest": f"sha256:{found}",
                    "size": len(data)}  # fmt: skip

        add("oci-layout", io.BytesIO(b'{"imageLayoutVersion": "1.0.0"}'), 31)
        add(f"blobs/sha256/{digest.hexdigest()}", layer, size)
        image = add_blob(_image(f"sha256:{digest.hexdigest()}", config), "config")
        described = {
            "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": f"sha256:{digest.hexdigest()}",
            "size": size,
        }  # fmt: skip
        manifest = add_blob(
            {
                "schemaVersion": 2, "config": image,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "layers": [described],
            },
            "manifest",
        )  # fmt: skip
        manifest["annotations"] = {
            "org.opencontainers.image.ref.name": reference.rpartition(":")[2],
            "io.containerd.image.name": reference,
        }  # fmt: skip
        index = json.dumps({"schemaVersion": 2, "manifests": [manifest]}).encode()
        add("index.json", io.BytesIO(index), len(index))


def _image(layer: str, config: SandboxConfig) -> dict[str, Any]:
    machine = platform.machine()
    settings: dict[str, Any] = {
        "Env": [f"{key}={value}" for key, value in config.environment.items()],
        "WorkingDir": config.working_dir,
    }
    if config.entrypoint:
        settings["Entrypoint"] = config.entrypoint
    return {
        "architecture": _ARCHITECTURES.get(machine, machine), "os": "linux", "config": settings,
        "rootfs": {"type": "layers", "diff_ids": [layer]},
    }  # fmt: skip
