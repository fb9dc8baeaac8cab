"""The exceptions of secondpass, and the checks of settings and of optional dependencies.

::

    SecondpassError
    ├── ConfigurationError (ValueError)     an invalid setting; raised whatever ``on_error`` is
    │   ├── ModelError                      a model that can't be used as a cross-encoder
    │   │   ├── ModelNotFound               no such bundled model, folder or hub id, or no connection to the hub
    │   │   └── LossTooHigh                 an optimised model whose scores differ too much from the original's
    │   ├── DeviceError                     a device or dtype that is not available
    │   ├── BudgetError                     a context budget that is invalid or can't be computed
    │   └── MissingExtra (ImportError)      an optional dependency that is not installed
    ├── InputError (ValueError, TypeError)  an invalid query, candidate, document or node
    └── ScoringError (RuntimeError)         the scorer failed; ``on_error`` decides
        ├── OutOfMemory                     a batch did not fit into the device's memory
        └── QueueFull                       too many pairs wait for the device

A message says what must hold, what was given, and what to do.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import wraps
from importlib.util import find_spec
from inspect import Parameter, signature
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

C = TypeVar("C", bound=Callable[..., Any])
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class SecondpassError(Exception):
    """The base class of all exceptions of secondpass."""


class ConfigurationError(SecondpassError, ValueError):
    """An invalid setting; raised whatever ``on_error`` is."""


class ModelError(ConfigurationError):
    """A model that can't be used as a cross-encoder."""


class ModelNotFound(ModelError):
    """No bundled model, folder or hub model has the given name, or the hub can't be reached."""


class LossTooHigh(ModelError):
    """An optimised model whose scores differ too much from those of the original.

    :param message: Which bounds were exceeded.
    :param figures: All measurements, a ``secondpass.optimize.FormReport``.
    """

    def __init__(self, message: str, figures: object) -> None:
        super().__init__(message)
        self.figures = figures


class DeviceError(ConfigurationError):
    """A device or dtype that is not available."""


class BudgetError(ConfigurationError):
    """A context budget that is invalid or can't be computed."""


class MissingExtra(ConfigurationError, ImportError):
    """An optional dependency that is not installed.

    :param needed_for: The feature that needs it, as the subject of a sentence.
    :param package: The missing distribution.
    :param extra: The extra of secondpass that installs it; empty for the base install.
    """

    def __init__(self, needed_for: str, package: str, extra: str) -> None:
        wanted = f'"secondpass[{extra}]"' if extra else "secondpass"
        super().__init__(f"{needed_for} needs {package}, which is not installed: pip install {wanted}")
        self.package = package
        self.extra = extra


class InputError(SecondpassError, ValueError, TypeError):
    """An invalid query, candidate, document, node or score."""


class ScoringError(SecondpassError, RuntimeError):
    """A scorer failed; errors of its library are chained as ``__cause__``."""


class OutOfMemory(ScoringError):
    """A batch did not fit into the device's memory."""


class QueueFull(ScoringError):
    """Too many pairs wait for the device."""


def require(feature: str, extra: str, *packages: str) -> None:
    """Check that a feature's optional dependencies are installed, without importing them.

    :param feature: What needs them, as the subject of a sentence.
    :param extra: The extra of secondpass that installs them; empty for the base install.
    :param packages: Names of distributions whose import name is the same but for hyphens.
    :raises MissingExtra: For the first that is not installed.
    """
    for package in packages:
        if not is_installed(package):
            raise MissingExtra(feature, package, extra)


def is_installed(package: str) -> bool:
    """Return whether a distribution can be imported under its own name, hyphens as underscores."""
    return find_spec(package.replace("-", "_")) is not None


def contained(
    work: Callable[[Sequence[_Item]], Sequence[_Result]], items: Sequence[_Item], instead: Callable[[_Item], _Result]
) -> list[_Result]:
    """Return what native code gives for items; where it fails, for each alone, with another result for a culprit.

    A panic in Rust is a ``PanicException`` below ``BaseException``, which no ``except Exception`` catches and no
    library exports; errors of such code are bare ``Exception``s. All others pass, ``KeyboardInterrupt`` and
    cancellations among them.

    :param work: Calls the library; returns one result for each item.
    :param items: What it is given.
    :param instead: The result for an item on which it fails by itself.
    """
    try:
        return list(work(items))
    except BaseException as error:
        if type(error) is not Exception and type(error).__name__ != "PanicException":
            raise
    if len(items) == 1:
        return [instead(items[0])]
    return [result for item in items for result in contained(work, [item], instead)]


UNORDERED = (set, frozenset)


def check_list(items: object, wanted: str, refused: tuple[type, ...] = UNORDERED) -> None:
    """Check that something is a list or another iterable of items, and neither one text nor a table.

    :param items: What was given.
    :param wanted: What must be given, as a sentence's beginning: ``"candidates must be a list of texts"``.
    :param refused: Types that can be iterated over and are refused all the same.
    :raises InputError: If it isn't.
    """
    unfit = (str, bytes, Mapping, *refused)
    try:
        iter(items)  # type: ignore[call-overload]  # what can't be iterated over raises
    except TypeError:
        fit = False
    else:
        fit = not isinstance(items, unfit) and not hasattr(items, "columns")  # a data frame iterates over their names
    if not fit:
        raise InputError(f"{wanted}, got {type(items).__name__}: {items!r:.80}")


def checked(target: C, *, error: type[ConfigurationError] = ConfigurationError) -> C:
    """Decorate a class or function: an argument of an unknown name, or of another type than annotated, is refused.

    Numbers of other libraries, such as numpy's, reach the target as Python's. Ranges, protocols and arguments without
    an annotation are the target's to check.

    :param target: The class, whose constructor is then checked, or the function.
    :param error: What a wrong type raises.
    :raises ConfigurationError: At a call, for an unknown, missing or superfluous argument.
    """
    create: Callable[..., Any] = vars(target)["__init__"] if isinstance(target, type) else target
    accepted = signature(create)
    variadic = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    kinds = {name: one.annotation for name, one in accepted.parameters.items() if one.kind not in variadic}

    @wraps(create)
    def call(*args: Any, **settings: Any) -> Any:
        try:
            bound = accepted.bind(*args, **settings)
        except TypeError as wrong:
            unknown = next((name for name in settings if name not in kinds), None)
            why = f": {wrong}" if unknown is None else _unknown(unknown, [name for name in kinds if name != "self"])
            raise ConfigurationError(f"{target.__name__}{why}") from None
        for name in bound.arguments.keys() & kinds.keys():
            value = bound.arguments[name]
            if not _fits(value, kinds[name]):
                raise error(f"{target.__name__}: {name} must be {_described(kinds[name])}; got {value!r:.80}")
            if isinstance(value, Real) and not isinstance(value, int | float):
                bound.arguments[name] = int(value) if isinstance(value, Integral) else float(value)
        return create(*bound.args, **bound.kwargs)

    if isinstance(target, type):
        target.__init__ = call  # type: ignore[misc]  # with the signature that it had
        return target
    return call  # type: ignore[return-value]  # as above


_MEANT = {
    "model": "scorer",
    "k": "top_n",
    "top_k": "top_n",
    "threshold": "min_probability",
    "score_threshold": "min_probability",
}
"""Names of other rerankers, or of the integrations, with those of the core."""


def _unknown(name: str, known: Sequence[str]) -> str:
    meant = [_MEANT[name]] if _MEANT.get(name) in known else get_close_matches(name, known, 1)
    hint = f"; did you mean {meant[0]!r}?" if meant else "."
    return f" has no setting {name!r}{hint} It has {', '.join(known)}"


def _fits(value: object, kind: Any) -> bool:
    """Return whether a value is of an annotated type."""
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in args) and (Path not in args or _names_file(value))
    if kind in (Any, Parameter.empty) or isinstance(kind, str) or getattr(kind, "_is_protocol", False):
        return True
    if kind in (int, float):
        return _is_number(value, Integral if kind is int else Real)
    if origin is None or origin is Literal:
        return isinstance(value, str) and value in args if origin else isinstance(value, kind)
    wanted = isinstance(value, Sequence if origin is tuple else origin) and not isinstance(value, str | bytes)
    return wanted and _items_fit(value, origin, args)


def _items_fit(value: object, origin: type, kinds: Sequence[Any]) -> bool:
    if isinstance(value, Mapping):
        return all(_fits(key, kinds[0]) and _fits(item, kinds[1]) for key, item in value.items())
    if isinstance(value, Sequence):
        kinds = kinds if origin is tuple and kinds[-1] is not ... else [kinds[0]] * len(value)
        return len(kinds) == len(value) and all(map(_fits, value, kinds))
    return True


def _is_number(value: object, kind: type[Real | Integral]) -> bool:
    """Return whether a value is a number within the range of floats, or infinity; NaN and truth values are none."""
    if isinstance(value, bool) or not isinstance(value, kind):
        return False
    try:
        return not math.isnan(value)
    except OverflowError:
        return False


def _names_file(value: object) -> bool:
    """Return whether a value can be a file's name, where it is one of text: no system takes others."""
    return not isinstance(value, str | Path) or not re.search("[\0\ud800-\udfff]", str(value))


_WORDS: Mapping[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "a string",
    bool: "True or False",
    NoneType: "None",
    Sequence: "a list",
    tuple: "a list",
    Mapping: "a mapping",
    Callable: "a function",
}


def _described(kind: Any) -> str:
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(map(_described, get_args(kind)))
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    each = get_args(kind)[:1] if get_origin(kind) in (tuple, Sequence) else ()
    kind = get_origin(kind) or kind
    return (_WORDS.get(kind) or f"a {kind.__name__}") + "".join(f", each {_described(one)}" for one in each)
