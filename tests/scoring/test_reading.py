"""What a model reads of a pair: long queries, texts of few tokens, scripts, failing tokenizers."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from fake_engine import FakeEngine

from secondpass import Call, Pair, Reranker, Score, Unscored, UnscoredReason, Windowed, Windows, load_scorer
from secondpass.models import bundled_models
from secondpass.records import Note, NoteKind
from secondpass.scorers.cached import Cached
from secondpass.scorers.cascade import Cascade
from secondpass.scorers.fallback import Fallback
from secondpass.scoring.cross_encoder import CrossEncoder
from secondpass.scoring.engine import Encoded
from secondpass.scoring.reading import PairReader
from secondpass.scoring.scorer import Scorer

QUESTION = "how long does a flea live?"
TALK = "We spoke about the weather, the garden and the market hall. " * 60
JAPANESE = ["給料は毎月25日に支払われます。", "ネコは1日に16時間眠ります。", "マーケットは9時に開きます。"]
FOREIGN = {
    "Russian": "Зарплата выплачивается двадцать пятого числа каждого месяца.",
    "Arabic": "يتم دفع الراتب في اليوم الخامس والعشرين من كل شهر.",
    "Japanese": JAPANESE[0],
    "Chinese": "工资每月二十五日发放。",
    "Hindi": "वेतन हर महीने की पच्चीस तारीख को दिया जाता है।",
    "Thai": "เงินเดือนจ่ายทุกวันที่ 25 ของเดือน",
    "Greek": "Ο μισθός καταβάλλεται στις είκοσι πέντε κάθε μήνα.",
    "Hebrew": "המשכורת משולמת בעשרים וחמישה בכל חודש.",
    "Korean": "급여는 매월 25일에 지급됩니다.",
}
READABLE = {
    "German": "Größe, Maße und Übergänge: fällt er auf ein Wochenende, früher.",
    "French": "Le salaire est versé à la fin du mois, où l'employé reçoit ses primes d'été.",
    "Spanish": "¿Cuándo llegará el salario? Mañana, señor.",
    "names": "Łukasz Żółć, Søren Kierkegaard, Þórður Ægisson, Nguyễn Văn Đức",
    "formula": "∀x ∈ ℝ: x² ≥ 0, α = β + γ",
    "numbers": "1, 2, 3 – 4.5 °C",
    "emoji": "👍👍😍",
    "quotation": "Dostoevsky (Достоевский) wrote Crime and Punishment.",
}


@pytest.fixture(scope="module")
def nano() -> Scorer:
    """Return the bundled model."""
    return load_scorer("nano", device="cpu")


class Panicking(FakeEngine):
    """An engine whose tokenizer fails on a text with the word "odd"."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.raised = error

    def encode(self, pairs: Sequence[Pair]) -> list[Encoded]:
        if any("odd" in pair.text for pair in pairs):
            raise self.raised
        return super().encode(pairs)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [item.length for item in self.encode([Pair("", text) for text in texts])]


class PanicException(BaseException):
    """Stands for what a panic in Rust raises."""


@pytest.mark.parametrize("error", [PanicException("at the disco"), Exception("Truncation error")], ids=ascii)
def test_a_text_on_which_the_tokenizer_fails_costs_its_own_score(error: BaseException) -> None:
    """A panic or a bare error of native code leaves one text unscored, and the others as they are."""
    outcomes = CrossEncoder(Panicking(error)).score("q", ["a b", "odd", "a b c"])
    assert [getattr(item, "value", None) for item in outcomes] == [2.0, None, 3.0]
    assert isinstance(outcomes[1], Unscored)
    assert outcomes[1].reason is UnscoredReason.FAILED
    assert CrossEncoder(Panicking(error)).count_tokens(["a b", "odd text"]) == [2, 3]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), GeneratorExit(), TypeError("ours")], ids=ascii)
def test_other_exceptions_pass_a_tokenizers_call(error: BaseException) -> None:
    """Interrupts and programming errors aren't taken for failures of native code."""
    with pytest.raises(type(error)):
        CrossEncoder(Panicking(error)).score("q", ["a b", "odd"])


@pytest.mark.parametrize("query", [f"{QUESTION} {TALK}", f"{TALK} {QUESTION}"], ids=["first", "last"])
def test_of_a_long_query_both_ends_are_read(nano: Scorer, query: str) -> None:
    """The model reads a question at either end of a long query, and a note says how many tokens it didn't read."""
    scored = nano.score_pairs([Pair(query, text) for text in ("A flea lives for up to a year. " * 30, "cat " * 400)])
    flea, cat = scored.outcomes
    assert isinstance(flea, Score)
    assert isinstance(cat, Score)
    assert flea.value > cat.value
    assert scored.notes == (Note(NoteKind.QUERY_CUT, f"{flea.query_cut} tokens of the query were cut: it is too long"),)
    tokens = len(query.split())
    assert 0.9 * tokens < flea.query_cut < 1.4 * tokens
    assert flea.truncated == 0  # of the text alone


def test_a_query_that_fits_beside_its_text_is_whole(nano: Scorer) -> None:
    """A query of more than half the window isn't cut where the text leaves it enough."""
    scored = nano.score_pairs([Pair("garden " * 300, "the garden")])
    assert scored.notes == ()


def test_what_is_left_out_of_a_huge_query_is_never_silent(nano: Scorer) -> None:
    """A query of few tokens in many characters isn't read as a whole either, and says so."""
    (note,) = nano.score_pairs([Pair("a" * 30_000 + " flea " + "b" * 30_000, "a flea")]).notes
    assert note.kind is NoteKind.QUERY_CUT


def test_every_wrapper_passes_the_cut_of_a_query_on(nano: Scorer, tmp_path: Path) -> None:
    """Whatever is around the model, also where scores come from a cache, the note is there once."""
    pairs = [Pair(f"{TALK} {QUESTION}", "A flea lives for up to a year. " * 40)] * 2
    file = tmp_path / "scores.sqlite"
    cached = Cached(nano, file)
    scorers = [Windowed(nano), Cascade(nano, nano, keep=1), Fallback(nano, nano), cached, cached, Cached(nano, file)]
    for scorer in scorers:
        assert [note.kind for note in scorer.score_pairs(pairs).notes] == [NoteKind.QUERY_CUT]


def test_a_note_on_a_query_is_only_with_its_own_ranking(nano: Scorer) -> None:
    """Of several queries that are scored together, the one that was cut has the note."""
    texts = ["A flea lives for up to a year. " * 40]
    short, long = Reranker(nano).rerank_many([(QUESTION, texts), (f"{TALK} {QUESTION}", texts)])
    assert [NoteKind.QUERY_CUT in [note.kind for note in one.notes] for one in (short, long)] == [False, True]


@pytest.mark.parametrize("filler", [" " * 100_001, "\n \t" * 400_000, "a" * 100_001 + " ", "a" * 5_000_000 + " "])
def test_a_text_is_read_on_until_the_window_is_full(nano: Scorer, filler: str) -> None:
    """What stands behind a very long run of blanks or letters is read."""
    with_answer, without = nano.score_pairs(
        [Pair(QUESTION, f"{filler}{text}") for text in ("A flea lives for up to a year.", "")]
    ).outcomes
    assert isinstance(with_answer, Score)
    assert isinstance(without, Score)
    assert with_answer.value > without.value


def test_reading_on_ends_with_the_call() -> None:
    """A call that is over isn't held up by a text of few tokens: what was not read counts as unread."""
    engine = FakeEngine()
    call = Call()
    call.cancel()
    (encoded,) = PairReader(engine, call).read([Pair("q", "a" * 1_000_000)])
    assert isinstance(encoded, Encoded)
    assert encoded.truncated > 0


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_a_model_that_cuts_at_the_left_reads_the_end(engine: str, tmp_path: Path, tiny_torch_folder: Path) -> None:
    """``truncation_side`` of a model's tokenizer is honoured by both engines: the score is that of the text's end."""
    source = bundled_models()["nano"] if engine == "onnx" else tiny_torch_folder
    folder = shutil.copytree(source, tmp_path / "left", ignore=shutil.ignore_patterns("calibration*", "answerability*"))
    file = folder / "tokenizer_config.json"
    declared = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps(declared | {"truncation_side": "left"}))
    left, usual = load_scorer(folder, engine=engine), load_scorer(source, engine=engine)  # type: ignore[arg-type]
    limit = usual.spec.max_tokens or 0
    text = " ".join(["flea"] * limit + ["cat"] * 2 * limit)
    ends = text.split()[-limit:]
    (cut,), (wanted,) = left.score("flea", [text]), usual.score("flea", [" ".join(ends)])
    assert isinstance(cut, Score)
    assert isinstance(wanted, Score)
    assert cut.value == pytest.approx(wanted.value, abs=1e-3)
    assert left.spec.fingerprint != usual.spec.fingerprint


@pytest.mark.parametrize("script", FOREIGN)
def test_a_script_that_the_model_does_not_read_is_unscored(nano: Scorer, script: str) -> None:
    """A text in another script than the model's has no score, in whatever scorer around it."""
    for scorer in (nano, Windowed(nano, Windows(8)), Cascade(nano, nano, keep=1)):
        english, foreign = scorer.score_pairs(
            [Pair("salary", "Salary is paid."), Pair("salary", FOREIGN[script])]
        ).outcomes
        assert isinstance(english, Score)
        assert isinstance(foreign, Unscored)
        assert foreign.reason is UnscoredReason.UNREADABLE


@pytest.mark.parametrize("kind", READABLE)
def test_other_texts_are_readable(nano: Scorer, kind: str) -> None:
    """Latin letters with accents, formulas, numbers, emoji and quotations don't make a text unreadable."""
    (outcome,) = nano.score_pairs([Pair("salary", READABLE[kind])]).outcomes
    assert isinstance(outcome, Score)


def test_unreadable_texts_follow_in_first_stage_order(nano: Scorer) -> None:
    """They are kept behind the scored ones, in a ranking that isn't degraded and has a note with their number."""
    ranking = Reranker(nano).rerank("when is salary paid?", [*JAPANESE, "Salary is paid on the 25th."])
    assert [kept.index for kept in ranking.kept] == [3, 0, 1, 2]
    (note,) = ranking.notes
    assert (note.kind, note.text.split(" were")[0]) == (NoteKind.UNREADABLE, "3 of 4 texts")
    assert ranking.degraded is None


def test_a_query_in_another_script_leaves_all_unscored(nano: Scorer) -> None:
    """The order is the first stage's, not degraded, with a note."""
    ranking = Reranker(nano).rerank("когда платят зарплату?", ["a flea", "Salary is paid on the 25th."])
    assert [(kept.index, kept.score) for kept in ranking.kept] == [(0, None), (1, None)]
    assert [note.kind for note in ranking.notes] == [NoteKind.UNREADABLE]
    assert ranking.degraded is None
