"""The classes that pages show: a type checker accepts them, as those who copy them have it."""

import re
from pathlib import Path

import pytest
from mypy import api
from shown_output import blocks

pytestmark = pytest.mark.slow


ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(page for page in (ROOT / "docs").rglob("*.md") if page.parent.name != "recipes")]
FLAGS = ["--config-file=", "--ignore-missing-imports", "--follow-imports=silent", "--disable-error-code=name-defined"]


def test_classes_of_pages_are_what_the_protocols_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mypy takes a page's own scorer for one; names that stand in other blocks of the page may be anything."""
    programs = []
    for page in PAGES:
        for language, code, _ in blocks(page.read_text("utf-8")):
            if language == "python" and "    def score_pairs(" in code:
                given = "".join(
                    f"given: Scorer = {name}()\n" for name in re.findall(r"^class (\w+)", code, re.MULTILINE)
                )
                programs.append(tmp_path / f"{page.stem.lower()}_{len(programs)}.py")
                programs[-1].write_text(f"{code}\nfrom secondpass import Scorer\n\n{given}", "utf-8")
    assert programs
    monkeypatch.setenv("MYPYPATH", str(ROOT / "src"))
    cache = f"--cache-dir={ROOT / 'build' / 'mypy'}"
    found, errors, _ = api.run([*FLAGS, cache, *map(str, programs)])
    assert found.startswith("Success"), found + errors
