"""Packed inference of encoder classifiers, compared with the padded path."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="the extra torch isn't installed")
import transformers  # noqa: E402

from secondpass import LoadOptions, load_scorer  # noqa: E402
from secondpass.engines.packed import PackedClassifier, Shape, pack, reference_attention  # noqa: E402
from secondpass.engines.tokens import PairTokenizer  # noqa: E402
from secondpass.engines.torch_packing import TorchPacking  # noqa: E402
from secondpass.errors import ModelError  # noqa: E402
from secondpass.models.hardware import Hardware, PlacementRequest, place  # noqa: E402
from secondpass.records import Pair, Score  # noqa: E402
from secondpass.scoring.engine import Encoded  # noqa: E402

pytestmark = pytest.mark.slow


WORDS = 90
LONGEST = 40
SPECIAL = {"eos_token_id": 2, "bos_token_id": 1, "cls_token_id": 1, "sep_token_id": 2, "pad_token_id": 0}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("Bert", {"pad_token_id": 0}),
    "roberta": ("Roberta", {"pad_token_id": 1, "type_vocab_size": 1}),
    "xlm-roberta": ("XLMRoberta", {"pad_token_id": 1, "type_vocab_size": 1}),
    "modernbert, first token": ("ModernBert", {**SPECIAL, "local_attention": 8}),
    "modernbert, mean": ("ModernBert", {**SPECIAL, "local_attention": 8, "classifier_pooling": "mean"}),
}
TOLERANCE = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 1e-1}

Tiny = Callable[..., Path]


def random_model(family: str, dtype: str = "float32", **options: Any) -> Any:
    """Return a random classifier of three layers and two labels."""
    name, own = FAMILIES.get(family, (family, {}))
    torch.manual_seed(3)
    config = getattr(transformers, f"{name}Config")(
        **{
            "vocab_size": WORDS,
            "hidden_size": 32,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "intermediate_size": 64,
            "max_position_embeddings": LONGEST + 4,
            "num_labels": 2,
            "initializer_range": 0.3,
            **own,
            **options,
        }
    )
    model = getattr(transformers, f"{name}ForSequenceClassification")(config)
    return model.eval().to(getattr(torch, dtype))


def random_batch(lengths: Sequence[int], types: int = 1) -> list[Encoded]:
    """Return sequences of random tokens; with two types the second half of each has the second."""
    random = np.random.default_rng(5)
    batch = []
    for length in lengths:
        features = {"input_ids": random.integers(4, WORDS, length).astype(np.int32)}
        if types > 1:
            features["token_type_ids"] = (np.arange(length) >= length // 2).astype(np.int32)
        batch.append(Encoded(length, 0, features))
    return batch


def padded_scores(model: Any, batch: Sequence[Encoded]) -> Any:
    """Return the outputs of transformers' own padded path, one sequence after the other."""
    rows = []
    with torch.inference_mode():
        for item in batch:
            inputs = {name: torch.from_numpy(value).long()[None] for name, value in item.features.items()}
            mask = torch.ones(1, item.length, dtype=torch.long)
            rows.append(model(**inputs, attention_mask=mask).logits[0].float())
    return torch.stack(rows)


def packed_scores(classifier: PackedClassifier, batch: Sequence[Encoded]) -> Any:
    """Return the outputs of a packed batch."""
    inputs = torch.from_numpy(pack(batch, classifier.first_position))
    with torch.inference_mode():
        return classifier(inputs, Shape.of(batch)).float()


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("family", FAMILIES)
def test_packed_scores_are_the_padded_scores(family: str, dtype: str) -> None:
    """Of every architecture, in every dtype, packed scores are those of the padded path."""
    lengths = [3, LONGEST, 17, 1, 9, 30]
    model, batch = random_model(family, dtype), random_batch(lengths, types=2 if family == "bert" else 1)
    wanted = padded_scores(model, batch)
    classifier = PackedClassifier(model)
    difference = (packed_scores(classifier, batch) - wanted).abs()
    assert bool((difference <= TOLERANCE[dtype] * (1 + wanted.abs())).all()), float(difference.max())
    assert float(wanted.std()) > 0.1  # sequences that all score the same would show nothing


@pytest.fixture(scope="module")
def bert() -> tuple[Any, PackedClassifier]:
    """Return a model for the padded path, and the packed form of its twin."""
    return random_model("bert"), PackedClassifier(random_model("bert"))


@settings(max_examples=25)
@given(lengths=st.lists(st.integers(1, LONGEST), min_size=1, max_size=12))
def test_a_score_does_not_depend_on_its_neighbours(bert: tuple[Any, PackedClassifier], lengths: list[int]) -> None:
    """Whatever lies beside it, a sequence has the score that it has alone."""
    model, classifier = bert
    batch = random_batch(lengths, types=2)
    wanted = padded_scores(model, batch)
    torch.testing.assert_close(packed_scores(classifier, batch), wanted, atol=1e-4, rtol=1e-4)


def test_positions_restart_at_each_sequence() -> None:
    """Ids, types, positions (from the model's first one) and starts of two sequences."""
    batch = [
        Encoded(3, 0, {"input_ids": np.array([5, 6, 7]), "token_type_ids": np.array([0, 0, 1])}),
        Encoded(2, 0, {"input_ids": np.array([8, 9]), "token_type_ids": np.array([0, 1])}),
    ]
    inputs = pack(batch, first_position=2)
    assert inputs.dtype == np.int32
    assert inputs[:5].tolist() == [5, 6, 7, 8, 9]
    assert inputs[5:10].tolist() == [0, 0, 1, 0, 1]
    assert inputs[10:15].tolist() == [2, 3, 4, 2, 3]
    assert inputs[15:].tolist() == [0, 3, 5]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_sequence_without_tokens_spoils_no_other(family: str) -> None:
    """A pair of which nothing is left, at the end or between others, costs no other its score."""
    batch = random_batch([7, 0, 5, 0])
    model = random_model(family)
    wanted = padded_scores(model, [batch[0], batch[2]])
    torch.testing.assert_close(packed_scores(PackedClassifier(model), batch)[[0, 2]], wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("window", [None, 2])
def test_the_reference_attention_is_block_diagonal(window: int | None) -> None:
    """It gives what attention with a block-diagonal mask gives, in a window too, and beside an empty sequence."""
    torch.manual_seed(1)
    query, key, value = torch.randn(3, 7, 2, 8)
    starts = torch.tensor([0, 4, 4, 7], dtype=torch.int32)
    side = (-1, -1) if window is None else (window, window)
    got = reference_attention(query, key, value, starts, starts, 4, 4, window_size=side)
    of, place = torch.tensor([0, 0, 0, 0, 2, 2, 2]), torch.arange(7)
    mask = of[:, None] == of
    if window is not None:
        mask &= (place[:, None] - place).abs() <= window
    rows = [states.transpose(0, 1) for states in (query, key, value)]
    wanted = torch.nn.functional.scaled_dot_product_attention(*rows, attn_mask=mask).transpose(0, 1)
    torch.testing.assert_close(got, wanted)


def test_deberta_says_that_it_has_no_packed_form() -> None:
    """An architecture whose attention needs more than positions is refused, with its name."""
    model = random_model("DebertaV2", relative_attention=True, pos_att_type=["p2c", "c2p"])
    with pytest.raises(ValueError, match="deberta-v2 has no packed form"):
        PackedClassifier(model)


def test_a_model_that_differs_when_packed_stays_padded(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the packed outputs are others, that is an error, and the model has its own attention again."""
    model = random_model("bert")
    before = model.config._attn_implementation
    monkeypatch.setattr("secondpass.engines.packed._firsts", lambda rows, starts: rows[starts[1:] - 1])
    with pytest.raises(ValueError, match=r"bert can't be packed here .*scores differ by"):
        PackedClassifier(model)
    assert model.config._attn_implementation == before


# The engine


def values(folder: Path, packed: bool | None, texts: Sequence[str], **options: Any) -> tuple[list[float], str]:
    """Return the scores of texts, and what the report says about the placement."""
    scorer = load_scorer(folder, engine="torch", options=LoadOptions(packed=packed), **options)
    scored = scorer.score_pairs([Pair("how long can a bee live", text) for text in texts])
    outcomes = [outcome.value for outcome in scored.outcomes if isinstance(outcome, Score)]
    assert len(outcomes) == len(texts)
    return outcomes, str(scored.stages[0].facts["placement"])


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_the_engine_scores_the_same_packed_and_padded(tiny: Tiny, dtype: str) -> None:
    """Long, short, truncated and empty texts have the same scores packed and padded, and the report says which."""
    texts = ["the brown fox", "a bird can fly", "cat " * 100, "", "the old lake is cold " * 6]
    padded, padded_reason = values(tiny("torch"), False, texts, dtype=dtype)
    packed, packed_reason = values(tiny("torch"), None, texts, dtype=dtype)
    assert packed == pytest.approx(padded, abs=TOLERANCE[dtype], rel=TOLERANCE[dtype])
    assert packed_reason.endswith("; packed")
    assert "packed" not in padded_reason


def test_the_report_counts_no_padding_when_packed(tiny: Tiny) -> None:
    """Packed batches have exactly the pairs' tokens; padded ones have more."""
    pairs = [Pair("fox", "cat " * count) for count in (1, 5, 30)]
    facts = {}
    for packed in (True, False):
        scorer = load_scorer(tiny("torch"), engine="torch", device="cpu", options=LoadOptions(packed=packed))
        facts[packed] = scorer.score_pairs(pairs).stages[0].facts
    assert facts[True]["padded_tokens"] == facts[True]["tokens"] == 36 + 3 * 4
    assert int(str(facts[False]["padded_tokens"])) == 3 * (30 + 4)


def test_a_model_that_can_not_be_packed_is_padded_and_says_why(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing was asked for, the report has the reason; with ``packed=True`` it is an error."""
    monkeypatch.setattr("secondpass.engines.packed._BERT", {})
    _, reason = values(tiny("torch"), None, ["a bird"])
    assert reason.endswith("padded: bert has no packed form")
    with pytest.raises(ModelError, match="packed=True needs an encoder that can be packed: bert has no packed form"):
        values(tiny("torch"), True, ["a bird"])


@pytest.mark.parametrize("agrees", [True, False])
@pytest.mark.parametrize("packed", [True, False])
def test_texts_are_tokenised_once_where_that_gives_the_same(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, agrees: bool, packed: bool
) -> None:
    """Where texts' tokens make up the library's pairs the library isn't asked; elsewhere it is, with equal scores."""
    pairs = [Pair("how long can a bee live", text) for text in ("a bird [SEP] can fly", "", " cat " * 90)]
    by_library = load_scorer(tiny("torch"), engine="torch", device="cpu", options=LoadOptions(packed=False))
    wanted = [tokens.features["input_ids"].tolist() for tokens in by_library._engine._encode_by_library(pairs)]
    if not agrees:
        monkeypatch.setattr(PairTokenizer, "agrees_with", lambda *_: False)
    scorer = load_scorer(tiny("torch"), engine="torch", device="cpu", options=LoadOptions(packed=packed))
    engine = scorer._engine
    asked: list[int] = []
    encode = engine._encode_by_library
    monkeypatch.setattr(engine, "_encode_by_library", lambda part: asked.append(len(part)) or encode(part))
    assert [tokens.features["input_ids"].tolist() for tokens in engine.encode(pairs)] == wanted
    assert asked == ([] if agrees else [3])
    outcomes, expected = scorer.score_pairs(pairs).outcomes, by_library.score_pairs(pairs).outcomes
    for ours, theirs in zip(outcomes, expected, strict=True):
        assert isinstance(ours, Score)
        assert isinstance(theirs, Score)
        assert ours.value == pytest.approx(theirs.value, abs=1e-4)
        assert ours.truncated == theirs.truncated


def test_a_module_that_came_with_a_model_is_never_bypassed(tiny_torch_folder: Path) -> None:
    """Batches are packed for the libraries' own classes alone: a subclass, or a hook on one, decides its scores."""
    from sentence_transformers import CrossEncoder
    from sentence_transformers.cross_encoder.modules import Transformer

    class Custom(Transformer):  # type: ignore[misc, unused-ignore]
        """A module with scores of its own."""

    for change in (lambda model: setattr(model[0], "__class__", Custom), _add_one):
        model = CrossEncoder(str(tiny_torch_folder), device="cpu")
        change(model)
        packing = TorchPacking(PlacementRequest(), place(PlacementRequest(), Hardware(1)), 64)
        packing.open(model)
        assert not packing.active


def _add_one(model: Any) -> None:
    model[0].register_forward_hook(lambda _module, _inputs, out: {**out, "scores": out["scores"] + 1})
