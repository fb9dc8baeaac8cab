"""The contract of the engines, with tiny models of both and with real weights."""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from secondpass import Call, LoadOptions, Reranker, load_scorer
from secondpass.errors import ModelError
from secondpass.records import Pair, ScaleKind, Score, UnscoredReason
from secondpass.scoring.cross_encoder import CrossEncoder
from secondpass.scoring.engine import Encoded

QUERY = "how long can a bee live"
TEXTS = [
    "the brown fox has an egg",
    "a bird can fly",
    "the old lake is cold and the young river is warm and they run to the sea in the wind",
    "fish",
    "what can the quick dog do when it has many red and green leaf on a tree",
]

Tiny = Callable[..., Path]


@pytest.fixture(scope="module", params=["tiny-onnx", "tiny-torch", "real-torch", "nano-onnx"])
def scorer(request: pytest.FixtureRequest, tiny: Tiny) -> CrossEncoder:
    """Return a scorer of each engine, with tiny and with real weights."""
    size, engine = request.param.split("-")
    folders = {"tiny": lambda: tiny(engine), "real": lambda: request.getfixturevalue("torch_checkpoint")}
    return load_scorer(folders[size]() if size in folders else size)


@pytest.fixture(params=["onnx", "torch"])
def engine(request: pytest.FixtureRequest) -> str:
    """Return each engine's name."""
    name: str = request.param
    return name


def values(scorer: CrossEncoder, texts: list[str], query: str = QUERY) -> list[float]:
    """Return raw values; every text must have one."""
    outcomes = scorer.score(query, texts)
    return [outcome.value for outcome in outcomes if isinstance(outcome, Score)]


def tolerance(scorer: CrossEncoder) -> float:
    """Return how far a score may depend on its batch: rounding in float32, or activation scales of each batch."""
    return 1e-4 if scorer.spec.batch_invariant else 1.0


def test_scores_are_in_the_order_of_the_texts(scorer: CrossEncoder) -> None:
    """Batches are sorted by length, and the scores are in the order of the texts."""
    forwards = values(scorer, TEXTS)
    backwards = values(scorer, TEXTS[::-1])
    assert backwards[::-1] == pytest.approx(forwards, abs=tolerance(scorer))
    assert len(set(forwards)) == len(TEXTS)


def test_a_score_does_not_depend_on_its_batch(scorer: CrossEncoder) -> None:
    """Alone or among longer texts, a pair scores the same, unless the model is marked as not batch-invariant."""
    alone = [values(scorer, [text])[0] for text in TEXTS]
    assert values(scorer, TEXTS) == pytest.approx(alone, abs=tolerance(scorer))


def test_scores_are_plain_floats(scorer: CrossEncoder) -> None:
    """Values are Python floats."""
    assert {type(value) for value in values(scorer, TEXTS)} == {float}


@pytest.mark.parametrize(
    "text", ["", " \n\t", "nul \x00 byte", "lone \ud800 surrogate", "🦟 fléa", "x" * 5000], ids=ascii
)
def test_odd_texts_get_a_score(scorer: CrossEncoder, text: str) -> None:
    """Empty texts, control characters and lone surrogates get a finite score."""
    assert [math.isfinite(value) for value in values(scorer, [text, "bee"])] == [True, True]


def test_truncated_tokens_are_counted(scorer: CrossEncoder) -> None:
    """A score has the number of tokens of its pair that were cut off."""
    limit = scorer.spec.max_tokens or 0
    special, query = 3, scorer.count_tokens([QUERY])[0]
    short, long = scorer.score(QUERY, ["bee", "cat " * (limit + 100)])
    assert isinstance(short, Score)
    assert isinstance(long, Score)
    assert (short.truncated, long.truncated) == (0, query + special + limit + 100 - limit)


def test_ten_megabytes_of_text_are_scored_by_their_start(scorer: CrossEncoder) -> None:
    """A huge text has the score of its start, and the truncated tokens are an estimate within 1%."""
    huge, head = "cat " * 2_500_000, "cat " * 2_000
    outcome, same = scorer.score(QUERY, [huge, head])
    assert isinstance(outcome, Score)
    assert isinstance(same, Score)
    assert outcome.value == pytest.approx(same.value, abs=1e-4)
    assert outcome.truncated == pytest.approx(2_500_000, rel=0.01)


def test_no_pairs_give_no_outcomes(scorer: CrossEncoder) -> None:
    """Without pairs there are no outcomes."""
    assert scorer.score_pairs([]).outcomes == ()


def test_tokens_are_counted_with_the_models_tokenizer(scorer: CrossEncoder) -> None:
    """Counts exclude special tokens, and aren't limited to the model's length."""
    assert scorer.count_tokens(["the cat swim", "", "cat " * 700]) == [3, 0, 700]


def test_a_released_model_is_loaded_again(scorer: CrossEncoder) -> None:
    """After ``release`` the next call loads the model again and scores the same."""
    before = values(scorer, TEXTS)
    scorer.release()
    assert values(scorer, TEXTS) == before


def test_threads_get_their_own_scores(scorer: CrossEncoder) -> None:
    """Eight threads that share a scorer each get the scores of their own texts, whatever calls are merged."""
    expected = pytest.approx(values(scorer, TEXTS), abs=1e-4)
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda _: values(scorer, TEXTS), range(64)))
    assert all(result == expected for result in results)


def test_after_the_deadline_nothing_is_scored(scorer: CrossEncoder) -> None:
    """After the deadline no batch runs, and each pair is unscored with that reason."""
    outcomes = scorer.score(QUERY, TEXTS, call=Call(deadline_ms=0))
    assert [getattr(outcome, "reason", None) for outcome in outcomes] == [UnscoredReason.DEADLINE] * len(TEXTS)


def test_the_stage_has_the_figures_of_the_call(scorer: CrossEncoder) -> None:
    """The stage has the device, the reason for it, and the numbers of pairs and tokens."""
    facts = scorer.score_pairs([Pair(QUERY, text) for text in TEXTS]).stages[0].facts
    assert (facts["device"], facts["pairs"]) == ("cpu", len(TEXTS))
    assert "no accelerator" in str(facts["placement"])
    assert int(str(facts["padded_tokens"])) >= int(str(facts["tokens"])) > 0


def test_batch_limits_do_not_change_scores(tiny: Tiny, engine: str) -> None:
    """Small batch limits give more batches and the same scores."""
    folder = str(tiny(engine))
    small = load_scorer(folder, options=LoadOptions(batch_size=1, batch_tokens=8))
    assert values(small, TEXTS) == pytest.approx(values(load_scorer(folder), TEXTS), abs=1e-4)
    assert small.score_pairs([Pair(QUERY, text) for text in TEXTS]).stages[0].facts["batches"] == len(TEXTS)


@pytest.mark.parametrize(
    ("labels", "names"),
    [(1, ()), (2, ()), (2, ("entailment", "not_entailment")), (3, ("contradiction", "entailment", "neutral"))],
    ids=["one", "two", "two-entailment-first", "nli"],
)
def test_probabilities_are_those_of_the_softmax(tiny: Tiny, labels: int, names: tuple[str, ...]) -> None:
    """With one label the probability is the logistic function, with more the softmax share of the positive one."""
    import torch
    from sentence_transformers import CrossEncoder as Reference

    folder = str(tiny("torch", num_labels=labels, id2label=dict(enumerate(names)) or None))
    scorer = load_scorer(folder)
    logits = Reference(folder, device="cpu").predict(
        [(QUERY, text) for text in TEXTS], activation_fn=torch.nn.Identity(), convert_to_tensor=True
    )
    column = names.index("entailment") if names else labels - 1
    expected = logits.sigmoid() if labels == 1 else logits.softmax(dim=1)[:, column]
    ours = [scorer.spec.scale.probability(value) for value in values(scorer, TEXTS)]
    assert ours == pytest.approx(expected.tolist(), abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 7, 32])
def test_float32_scores_equal_sentence_transformers(torch_checkpoint: Path, dl19: list[Any], batch_size: int) -> None:
    """On real weights and passages the torch engine's values are ``CrossEncoder.predict``'s raw logits within 1e-4."""
    from sentence_transformers import CrossEncoder as Reference

    texts = [hit["content"] for hit in dl19[0]["hits"][:40]] + [" ".join(h["content"] for h in dl19[0]["hits"][:8])]
    reference = Reference(str(torch_checkpoint), device="cpu", max_length=512)
    expected = reference.predict([(dl19[0]["query"], text) for text in texts], batch_size=batch_size)
    ours = values(load_scorer(str(torch_checkpoint)), texts, dl19[0]["query"])
    assert ours == pytest.approx(expected.tolist(), abs=1e-4)


def test_scores_of_a_published_model_card(torch_checkpoint: Path) -> None:
    """The two examples of the model's card have the scores given there, within the error of the restored weights."""
    scorer = load_scorer(torch_checkpoint)
    texts = [
        "Berlin had a population of 3,520,031 registered inhabitants in an area of 891.82 square kilometers.",
        "Berlin is well known for its museums.",
    ]
    alone = [values(scorer, [text], "How many people live in Berlin?")[0] for text in texts]
    assert alone == pytest.approx([9.219, -4.078], abs=0.15)


def test_dynamic_activation_scales_are_recognised(published_folder: Path, tiny: Tiny) -> None:
    """A model with activation scales of each batch is marked as not batch-invariant; one in float isn't."""
    marks = [
        load_scorer(str(folder)).spec.batch_invariant
        for folder in (published_folder, tiny("onnx", variant="dynamic"), tiny("onnx"))
    ]
    assert marks == [False, False, True]


def test_a_graph_that_ends_in_a_sigmoid_gives_probabilities(tiny: Tiny) -> None:
    """Where the graph ends in a sigmoid, its outputs are the probabilities."""
    scorer = load_scorer(str(tiny("onnx", variant="sigmoid")))
    outputs = values(scorer, TEXTS)
    assert scorer.spec.scale.kind is ScaleKind.PROBABILITY
    assert [scorer.spec.scale.probability(value) for value in outputs] == outputs


def test_an_output_of_the_wrong_shape_is_refused(tiny: Tiny) -> None:
    """A model with an output for each token is refused when it is loaded."""
    with pytest.raises(ModelError, match=r"must be \(pairs, labels\)"):
        load_scorer(str(tiny("onnx", variant="embedding")))


def test_rows_of_the_wrong_width_are_refused(tiny: Tiny, engine: str) -> None:
    """An output without the declared labels raises through the reranker, also with ``on_error="degrade"``."""
    scorer = load_scorer(str(tiny(engine)))
    facts = scorer._engine.facts
    scorer._engine.facts = replace(facts, head=replace(facts.head, labels=3))
    with pytest.raises(ModelError, match=r"must give \(1, 3\) outputs, got"):
        Reranker(scorer, on_error="degrade").rerank(QUERY, ["a bird"])


def test_nan_makes_that_pair_invalid(tiny: Tiny, engine: str) -> None:
    """A pair for which the model gives NaN is unscored as invalid, and the others are scored."""
    outcomes = load_scorer(str(tiny(engine, nan=True))).score(QUERY, ["the void", "a bird"])
    assert [getattr(outcome, "reason", None) for outcome in outcomes] == [UnscoredReason.INVALID, None]


def test_three_labels_without_a_name_are_refused(tiny: Tiny, engine: str) -> None:
    """Without a label that means relevant, loading is an error, and the column can be given."""
    folder = str(tiny(engine, num_labels=3))
    with pytest.raises(ModelError, match="3 labels"):
        load_scorer(folder)
    assert len(values(load_scorer(folder, options=LoadOptions(label=2)), TEXTS)) == len(TEXTS)


def test_fingerprints_of_models_and_settings(tiny: Tiny) -> None:
    """Other weights, another engine or length give another fingerprint; the same model has the same one."""
    prints = [
        load_scorer(str(tiny("onnx"))).spec.fingerprint,
        load_scorer(str(tiny("onnx", num_labels=2))).spec.fingerprint,
        load_scorer(str(tiny("onnx")), max_length=32).spec.fingerprint,
        load_scorer(str(tiny("torch"))).spec.fingerprint,
    ]
    assert len(set(prints)) == 4
    assert load_scorer(str(tiny("onnx"))).spec.fingerprint == prints[0]


@pytest.mark.parametrize("error", [AttributeError("a bug"), KeyError("a bug"), TypeError("a bug")], ids=repr)
def test_programming_errors_in_the_library_raise(
    tiny: Tiny, engine: str, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """A programming error in the forward pass raises through the reranker, also with ``on_error="degrade"``."""
    with pytest.raises(type(error)) as caught:
        failing_reranker(tiny(engine), monkeypatch, error).rerank(QUERY, TEXTS)
    assert caught.value is error


def test_a_runtime_error_of_the_library_degrades(tiny: Tiny, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A RuntimeError of the library becomes a ScoringError: the first stage's order is returned, marked."""
    ranking = failing_reranker(tiny(engine), monkeypatch, RuntimeError("the device is lost")).rerank(QUERY, TEXTS)
    assert [kept.text for kept in ranking] == TEXTS
    assert "failed while scoring: RuntimeError: the device is lost" in str(ranking.degraded)


def failing_reranker(folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> Reranker:
    """Return a reranker whose engine's library raises in each forward pass."""

    class Failing:
        def __call__(self, *_: object) -> NoReturn:
            raise error

        run = __call__

    scorer = load_scorer(folder)
    forward = scorer._engine.forward

    def failing_forward(batch: Sequence[Encoded]) -> list[list[float]]:
        with monkeypatch.context() as patched:
            patched.setattr(scorer._engine, "_open", Failing)
            if hasattr(scorer._engine, "_packing"):
                patched.setattr(scorer._engine._packing, "scores", Failing())
            return forward(batch)

    monkeypatch.setattr(scorer._engine, "forward", failing_forward)
    return Reranker(scorer)


def test_special_tokens_in_a_text_are_text(scorer: CrossEncoder) -> None:
    """What looks like a special token, typed by a user, neither ends a segment nor begins one."""
    plain, typed = scorer._engine.encode([Pair("fox", "dog"), Pair("fox [SEP] fox", "dog [CLS] dog [SEP] </s>")])
    before, after = ([int(number) for number in item.features["input_ids"]] for item in (plain, typed))
    specials = {before[0], before[-1]}  # those at both ends of a pair
    assert sum(number in specials for number in after) == sum(number in specials for number in before)
    types = [int(number) for number in typed.features["token_type_ids"]]
    assert types == sorted(types)


HOSTILE = {
    "long": "a" * 1_000_000,
    "right to left": "\u202e" * 500,
    "emoji": "\U0001f600" * 2_000,
    "surrogate": "\x00\ud800",
    "masks": "[MASK] " * 400,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_texts_are_scored(scorer: CrossEncoder, name: str) -> None:
    """A million of one character, marks for right-to-left text, emoji, lone surrogates: each gets a finite score."""
    (outcome,) = scorer.score(QUERY, [HOSTILE[name]])
    assert isinstance(outcome, Score)
    assert math.isfinite(outcome.value)
