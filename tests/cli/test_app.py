"""The command line's root: its version, its extra, and errors in one line."""

import json
import subprocess
import sys
from importlib.util import find_spec

import pytest

pytest.importorskip("typer", reason="the extra cli isn't installed")
import typer
from rich.table import Column, Table
from rich.text import Text
from typer.testing import CliRunner

from secondpass import __main__ as entry
from secondpass import __version__
from secondpass.cli import app
from secondpass.cli.app import console, one_line_errors, say
from secondpass.errors import InputError


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


def test_what_is_printed_has_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    """A document's text or name can't command the terminal; JSON reads the escapes as what they stand for."""
    text = "\x1b[31m\x9b\x7f\u202e"
    say(json.dumps(text, ensure_ascii=False))
    console().print(Text(text), Table(Column(text)))
    with pytest.raises(typer.Exit), one_line_errors():
        raise InputError(text)
    shown = capsys.readouterr()
    assert not set("\x1b\x9b\x7f\u202e") & set(shown.out + shown.err)
    assert json.loads(shown.out.splitlines()[0]) == text
