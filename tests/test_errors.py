"""The exceptions, and the check for optional dependencies."""

import ast
import inspect
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from secondpass import errors
from secondpass.errors import (
    ConfigurationError,
    InputError,
    MissingExtra,
    OutOfMemory,
    ScoringError,
    SecondpassError,
    is_installed,
    require,
)


def bases_in_the_docstring() -> dict[str, set[str]]:
    """Return the base classes of each exception as the docstring's tree gives them."""
    bases: dict[str, set[str]] = {}
    path = ["SecondpassError"]
    for line in (errors.__doc__ or "").splitlines():
        node = re.match(r"(?P<indent>(?:│   |    )*?)[├└]── (?P<name>\w+)(?: \((?P<builtins>[\w, ]+)\))?", line[4:])
        if node:
            depth = len(node["indent"]) // 4 + 1
            path[depth:] = [node["name"]]
            bases[node["name"]] = {path[depth - 1], *filter(None, (node["builtins"] or "").split(", "))}
    return bases


def test_docstring_matches_the_classes() -> None:
    """The tree in the module's docstring has exactly the exceptions of the module, with their base classes."""
    classes = {
        name: value
        for name, value in vars(errors).items()
        if inspect.isclass(value) and value.__module__ == errors.__name__
    }
    assert bases_in_the_docstring() == {
        name: {base.__name__ for base in value.__bases__}
        for name, value in classes.items()
        if value is not SecondpassError
    }


@pytest.mark.parametrize("name", bases_in_the_docstring())
def test_one_base_class_catches_everything(name: str) -> None:
    """``except SecondpassError`` catches every exception of the package."""
    assert issubclass(getattr(errors, name), SecondpassError)


@pytest.mark.parametrize(
    ("ours", "builtin"),
    [
        (ConfigurationError, ValueError),
        (MissingExtra, ImportError),
        (InputError, TypeError),
        (ScoringError, RuntimeError),
        (OutOfMemory, ScoringError),
    ],
)
def test_exceptions_are_also_built_in_ones(ours: type[Exception], builtin: type[Exception]) -> None:
    """Code that catches Python's own exceptions catches those of the package."""
    assert issubclass(ours, builtin)


def test_a_failure_while_scoring_is_no_configuration_error() -> None:
    """Errors that degrade a ranking, and errors that always raise, are different branches of the tree."""
    assert not issubclass(ScoringError, ConfigurationError)
    assert not issubclass(InputError, ConfigurationError)


def test_a_missing_extra_prints_the_install_line() -> None:
    """A missing extra names the feature, the package and the command that installs it."""
    error = MissingExtra("the torch engine", "sentence-transformers", "torch")
    assert str(error) == (
        'the torch engine needs sentence-transformers, which is not installed: pip install "secondpass[torch]"'
    )
    assert (error.package, error.extra) == ("sentence-transformers", "torch")


def test_a_package_of_the_base_install_is_no_extra() -> None:
    """Where the base install is incomplete, the command installs the package itself."""
    assert str(MissingExtra("scoring", "onnxruntime", "")).endswith("not installed: pip install secondpass")


def test_require_raises_for_the_first_missing_package() -> None:
    """``require`` passes over installed packages and names the first that is missing."""
    require("a test", "eval", "pytest")
    with pytest.raises(MissingExtra, match="a test needs not-there-at-all, which is not installed") as caught:
        require("a test", "eval", "pytest", "not-there-at-all", "not-there-either")
    assert caught.value.package == "not-there-at-all"


def test_every_required_package_comes_with_its_extra() -> None:
    """The extra that ``MissingExtra`` tells a user to install is one of the project's, and brings the package."""
    root = Path(__file__).parents[1]
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    bring = {name: {_import_name(each) for each in _requirements(extras, name)} for name in extras}
    calls = [
        [argument.value for argument in call.args if isinstance(argument, ast.Constant)]
        for file in (root / "src").rglob("*.py")
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "require"
    ]
    assert len(calls) >= 8
    for feature, extra, *packages in calls:
        assert {_import_name(package) for package in packages} <= bring[extra], feature


def _requirements(extras: dict[str, list[str]], name: str) -> Iterator[str]:
    for requirement in extras[name]:
        if requirement.startswith("secondpass["):
            for inner in requirement.removeprefix("secondpass[").removesuffix("]").split(","):
                yield from _requirements(extras, inner)
        else:
            yield requirement


def _import_name(requirement: str) -> str:
    name = re.split(r"[\[<>=,]", requirement)[0].lower().replace("-", "_")
    return {"pystemmer": "stemmer", "pytrec_eval_terrier": "pytrec_eval", "scikit_learn": "sklearn"}.get(name, name)


def test_installed_packages_are_found_without_importing_them() -> None:
    """``is_installed`` reads a distribution's name with underscores for hyphens, and imports nothing."""
    code = """
import sys
from secondpass.errors import is_installed
assert is_installed("huggingface-hub") and not is_installed("not-there-at-all")
sys.exit("huggingface_hub" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert is_installed("huggingface-hub")
