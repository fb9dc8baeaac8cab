"""The folder that comes out: whole or not at all."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx

from secondpass.errors import ConfigurationError
from secondpass.optimize.checkpoint import Checkpoint

_TOKENIZER_KEYS = ("model_max_length", "model_input_names", "pad_token", "padding_side", "tokenizer_class")


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Give a folder beside ``out`` to write into; it becomes ``out`` if nothing is raised, and else goes away.

    :raises ConfigurationError: If there is something at ``out`` already.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ConfigurationError(f"out must be a new or an empty folder, and {out} is neither")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as beside:
        made = Path(beside) / "made"
        made.mkdir()
        yield made
        if out.is_dir():
            out.rmdir()
        made.replace(out)


def write_model(folder: Path, model: onnx.ModelProto, checkpoint: Checkpoint) -> Path:
    """Write what ``load_scorer`` needs, and nothing else: graph, tokeniser, and what both say of themselves."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "model.onnx")
    checkpoint.tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    _write(folder / "config.json", dict(checkpoint.folder.json("config.json")))
    declared = checkpoint.folder.json("tokenizer_config.json")
    _write(folder / "tokenizer_config.json", {name: declared[name] for name in _TOKENIZER_KEYS if name in declared})
    return folder


def folder_size(folder: Path) -> int:
    """Return what a folder's files take, in bytes."""
    return sum(file.stat().st_size for file in folder.iterdir())


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
