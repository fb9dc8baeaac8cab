"""The Hugging Face hub: which of a repository's files are fetched. No other module knows the hub."""

from dataclasses import dataclass
from pathlib import Path

from secondpass.errors import ModelNotFound
from secondpass.models.onnx_variants import choose_graph, instruction_sets

COMMON = ["*.json", "*.txt", "*.model", "*.jinja"]
"""Patterns of the files that every engine needs."""


@dataclass(frozen=True, slots=True)
class HubAccess:
    """Settings of the Hugging Face hub.

    :param revision: A branch, a tag or a commit; None takes the default branch.
    :param local_files_only: Take files from the cache, and never connect to the hub.
    :param cache_folder: The hub's cache; None takes the hub library's own.
    :param file: The ONNX file to fetch; None fetches those with the usual names, or the one that suits the machine.
    :param dtype: The requested dtype; ``"int8"`` fetches the quantised file that suits the machine.
    :param code: Whether Python files are fetched.
    """

    revision: str | None = None
    local_files_only: bool = False
    cache_folder: str | None = None
    file: str | None = None
    dtype: str = "auto"
    code: bool = False


def fetch(model: str, patterns: list[str], hub: HubAccess) -> Path:
    """Fetch a repository's files, and return their folder, whose name is the revision.

    :param model: The hub id.
    :param patterns: Patterns of the files.
    :raises ModelNotFound: If there is no such repository, or the hub can't be reached.
    """
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
    return Path(path)


def graph_patterns(*graphs: str) -> list[str]:
    """Return patterns of the files that graphs need, their external weights among them."""
    return [*COMMON, *graphs, *(graph.removesuffix(".onnx") + ".onnx[._]data*" for graph in graphs)]


def listed_graph(model: str, hub: HubAccess) -> str | None:
    """Return the ONNX file of a repository that suits this machine; None where the hub can't be asked."""
    import huggingface_hub
    from huggingface_hub import errors

    if hub.local_files_only:
        return None
    # With the bases of all errors of the HTTP library that the hub's uses: requests, httpx or httpx2.
    bases = [base for base in errors.HfHubHTTPError.__mro__ if issubclass(base, Exception) and base is not Exception]
    network: tuple[type[Exception], ...] = (errors.OfflineModeIsEnabled, *bases)
    try:
        siblings = huggingface_hub.model_info(model, revision=hub.revision).siblings or ()
    except network:
        return None  # the cache may have it
    return choose_graph([item.rfilename for item in siblings], hub.dtype, instruction_sets())
