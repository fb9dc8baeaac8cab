"""A ranking as HTML: what it shows, what it cuts, and how the file is written."""

import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from worlds import Failing, Scripted, count_words

from secondpass import Candidate, ContextBudget, OverlapScorer, Ranking, Reranker, Selection, Windowed, Windows
from secondpass.records import Scale, ScaleKind, Spec
from secondpass.report.slope import ROW, slope

VOID = {"meta", "br"}


class Unscaled(Scripted):
    """Returns given values on an unknown scale."""

    spec = Spec("unscaled", Scale(ScaleKind.UNKNOWN), fingerprint="unscaled")


class Tags(HTMLParser):
    """Collects the tags and attributes of a document, and checks that its tags are closed in order."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def many(count: int, **settings: object) -> Ranking:
    """Rerank so many candidates, the last of the first stage being the best."""
    texts = [f"text {number}" for number in range(count)]
    scores = {text: float(number) for number, text in enumerate(texts)}
    return Reranker(Scripted(scores), selection=Selection(**settings)).rerank("query", texts)  # type: ignore[arg-type]


def visible(ranking: Ranking) -> str:
    """Return the report without the plain text that stands in where a viewer drops styles."""
    return re.sub(r"<pre.*?</pre>|<style>.*?</style>", "", ranking._repr_html_(), flags=re.DOTALL)


def test_what_was_kept_dropped_and_why_is_shown(ranking: Ranking) -> None:
    """The report has the query, counts, the kept text, each reason with its figures, and the stages."""
    html = visible(ranking)
    assert '<div class="sp-query" dir="auto">red fox</div>' in html
    assert "1 of 3</div>" in html
    assert "the red fox runs</span>" in html
    assert "<em>over budget</em> · " in html
    assert "<em>duplicate</em> · the same text, see fox · <bdi>copy</bdi>" in html
    assert "<b>score</b>" in html
    assert "<b>select</b>" in html


def test_the_budget_is_a_gauge_with_a_segment_for_each_kept_candidate() -> None:
    """Of a budget of 10 words, texts of 2 and 3 words fill 20 % and 30 %."""
    selection = Selection(budget=ContextBudget(10, counter=count_words, separator=""))
    html = visible(Reranker(OverlapScorer(), selection=selection).rerank("fox", ["red fox", "a red fox"]))
    gauge = re.findall(r'aria-label="(\d+) of (\d+) tokens">(.*?)</span>', html)
    assert [(of, re.findall(r"width:([\d.]+)%", fill)) for _, of, fill in gauge] == [("10", ["20.00", "30.00"])]


def test_probabilities_are_bars() -> None:
    """A candidate with half of the query's words has a bar of half the length."""
    html = visible(Reranker(OverlapScorer()).rerank("red fox", ["the red dog"]))
    assert '<i style="width:50.0%"></i></span>\n<span class="sp-number">0.500</span>' in html


def test_scores_without_probabilities_are_bars_between_the_lowest_and_the_highest() -> None:
    """On an unknown scale the middle one of three scores has a bar of half the length."""
    scorer = Unscaled({"low": 1.0, "middle": 2.0, "high": 3.0})
    html = visible(Reranker(scorer).rerank("fox", ["low", "middle", "high"]))
    assert re.findall(r'sp-score"><span class="sp-bar"[^>]*><i style="width:([\d.]+)%', html) == [
        "100.0",
        "50.0",
        "0.0",
    ]


def test_the_best_window_is_highlighted_in_its_text() -> None:
    """The text is whole, and of it the window with the fox is marked."""
    text = "The owl sat. " * 6 + "The fox ran. "
    html = visible(Reranker(Windowed(OverlapScorer(), Windows(12, overlap=0))).rerank("fox", [text]))
    assert f'{"The owl sat. " * 4}<mark title="the best window">' in html
    assert "The fox ran." in re.findall(r"<mark[^>]*>(.*?)</mark>", html)[0]


def test_what_was_left_out_of_the_context_is_grey() -> None:
    """A text that was cut to fit the budget has the rest of it marked as not in the context."""
    selection = Selection(budget=ContextBudget(3, counter=count_words), policy="truncate")
    html = visible(Reranker(OverlapScorer(), selection=selection).rerank("fox", ["The fox ran. It slept well."]))
    assert 'dir="auto">The fox ran.<span class="sp-out" title="not in the context"> It slept well.</span></div>' in html


def test_a_degraded_ranking_is_marked_and_has_no_bars() -> None:
    """The cause stands above the table; without any score there are neither bars nor their heading."""
    html = visible(Reranker(Failing()).rerank("red fox", ["the red fox runs"]))
    assert "<b>Degraded</b> scorer failed: the GPU is gone." in html
    assert 'class="sp-score"><span' not in html
    assert ">probability<" not in html


@pytest.mark.parametrize("count", [0, 1, 2, 10_000])
def test_any_number_of_candidates_gives_a_bounded_document(count: int) -> None:
    """From none to ten thousand candidates the document is whole and below 100 kB; what isn't listed is counted."""
    document = many(count, top_n=100).to_html()
    assert not Tags(document).open
    assert len(document) < 100_000
    if count == 10_000:
        assert "and 70 more kept" in document
        assert "and 80 more texts" in document
        assert "and 9,850 more" in document


def test_texts_of_an_emoji_and_of_a_megabyte() -> None:
    """An emoji is shown as it is; of a megabyte the beginning and the end, and how much is between them."""
    html = visible(Reranker(OverlapScorer()).rerank("red fox", ["🦊", "red fox " * 125_000]))
    assert "🦊" in html
    assert "… 999,400 characters …" in html
    assert len(html) < 20_000


def test_nothing_of_the_document_is_a_script_or_comes_from_elsewhere(ranking: Ranking) -> None:
    """No script, link or image, no event handler, no address; the document's policy forbids all of them as well."""
    document = ranking.to_html()
    tags = Tags(document)
    assert not {"script", "link", "img", "iframe", "object", "base"} & set(tags.names)
    assert not [name for name in tags.attributes if name.startswith("on") or name in {"src", "href"}]
    assert "url(" not in document
    assert "@import" not in document
    assert "default-src 'none'" in document


def test_lines_lead_from_the_first_rank_to_the_row() -> None:
    """The best of three, last in the first stage, rises from the lowest place to the first row."""
    ranking = many(3)
    picture = slope(ranking.kept, (), {}, 3)
    assert picture.height == 3 * ROW
    assert [line.kind for line in picture.lines] == ["up", "same", "down"]
    assert [line.title for line in picture.lines] == ["3 → 1", "2 → 2", "1 → 3"]
    start, end = 2.5 * ROW, 0.5 * ROW
    assert picture.lines[0].path.startswith(f"M{picture.left},{start:.1f} ")
    assert picture.lines[0].path.endswith(f" {picture.width},{end:.1f}")


def test_labels_of_neighbouring_ranks_do_not_touch() -> None:
    """Kept candidates with adjacent first-stage ranks of a thousand have labels 13 pixels apart, within the picture."""
    picture = slope(many(1000, top_n=20).kept, (), {}, 1000)
    heights = [label.y for label in picture.labels]
    assert [label.rank for label in picture.labels] == [*range(981, 1001)]
    assert all(after - before >= 13 - 1e-6 for before, after in pairwise(heights))
    assert 0 < heights[0] < heights[-1] < picture.height


def test_a_viewer_that_drops_styles_shows_the_plain_text(ranking: Ranking) -> None:
    """Without its style the fragment shows the plain report and hides the rest."""
    html = ranking._repr_html_()
    assert '<pre class="sp-plain">query: red fox\nkept 1, 4 tokens\n' in html
    assert '<div class="sp-report" style="display:none">' in html


def test_a_notebook_gets_html_and_the_plain_report(ranking: Ranking) -> None:
    """IPython's display of a ranking has both forms, the second without the records' long representation."""
    formatters = pytest.importorskip("IPython.core.formatters", reason="IPython isn't installed")
    data, _ = formatters.DisplayFormatter().format(ranking)
    assert data["text/html"] == ranking._repr_html_()
    assert data["text/plain"] == ranking.report()


def test_control_characters_are_replaced() -> None:
    """NUL, escape sequences, lone surrogates and overrides of the writing direction never reach the document."""
    bad = "a\x00b\x1b[31mc\ud800d\u202ee"
    document = Reranker(OverlapScorer()).rerank(bad, [Candidate(bad, id=bad, metadata={bad: bad})]).to_html()
    assert not set("\x00\x1b\ud800\u202e") & set(document)


def test_the_file_has_the_document(ranking: Ranking, tmp_path: Path) -> None:
    """``to_html`` writes what it returns, over an older file too, and leaves nothing else in the folder."""
    file = tmp_path / "report.html"
    file.write_text("old")
    document = ranking.to_html(file)
    assert file.read_text("utf-8") == document
    assert document.startswith("<!DOCTYPE html>")
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("place", ["missing/report.html", "file/report.html", "folder"])
def test_a_file_that_cannot_be_written_is_named(ranking: Ranking, tmp_path: Path, place: str) -> None:
    """A missing folder, a file in its place, and a folder as the file are errors that name the path."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OSError, match="a file in a folder that is there and can be written to") as caught:
        ranking.to_html(tmp_path / place)
    assert caught.value.filename == str(tmp_path / place)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_read_only_folder_keeps_the_old_file(
    ranking: Ranking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder where no file can be made the error is a ``PermissionError``, and the old file stays as it was."""
    file = tmp_path / "report.html"
    file.write_text("old")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")  # a superuser may write into a read-only folder

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(PermissionError, match="Permission denied"):
        ranking.to_html(file)
    assert file.read_text() == "old"
