"""Puts ckpt, ckpt-init, CRIU and the libraries they need into the wheel."""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).parent))

import bundle


class Hook(BuildHookInterface[Any]):
    """The build's hook; an editable installation carries nothing and uses CKPT_BIN or PATH."""

    _gathered: str | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Gathers the files before the wheel is written."""
        if version == "editable":
            return
        self._gathered = tempfile.mkdtemp(prefix="ckpt-wheel-")
        try:
            program = bundle.binary()
            self.app.display_info(f"carrying {program}")
            bundle.gather(
                program,
                Path(self._gathered),
                program_in=".",
                libexec_in="libexec/ckpt",
                libraries_in="lib",
            )
        except bundle.Missing as missing:
            self.app.abort(f"ckpt: {missing}")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{bundle.tag()}"
        build_data["force_include"][self._gathered] = "ckpt/_bin"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Removes what was gathered."""
        if self._gathered:
            shutil.rmtree(self._gathered)
