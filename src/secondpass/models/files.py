"""A model's files: bundled, in a folder, or fetched from the Hugging Face hub."""

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from secondpass.errors import ModelError, ModelNotFound
from secondpass.models import bundled_models, bundled_names
from secondpass.models.dialects import is_remote
from secondpass.models.hub import COMMON, HubAccess, fetch, graph_patterns, listed_graph
from secondpass.models.onnx_variants import choose_graph, instruction_sets

FORMS_FILE = "forms.json"
"""Written by ``secondpass.optimize`` beside the folders of several verified forms: their figures by name."""
GRAPHS = ("model.onnx", "onnx/model.onnx")
_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_SMALL = re.compile(r"ms-marco-MiniLM-L-?12-v2")  # the name by which others have the default model


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """The folder with a model's files.

    :param path: The folder.
    :param revision: The revision of files from a hub.
    :param file: The ONNX file in it; None takes the one that suits the machine and the dtype, or the only one.
    :param dtype: The requested dtype; ``"int8"`` takes a quantised file first, where there is one.
    """

    path: Path
    revision: str | None = None
    file: str | None = None
    dtype: str = "auto"

    def name(self, given: str) -> str:
        """Return the model's name for reports: the hub id as given, of a folder the last part of its path."""
        return given if self.revision else self.path.resolve().name

    @property
    def graph(self) -> Path | None:
        """The ONNX file, if there is one in a folder with ``tokenizer.json``.

        :raises ModelError: If there are several without the usual names, and none was chosen.
        """
        if not (self.path / "tokenizer.json").is_file():
            return None
        files = [path.relative_to(self.path).as_posix() for path in sorted(self.path.rglob("*.onnx"))]
        only = files[0] if len(files) == 1 else None
        name = self.file or choose_graph(files, self.dtype, instruction_sets()) or only
        if name not in files and (self.file or files):
            raise ModelError(
                f"the ONNX file must be one of {', '.join(files) or 'none'} in {self.path}, got {self.file}: choose it "
                "with LoadOptions(file=...)"
            )
        return self.path / name if name else None

    @property
    def has_modules(self) -> bool:
        """Whether sentence-transformers' ``modules.json`` says how pairs are read and scored."""
        return (self.path / "modules.json").is_file()

    @property
    def has_pair_template(self) -> bool:
        """Whether a chat template takes a query and a document."""
        file = self.path / "chat_template.jinja"
        declared = file.read_text(encoding="utf-8") if file.is_file() else self.json("tokenizer_config.json")
        return "document" in str(declared)

    @property
    def config(self) -> Mapping[str, Any]:
        """The content of ``config.json``, with the activation that sentence-transformers' own file declares."""
        declared = self.json("config_sentence_transformers.json").get("activation_fn") if self.has_modules else None
        return {**self.json("config.json")} | (
            {"sentence_transformers": {"activation_fn": declared}} if declared else {}
        )

    @property
    def tokenizer_config(self) -> Mapping[str, Any]:
        """The content of ``tokenizer_config.json``, with the length that sentence-transformers' own file declares."""
        limit = self.json("sentence_bert_config.json").get("max_seq_length") if self.has_modules else None
        return {**self.json("tokenizer_config.json")} | ({"model_max_length": limit} if limit else {})

    @property
    def forms(self) -> dict[str, Path]:
        """The folders of a model's verified forms by name, where the folder holds several."""
        return {name: self.path / name for name in self.json(FORMS_FILE) if (self.path / name).is_dir()}

    @property
    def has_checkpoint(self) -> bool:
        """Whether there are safetensors weights."""
        return (self.path / "config.json").is_file() and any(self.path.rglob("*.safetensors"))

    def json(self, name: str) -> Mapping[str, Any]:
        """Return a JSON file's content, empty where there is no such file.

        :raises ModelError: If the file isn't a JSON object.
        """
        try:
            content = json.loads((self.path / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise ModelError(f"{name} in {self.path} must be JSON: {error}") from error
        if not isinstance(content, dict):
            raise ModelError(f"{name} in {self.path} must hold a JSON object, got {type(content).__name__}")
        return content


def find_model(model: str | Path, engine: str, hub: HubAccess) -> ModelFolder:
    """Return the folder of a bundled model, the folder at a path, or the folder to which the hub's files were fetched.

    A bundled name comes first: write ``"./small"`` or a ``Path`` for a folder called ``small``.

    :param model: A bundled model's name, a folder, or a hub id.
    :param engine: ``"onnx"`` or another engine; decides which of the hub's files are fetched.
    :raises ModelNotFound: If it is none of these, or the hub can't be reached.
    """
    bundled = bundled_models()
    if isinstance(model, str) and model in bundled:
        return ModelFolder(bundled[model], dtype=hub.dtype)
    path = _expanded(model)
    if _holds(path.is_dir):
        return ModelFolder(path, file=hub.file, dtype=hub.dtype)
    if isinstance(model, Path) or _holds(path.exists) or not _HUB_ID.fullmatch(model):
        raise _unknown(model)
    if engine != "onnx":
        return _fetched(model, [*COMMON, "*.safetensors", *(["*.py"] if hub.code else ())], hub)
    if not hub.file and hub.dtype != "int8":
        folder = _fetched(model, graph_patterns(*GRAPHS), hub)
        if folder.graph is not None:
            return folder
    file = hub.file or listed_graph(model, hub)
    return _fetched(model, graph_patterns(*([file] if file else ())), hub)  # without one, what the cache has


def _fetched(model: str, patterns: list[str], hub: HubAccess) -> ModelFolder:
    path = fetch(model, patterns, hub)
    return ModelFolder(path, path.name, hub.file, hub.dtype)


def check_name(model: str | Path) -> None:
    """Check a name without a separator, which is a bundled model, a folder that is there, or a remote model.

    :raises ModelNotFound: If it is neither.
    """
    bare = isinstance(model, str) and not re.search(r"[/\\]", model) and not is_remote(model)
    if bare and model not in bundled_names() and not _holds(_expanded(model).is_dir):
        raise _unknown(model)


def is_folder(model: object) -> bool:
    """Return whether a model is a folder that is there."""
    return isinstance(model, str | Path) and _holds(_expanded(model).is_dir)


def _expanded(model: str | Path) -> Path:
    with suppress(RuntimeError):  # the home folder of an unknown user
        return Path(model).expanduser()
    return Path(model)


def _holds(question: Callable[[], bool]) -> bool:
    """Return the answer to a question about a path; False for a name that no system can hold, such as a long one."""
    with suppress(OSError, ValueError):
        return question()
    return False


def _unknown(model: str | Path) -> ModelNotFound:
    bundled = bundled_names()
    similar = ["small"] if _SMALL.fullmatch(str(model)) else get_close_matches(str(model), bundled, 1)
    return ModelNotFound(
        f"model must be a bundled model ({', '.join(bundled)}), a folder, or a hub id such as owner/name; "
        f"{str(model)!r:.200} is none of these{f': did you mean {similar[0]!r}?' if similar else ''}"
    )


def describe_contents(folder: ModelFolder) -> str:
    """Describe the weights in a folder, for an error message."""
    pickles = sorted(
        path.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for path in folder.path.glob(pattern)
    )
    if pickles:
        return (
            f"only pickled weights ({', '.join(pickles)}), which can run code and are never opened: "
            "convert them to safetensors"
        )
    names = sorted(path.name for path in folder.path.iterdir())[:8]
    return f"none of these ({', '.join(names) or 'it is empty'})"
