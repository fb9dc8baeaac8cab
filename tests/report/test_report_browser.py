"""The HTML report in a real browser: nothing in a ranking runs as a script, and the page fits a phone."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from worlds import Failing

from secondpass import Candidate, OverlapScorer, Ranking, Reranker, Selection, Windowed, Windows
from secondpass.errors import ScoringError

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="chromium isn't installed")]

RUN = "document.title='RAN';document.documentElement.dataset.ran='yes'"
HOSTILE = [
    f"<script>{RUN}</script>",
    f"</pre></style></title></details></svg></script><script>{RUN}</script>",
    f'<img src=x onerror="{RUN}">',
    f'"><svg onload="{RUN}">',
    f'\'" onmouseover="{RUN}" style=\'animation:x\' onanimationstart="{RUN}" autofocus onfocus="{RUN}" x="',
    f'<iframe srcdoc="<script>parent.{RUN}</script>"></iframe>',
    f'<a href="javascript:{RUN}">fox</a><base href="//example.com/">',
    f"<!--><script>{RUN}</script>--> <![CDATA[<script>{RUN}</script>]]>",
    f"&lt;script&gt;{RUN}&lt;/script&gt; {{{{ 7 * 7 }}}} {{% raw %}}",
    f'<details open ontoggle="{RUN}">fox</details>',
]


def in_chromium(page: Path, *options: str) -> str:
    """Load a page in headless Chromium and return its DOM once its scripts and timers have run."""
    command = [
        str(CHROMIUM),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={page.parent / 'profile'}",
        "--virtual-time-budget=2000",
        *options,
        "--dump-dom",
        page.as_uri(),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def page_with(fragment: str, folder: Path) -> Path:
    """Write a page that holds a fragment as a notebook does, with every fold open and no policy against scripts."""
    page = folder / "page.html"
    opened = fragment.replace("<details>", "<details open>")
    page.write_text(f"<!DOCTYPE html><meta charset=utf-8><title>calm</title><body>{opened}", "utf-8")
    return page


def assert_calm(dom: str) -> None:
    """Check that no script ran, and that there is no tag or attribute that could run or load anything.

    A serialised DOM has ``&lt;`` for ``<`` in texts, so that every ``<`` begins a tag.
    """
    assert "RAN" not in re.findall(r"<title>(.*?)</title>", dom)
    assert "data-ran" not in re.findall(r"<html[^>]*>", dom)[0]
    assert not re.findall(r"<(?:script|img|iframe|base|a|link|object)\b", dom)
    assert not re.findall(r"<\w+[^>]*?\son\w+=", dom)


def hostile_rankings() -> list[Ranking]:
    """Return rankings whose query, texts, ids, sources, metadata, windows, reasons and failure are all hostile."""
    rankings = []
    for text in HOSTILE:
        candidates = [
            Candidate(f"{text} {number}" * 2, id=text, source=text, metadata={text: text, "title": text})
            for number in range(3)
        ]
        windowed = Windowed(OverlapScorer(), Windows(12, overlap=0))
        rankings += [
            Reranker(windowed, selection=Selection(top_n=1)).rerank(text, [*candidates, candidates[0]]),
            Reranker(Failing(ScoringError(text))).rerank(text, candidates),
        ]
    return rankings


def test_the_check_notices_a_script_that_runs(tmp_path: Path) -> None:
    """Each kind of hostile text that runs unaided does so where it isn't escaped: the other tests would see it."""
    for text in (HOSTILE[0], HOSTILE[2], HOSTILE[3], HOSTILE[9]):
        assert "<title>RAN</title>" in in_chromium(page_with(text, tmp_path))


def test_no_script_of_a_hostile_ranking_runs_in_a_notebook(tmp_path: Path) -> None:
    """A page without any policy that shows hostile rankings, all folds open, is calm, and shows the texts as texts."""
    dom = in_chromium(page_with("".join(ranking._repr_html_() for ranking in hostile_rankings()), tmp_path))
    assert_calm(dom)
    assert "<title>calm</title>" in dom
    assert "&lt;script&gt;" in dom
    assert "{{ 7 * 7 }}" in dom


@pytest.mark.parametrize("number", [0, 1, 4, 15])
def test_no_script_of_a_hostile_ranking_runs_in_a_document(tmp_path: Path, number: int) -> None:
    """A document with a hostile query, whose title is that query, is calm."""
    hostile_rankings()[number].to_html(tmp_path / "report.html")
    dom = in_chromium(tmp_path / "report.html")
    assert_calm(dom)
    assert "· secondpass</title>" in dom


@pytest.mark.parametrize("width", [390, 1200])
def test_the_page_is_no_wider_than_its_window(tmp_path: Path, width: int) -> None:
    """On a phone and on a desktop nothing sticks out to the right, with words of a thousand letters too."""
    ranking = Reranker(OverlapScorer()).rerank("fox" * 300, [Candidate("fox" * 400, id="i" * 300), "a red fox " * 100])
    fragment = ranking._repr_html_()
    measure = "<script>document.title = document.documentElement.scrollWidth - window.innerWidth</script>"
    dom = in_chromium(page_with(fragment + measure, tmp_path), f"--window-size={width},900")
    assert int(re.findall(r"<title>(-?\d+)</title>", dom)[0]) <= 0
