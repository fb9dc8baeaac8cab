"""Reading and checking a configuration file: each table against the record that it becomes."""

import re
import tomllib
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from secondpass.config.tables import Config
from secondpass.errors import ConfigurationError
from secondpass.selection.select import Selection

T = TypeVar("T")

_NOT_KEYS: dict[type, set[str]] = {Config: {"folder"}, Selection: {"budget"}}
"""Fields of the records that a file doesn't state, or states elsewhere."""
_KINDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
_MISMATCH = object()


def read_config(path: str | Path) -> Config:
    """Return what a configuration file states.

    :param path: A TOML file.
    :raises ConfigurationError: If it can't be read, or has a wrong key or value.
    """
    path = Path(path).expanduser()
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"a configuration must be a TOML file, and {path} can't be read: {error}") from error
    try:
        return replace(config_from(data), folder=path.parent)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error


def config_from(data: Mapping[str, Any]) -> Config:
    """Return the configuration that plain data state, as a TOML file's.

    :raises ConfigurationError: If they have a wrong key or value.
    """
    return _record(Config, data, "")


def to_data(config: Config) -> dict[str, Any]:
    """Return what differs from the defaults, as plain data from which ``config_from`` makes an equal configuration."""
    data: dict[str, Any] = _plain(config)
    return data


def _record(cls: type[T], data: Mapping[str, Any], where: str) -> T:
    """Return a record from a table, whose name is ``where``."""
    allowed, hints = _keys(cls), get_type_hints(cls)
    for key in data:
        if key not in allowed:
            raise ConfigurationError(_unknown(key, list(allowed), where))
    missing = [name for name, item in allowed.items() if _default(item) is MISSING and name not in data]
    if missing:
        raise ConfigurationError(f"[{where}] needs {', '.join(missing)}")
    values = {key: _value(hints[key], value, f"{where}.{key}".lstrip(".")) for key, value in data.items()}
    try:
        return cls(**values)
    except ConfigurationError as error:
        raise ConfigurationError(f"[{where}] {error}" if where else str(error)) from error


def _value(hint: Any, value: Any, name: str) -> Any:
    tables = {_rule(table): table for table in _tables(hint)}
    if not tables:
        converted = _converted(hint, value)
        if converted is _MISMATCH:
            raise ConfigurationError(f"{name} must be {_described(hint)}, got {value!r:.80}{_meant(value, hint)}")
        return converted
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{name} must be a table, as [{name}], got {value!r:.80}")
    if len(tables) == 1:
        return _record(next(iter(tables.values())), value, name)
    rule = value.get("rule")
    if rule not in tables:
        raise ConfigurationError(f"[{name}] rule must be one of {', '.join(tables)}; got {rule!r:.80}")
    return _record(tables[rule], {key: item for key, item in value.items() if key != "rule"}, name)


def _converted(hint: Any, value: Any) -> Any:
    """Return a value of a hint's type, or that it is of another one. Whole numbers are numbers, truth values aren't."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        results = (_converted(arg, value) for arg in args if arg is not types.NoneType)
        return next((result for result in results if result is not _MISMATCH), _MISMATCH)
    if origin is Literal:
        return value if value in args else _MISMATCH
    if origin is tuple:
        items = [_converted(args[0], item) for item in value] if isinstance(value, list) else [_MISMATCH]
        return _MISMATCH if _MISMATCH in items else tuple(items)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        items = [_converted(args[1], item) for item in value.values()] if isinstance(value, dict) else [_MISMATCH]
        return _MISMATCH if _MISMATCH in items else dict(zip(value, items, strict=True))
    if hint is float and type(value) is int:
        return float(value)
    return value if type(value) is hint else _MISMATCH


def _described(hint: Any) -> str:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(_described(arg) for arg in args if arg is not types.NoneType)
    if origin is Literal:
        return f"one of {', '.join(args)}"
    if origin is tuple:
        return f"a list, each {_described(args[0])}"
    return _KINDS.get(hint) or f"a table, each {_described(args[1])}"


def _meant(value: Any, hint: Any) -> str:
    """Return the closest of several allowed values, as a question."""
    close = (
        get_close_matches(value, get_args(hint), 1) if isinstance(value, str) and get_origin(hint) is Literal else ()
    )
    return f"; did you mean {close[0]!r}?" if close else ""


def _unknown(key: str, allowed: list[str], where: str) -> str:
    """Return what is wrong with a key, what is allowed, and what was probably meant."""
    tables = {name: table for name, hint in get_type_hints(Config).items() for table in _tables(hint)}
    homes = [f"in [{name}]" for name, table in tables.items() if name != where and key in _keys(table)]
    homes += ["above the first table"] if where and key in _keys(Config) and key not in tables else []
    close = get_close_matches(key, allowed, 1)
    hint = f"did you mean {close[0]}?" if close else f"it stands {' or '.join(homes)}" if homes else ""
    place = f"[{where}] has" if where else "the file has"
    return f"{place} the unknown key {key!r:.80}" + (f": {hint}" if hint else "") + f" (allowed: {', '.join(allowed)})"


def _plain(value: Any, *, with_rule: bool = False) -> Any:
    if isinstance(value, tuple):
        return list(value)
    if not is_dataclass(value) or isinstance(value, type):
        return dict(value) if isinstance(value, Mapping) else value
    hints = get_type_hints(type(value))
    given = {name: getattr(value, name) for name, item in _keys(type(value)).items()}
    changed = {name: item for name, item in given.items() if item != _default(_keys(type(value))[name])}
    rule = {"rule": _rule(type(value))} if with_rule else {}
    return rule | {name: _plain(item, with_rule=len(_tables(hints[name])) > 1) for name, item in changed.items()}


def _keys(cls: Any) -> dict[str, Field[Any]]:
    return {item.name: item for item in fields(cls) if item.name not in _NOT_KEYS.get(cls, ())}


def _default(item: Field[Any]) -> Any:
    return item.default if item.default_factory is MISSING else item.default_factory()


def _tables(hint: Any) -> list[Any]:
    """Return the records among a hint's types."""
    return [arg for arg in get_args(hint) or (hint,) if isinstance(arg, type) and is_dataclass(arg)]


def _rule(cls: type) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()
