"""A model's files: bundled, in a folder, or on the Hugging Face hub. No other module knows the hub."""

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from secondpass.errors import ModelError, ModelNotFound
from secondpass.models import bundled_models, bundled_names
from secondpass.scoring.dialects import is_remote

FORMS_FILE = "forms.json"
"""Written by ``secondpass.optimize`` beside the folders of several verified forms: their figures by name."""
GRAPHS = ("model.onnx", "onnx/model.onnx")
_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_SMALL = re.compile(r"ms-marco-MiniLM-L-?12-v2")  # the name by which others have the default model
_COMMON = ["*.json", "*.txt", "*.model", "*.jinja"]


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """The folder with a model's files.

    :param path: The folder.
    :param revision: The revision of files from a hub.
    :param file: The ONNX file in it; None takes ``model.onnx``, ``onnx/model.onnx``, or the only one in the folder.
    """

    path: Path
    revision: str | None = None
    file: str | None = None

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
        names = [self.file] if self.file else [name for name in GRAPHS if name in files] or files
        if (self.file and self.file not in files) or (len(names) > 1 and names[0] not in GRAPHS):
            raise ModelError(
                f"the ONNX file must be one of {', '.join(files) or 'none'} in {self.path}, got {self.file}: choose it "
                "with LoadOptions(file=...)"
            )
        return self.path / names[0] if names else None

    @property
    def forms(self) -> dict[str, Path]:
        """The folders of a model's verified forms by name, where the folder holds several."""
        return {name: self.path / name for name in self.json(FORMS_FILE) if (self.path / name).is_dir()}

    @property
    def has_checkpoint(self) -> bool:
        """Whether there are safetensors weights."""
        return (self.path / "config.json").is_file() and any(self.path.rglob("*.safetensors"))

    def only_safetensors(self) -> Path | None:
        """Return the safetensors file, or None where there are none or several."""
        files = list(self.path.rglob("*.safetensors"))
        return files[0] if len(files) == 1 else None

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


@dataclass(frozen=True, slots=True)
class HubAccess:
    """Settings of the Hugging Face hub.

    :param revision: A branch, a tag or a commit; None takes the default branch.
    :param local_files_only: Take files from the cache, and never connect to the hub.
    :param cache_folder: The hub's cache; None takes the hub library's own.
    :param file: The ONNX file to fetch; None fetches those with the usual names.
    """

    revision: str | None = None
    local_files_only: bool = False
    cache_folder: str | None = None
    file: str | None = None


def find_model(model: str | Path, engine: str, hub: HubAccess) -> ModelFolder:
    """Return the folder of a bundled model, the folder at a path, or the folder to which the hub's files were fetched.

    A bundled name comes first: write ``"./small"`` or a ``Path`` for a folder called ``small``.

    :param model: A bundled model's name, a folder, or a hub id.
    :param engine: ``"onnx"`` or another engine; decides which of the hub's files are fetched.
    :raises ModelNotFound: If it is none of these, or the hub can't be reached.
    """
    bundled = bundled_models()
    if isinstance(model, str) and model in bundled:
        return ModelFolder(bundled[model])
    path = _expanded(model)
    if path.is_dir():
        return ModelFolder(path, file=hub.file)
    if isinstance(model, Path) or path.exists() or not _HUB_ID.fullmatch(model):
        raise _unknown(model)
    return _from_hub(model, _patterns(engine, hub.file), hub)


def check_name(model: str | Path) -> None:
    """Check a name without a separator, which is a bundled model, a folder that is there, or a remote model.

    :raises ModelNotFound: If it is neither.
    """
    bare = isinstance(model, str) and not re.search(r"[/\\]", model) and not is_remote(model)
    if bare and model not in bundled_names() and not _expanded(model).is_dir():
        raise _unknown(model)


def _expanded(model: str | Path) -> Path:
    with suppress(RuntimeError):  # the home folder of an unknown user
        return Path(model).expanduser()
    return Path(model)


def _unknown(model: str | Path) -> ModelNotFound:
    bundled = bundled_names()
    similar = ["small"] if _SMALL.fullmatch(str(model)) else get_close_matches(str(model), bundled, 1)
    return ModelNotFound(
        f"model must be a bundled model ({', '.join(bundled)}), a folder, or a hub id such as owner/name; "
        f"{str(model)!r} is none of these{f': did you mean {similar[0]!r}?' if similar else ''}"
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


def check_sha256(file: Path | None, expected: str) -> None:
    """Check the weights against a pinned hash.

    :param file: The file with all weights; None where there is no such single file.
    :param expected: Its SHA-256 as hexadecimal digits.
    :raises ModelError: If it is another, or there is no single file.
    """
    if file is None:
        raise ModelError("sha256 needs a model whose weights are in one file")
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != expected.lower():
        raise ModelError(f"{file.name} must have the SHA-256 {expected}, and has {found}: its weights are others")


def weights_hash(*files: Path) -> str:
    """Return a hash over the files' contents, in the order of their names."""
    digest = hashlib.sha256()
    for file in sorted(files):
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:32]


def _from_hub(model: str, patterns: list[str], hub: HubAccess) -> ModelFolder:
    import huggingface_hub  # costs a quarter of a second, and a model in a folder never needs it
    from huggingface_hub import errors

    try:
        path = huggingface_hub.snapshot_download(
            model,
            revision=hub.revision,
            cache_dir=hub.cache_folder,
            local_files_only=hub.local_files_only,
            allow_patterns=patterns,
            ignore_patterns=["openvino/*"],
        )
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError) as error:
        at = f" at revision {hub.revision!r}" if hub.revision else ""
        raise ModelNotFound(
            f"no folder and no hub model {model!r}{at} (a private one needs HF_TOKEN): {str(error).splitlines()[0]}"
        ) from error
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, OSError) as error:
        raise ModelNotFound(
            f"{model!r} is no folder, isn't in the hub's cache, and the hub can't be reached "
            f"({type(error).__name__}): give a folder, or load it once with a connection"
        ) from error
    return ModelFolder(Path(path), Path(path).name, hub.file)


def _patterns(engine: str, file: str | None) -> list[str]:
    """Return the files to fetch from a hub, as patterns."""
    if engine != "onnx":
        return [*_COMMON, "*.safetensors", "*.py"]
    graphs = [file] if file else GRAPHS
    return [*_COMMON, *graphs, *(f"{graph}_data" for graph in graphs)]
