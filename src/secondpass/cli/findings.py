"""What ``secondpass doctor`` reports, and its checks of a configuration."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from secondpass.cli.settings import command_config, open_reranker
from secondpass.config import Config
from secondpass.errors import ConfigurationError, SecondpassError
from secondpass.selection.select import Selection

CONFIGURATION = "configuration"


class Status(StrEnum):
    """What a finding means for the user."""

    OK = "ok"
    OPTIONAL = "optional"  # not installed, and nothing needs it
    PROBLEM = "problem"  # something doesn't work as it could
    BROKEN = "broken"  # the base install, or the configuration, doesn't work


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    :param area: ``"machine"``, ``"base"``, ``"extras"``, ``"engines"``, ``"models"`` or ``"configuration"``.
    :param name: What was checked.
    :param value: Its state, in words.
    :param status: What that means.
    :param advice: What to do; empty where there is nothing to do.
    """

    area: str
    name: str
    value: str
    status: Status = Status.OK
    advice: str = ""


def configuration(path: Path | None, fetch_k: int | None, top_k: int | None) -> Iterator[Finding]:
    """Check a configuration file, open its models from this machine's files, and compare top-k with the candidates.

    :param path: The file; None checks none.
    :param fetch_k: How many candidates the first stage returns, where that is known.
    :param top_k: Replaces the file's.
    """
    selection = Selection(top_k=top_k)
    if path is not None:
        try:
            config = command_config(path, model={"local_files_only": True}, selection={"top_k": top_k})
            selection = config.selected()
        except ConfigurationError as error:
            advice = "examples/secondpass.toml shows every table and key"
            yield Finding(CONFIGURATION, path.name, f"isn't valid: {error!s:.400}", Status.BROKEN, advice)
            return
        yield _opened(path.name, config)
    if fetch_k is not None:
        yield _depth(fetch_k, selection)


def _opened(name: str, config: Config) -> Finding:
    """Open all that a file states, its cache in memory and its audit log elsewhere, so that no file is created."""
    with tempfile.TemporaryDirectory() as folder:
        audit = config.audit and replace(config.audit, path=str(Path(folder, Path(config.audit.path).name)))
        try:
            reranker = open_reranker(
                replace(config, audit=audit, cache=config.cache and replace(config.cache, path=None))
            )
        except (SecondpassError, ImportError, OSError) as error:
            advice = "the value must be one that works on this machine; doctor fetches no model"
            return Finding(CONFIGURATION, name, f"can't be opened: {error!s:.400}", Status.BROKEN, advice)
    return Finding(CONFIGURATION, name, f"valid, its models open: {reranker.scorer!r}")


def _depth(fetch_k: int, selection: Selection) -> Finding:
    """Say whether the second pass has more candidates than it keeps."""
    others = {"min_probability", "budget", "adaptive"}
    also = ", ".join(sorted(name for name in others if getattr(selection, name) is not None))
    name, only = "fetch_k", f"; only {also} can drop any" if also else ", and the second pass can only reorder them"
    advice = f"fetch several times as many as are kept, such as {max(50, 5 * (selection.top_k or 1))}"
    if selection.top_k is None:
        value = f"no top_k for {fetch_k} candidates"
        return Finding(CONFIGURATION, name, value + only, *(() if also else (Status.PROBLEM, "set top_k or a budget")))
    if fetch_k <= selection.top_k:
        value = f"top_k = {selection.top_k} keeps all of {fetch_k} candidates"
        return Finding(CONFIGURATION, name, value + only, Status.PROBLEM, advice)
    return Finding(CONFIGURATION, name, f"at most {selection.top_k} of {fetch_k} candidates are kept")
