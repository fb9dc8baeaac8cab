"""A stub of ``nvidia-smi`` for tests: a script on the PATH that prints given GPUs and records its runs."""

import os
import sys
from pathlib import Path

import pytest

TWO_GPUS = """\
0, GPU-aaaa1111-0000-0000-0000-000000000000, Tesla T4, 15000, 7.5
1, GPU-bbbb2222-0000-0000-0000-000000000000, NVIDIA A100-SXM4-40GB, 40000, 8.0
"""


class NvidiaSmi:
    """Puts the stub on the PATH, and counts its runs.

    :param folder: An empty folder for the script.
    :param monkeypatch: Sets the environment.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        if sys.platform == "win32":
            pytest.skip("the stub is a shell script")
        self._folder = folder
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/bin{os.pathsep}/usr/bin")
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        self.lists("")

    def lists(self, output: str, *, exit_code: int = 0) -> None:
        """Print these lines, as of ``--query-gpu=index,uuid,name,memory.free,compute_cap``."""
        (self._folder / "output").write_text(output)
        script = self._folder / "nvidia-smi"
        script.write_text(
            f'#!/bin/sh\necho "$@" >> "{self._folder}/runs"\ncat "{self._folder}/output"\nexit {exit_code}\n'
        )
        script.chmod(0o755)

    def remove(self) -> None:
        """Remove the script."""
        (self._folder / "nvidia-smi").unlink()

    @property
    def runs(self) -> int:
        """How often it was run."""
        record = self._folder / "runs"
        return len(record.read_text().splitlines()) if record.exists() else 0
