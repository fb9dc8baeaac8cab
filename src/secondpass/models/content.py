"""What a model's folder holds: a hash of all that decides scores, pinned weights, and code that nobody asked for."""

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from secondpass.errors import ModelError
from secondpass.models.files import ModelFolder

_APART = re.compile(
    r"(.*/)?((readme|licen[cs]e|notice)(\.(txt|rst|html))?|(calibration|answerability|manifest|forms)\.json"
    r"|[^/]*\.(md|png|jpe?g|gif|svg|webp)|\.ds_store|\.git[^/]*(/.*)?|\.cache/huggingface/.*|__pycache__/.*)",
    re.IGNORECASE,
)
"""Relative names of records, cards and what tools leave behind, which decide no score."""
_WEIGHTS = re.compile(r".*\.(safetensors|bin|pt|pth|ckpt|h5|msgpack|ot|gguf)", re.IGNORECASE)
_CODE = {"auto_map", "trust_remote_code", "allow_all_kernels"}
"""Keys by which a model's settings ask for code of its own, or for compiled code from the hub."""
_LIBRARIES = ("sentence_transformers.", "torch.nn.")
_NO_SETTINGS = re.compile(r"(tokenizer|vocab|added_tokens|.*\.index)\.json")
"""Names of large tables that no library reads settings from."""


def model_files(folder: Path) -> dict[str, Path]:
    """Return a folder's files by their relative names, in a fixed order; links are followed."""
    found: dict[str, Path] = {}
    seen: set[str] = set()
    for root, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:  # a link to a folder above
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        paths = (Path(root, name) for name in names)
        found |= {path.relative_to(folder).as_posix(): path for path in paths if path.is_file()}
    return dict(sorted(found.items()))


def content_hash(folder: Path, graphs: Collection[Path] | None = None, *, code: bool = False) -> str:
    """Return a hash of everything in a folder that can decide a score, with the files' names.

    Records and cards are left out, and what the engine never reads: an engine of graphs reads no other weights, and the
    others no graphs. So it is the same for the files that another engine fetched beside these.

    :param folder: The model's folder.
    :param graphs: The ONNX file and its external data; None for an engine that reads no ONNX.
    :param code: Whether Python code of the folder may run.
    :raises ModelError: If a file can't be read.
    """
    digest = hashlib.sha256()
    for name, file in model_files(folder).items():
        if _decides(name, file, graphs, code=code):
            digest.update(os.fsencode(name) + b"\0" + _sha256(file).digest())
    return digest.hexdigest()[:32]


def _decides(name: str, file: Path, graphs: Collection[Path] | None, *, code: bool) -> bool:
    """Return whether a file can decide a score; see ``content_hash``."""
    if graphs is not None and (file in graphs or _WEIGHTS.fullmatch(file.name)):
        return file in graphs
    return ".onnx" not in file.name and not _APART.fullmatch(name) and (code or file.suffix != ".py")


def check_sha256(folder: ModelFolder, engine: str, expected: str) -> None:
    """Check a model's weights against a pinned hash.

    :param folder: The model's folder.
    :param engine: The engine that reads it.
    :param expected: The SHA-256 of the one file with all weights, as hexadecimal digits.
    :raises ModelError: If it is another, or there is no such single file.
    """
    file = _only_graph(folder) if engine == "onnx" else _only_checkpoint(folder.path)
    if file is None:
        raise ModelError("sha256 needs a model whose weights are in one file")
    found = _sha256(file).hexdigest()
    if found != expected.lower():
        raise ModelError(f"{file.name} must have the SHA-256 {expected}, and has {found}: its weights are others")


def _only_graph(folder: ModelFolder) -> Path | None:
    from secondpass.models.onnx_graph import read_graph  # which imports protobuf

    graph = folder.graph
    return None if graph is None or read_graph(graph, "").external else graph


def _only_checkpoint(folder: Path) -> Path | None:
    """Return the safetensors file, or None where weights are read from others too: an adapter's base, a module's."""
    files = model_files(folder)
    weights = {
        file for name, file in files.items() if name.endswith(".safetensors") or ("/" in name and name.endswith(".bin"))
    }
    return weights.pop() if len(weights) == 1 and "adapter_config.json" not in files else None


def check_no_code(name: str, folder: ModelFolder) -> None:
    """Check that loading a model with torch's libraries runs no code but theirs.

    :param name: The model's name.
    :param folder: Its folder.
    :raises ModelError: If its files ask for other code, whether that is in the folder, installed, or on the hub.
    """
    for path, file in model_files(folder.path).items():
        if file.suffix != ".json" or _NO_SETTINGS.fullmatch(file.name):
            continue
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            found = next(_asked_code(content, modules=file.name == "modules.json"), None)
        except ValueError:  # which no library can read either
            continue
        except RecursionError as error:
            raise ModelError(f"{path} of {name} is nested too deeply to be settings") from error
        if found:
            architecture = ", ".join(folder.config.get("architectures") or ()) or "its architecture"
            raise ModelError(
                f"{name} needs Python code that comes with it ({architecture}; {path} has {found}), which never runs "
                "unasked: read it, then pass LoadOptions(trust_remote_code=True); no test has compared its scores"
            )


def _asked_code(value: Any, key: str = "", *, modules: bool) -> Iterator[str]:
    """Yield the settings in a JSON value that ask for code.

    :param value: The value.
    :param key: The key that it belongs to.
    :param modules: Whether it is the list of sentence-transformers' modules.
    """
    of_class = key == "types" or "activation" in key or (modules and key == "type")
    of_kernel = key.endswith("_implementation")
    if key in _CODE and value:
        yield f"{key}: {value!r:.80}"
    elif isinstance(value, Mapping):
        for own, item in value.items():
            yield from _asked_code(item, key if of_class or of_kernel else own, modules=modules)
    elif isinstance(value, list):
        for item in value:
            yield from _asked_code(item, key, modules=modules)
    elif isinstance(value, str):
        foreign = "." in value and not value.startswith(_LIBRARIES)
        outside = modules and key == "path" and (".." in value or Path(value).is_absolute())  # where nothing is checked
        if (of_class and foreign) or (of_kernel and "/" in value) or outside:
            yield f"{key}: {value!r:.80}"


def _sha256(file: Path) -> Any:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256")
    except OSError as error:
        raise ModelError(f"a model's files must be readable, and {file} isn't: {error.strerror}") from error
