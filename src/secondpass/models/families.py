"""The model families that people rerank with: what each needs, and how it was verified."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path


class Status(StrEnum):
    """How far a family is supported."""

    VERIFIED = "verified"  # tests run a tiny model of it on each of its engines, and compare with a reference
    UNVERIFIED = "unverified"  # it may load, and no test can run it
    UNSUPPORTED = "unsupported"  # loading it is refused, with the reason


@dataclass(frozen=True, slots=True)
class ModelFamily:
    """A family of models.

    :param name: The family's name.
    :param models: Hub ids; ``*`` stands for any characters.
    :param size: The number of parameters.
    :param languages: The languages that its card names.
    :param max_tokens: The longest pair that it reads, in its own tokens.
    :param template: How it reads a pair.
    :param licence: Its licence, as its card names it.
    :param engines: The engines that run it.
    :param int8: Whether ``secondpass.optimize`` makes an int8 form of it.
    :param status: How far it is supported.
    :param scale: The scale of its values; the logistic function of a logit is the model's own probability.
    :param labels: The number of its outputs.
    :param free: Whether the licence is an open-source one; others are logged before a model is loaded.
    :param note: Why it is unsupported or unverified, or what users should know.
    :param forms: The names of the tests' tiny models that verify it.
    :param architectures: Class names in ``config.json`` by which an unsupported model is recognised.
    """

    name: str
    models: Sequence[str]
    size: str
    languages: str
    max_tokens: int
    template: str
    licence: str
    engines: Sequence[str]
    int8: bool
    status: Status
    scale: str = "logit"
    labels: int = 1
    free: bool = True
    note: str = ""
    forms: Sequence[str] = ()
    architectures: Sequence[str] = ()


@cache
def supported() -> tuple[ModelFamily, ...]:
    """Return the table of model families, the unsupported ones too."""
    table = tomllib.loads(Path(__file__).with_name("families.toml").read_text(encoding="utf-8"))
    return tuple(ModelFamily(**entry | {"status": Status(entry["status"])}) for entry in table["family"])


def family_of(model: str) -> ModelFamily | None:
    """Return the family of a hub id."""
    return next((item for item in supported() if any(fnmatchcase(model, one) for one in item.models)), None)


def unsupported(architectures: Sequence[str]) -> ModelFamily | None:
    """Return the unsupported family to which the class names of a configuration belong."""
    return next((item for item in supported() if set(item.architectures) & set(architectures)), None)
