"""The command line's root: its version, its extra, and errors in one line."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

pytest.importorskip("typer", reason="the extra cli isn't installed")
from typer.testing import CliRunner

from secondpass import __main__ as entry
from secondpass import __version__
from secondpass.cli import app


def test_version_is_printed() -> None:
    """``--version`` prints the package's version."""
    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.stdout == f"secondpass {__version__}\n"


def test_error_is_one_line() -> None:
    """A command's errors end in one line and exit code 2."""
    result = CliRunner().invoke(app, ["ask", " "])
    assert result.exit_code == 2
    assert result.stderr.startswith("secondpass: the question must hold words")


@pytest.mark.parametrize("package", ["typer", "rich", "packaging"])
def test_command_without_its_extra_prints_the_install_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], package: str
) -> None:
    """Where a library of the extra is missing, the command says what to install and exits with 2."""
    monkeypatch.setattr("secondpass.errors.find_spec", lambda name: None if name == package else find_spec(name))
    with pytest.raises(SystemExit) as stopped:
        entry.main()
    assert stopped.value.code == 2
    assert (
        capsys.readouterr().err
        == f'the secondpass command needs {package}, which is not installed: pip install "secondpass[cli]"\n'
    )


def test_entry_point_imports_neither_typer_nor_rich() -> None:
    """Importing the entry point needs nothing but secondpass."""
    code = "import sys, secondpass.__main__; sys.exit(not {'typer', 'rich', 'packaging'}.isdisjoint(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
