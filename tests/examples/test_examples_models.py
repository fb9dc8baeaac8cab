"""The examples that need other models run with tiny ones of the same architecture."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("sentence_transformers", reason="the extra torch isn't installed")
pytest.importorskip("datasets", reason="the extra train isn't installed")
pytest.importorskip("llama_index.core", reason="the extra llama-index isn't installed")
from examples import evaluate_and_fine_tune, pair_models

pytestmark = pytest.mark.slow


LABELS = {0: "contradiction", 1: "entailment", 2: "neutral"}


def test_pair_models_print_all_tasks(tiny: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Near-duplicates, the cache check and the three labels of a claim are printed."""
    pair_models.main(str(tiny("torch")), str(tiny("torch", num_labels=3, id2label=LABELS)))
    printed = capsys.readouterr().out
    assert "cached:" in printed
    assert printed.count("entailment") == len(pair_models.TEXTS)


def test_labels_of_a_claim_add_up_and_follow_their_names(tiny: Callable[..., Path]) -> None:
    """The columns are found by the configuration's names, and the three probabilities add up to 1."""
    ((labels),) = pair_models.ClaimCheck(str(tiny("torch", num_labels=3, id2label=LABELS))).check(
        "the sky is blue", ["a red fox"]
    )
    other = pair_models.ClaimCheck(
        str(tiny("torch", num_labels=3, id2label={0: "neutral", 1: "entailment", 2: "contradiction"}))
    )
    (swapped,) = other.check("the sky is blue", ["a red fox"])
    assert sum(labels.values()) == pytest.approx(1.0)
    assert labels["contradiction"] == pytest.approx(swapped["neutral"], abs=1e-6)


def test_models_of_another_kind_are_refused(tiny: Callable[..., Path]) -> None:
    """A model with the wrong labels is an error that says what must hold."""
    with pytest.raises(ValueError, match="1 label"):
        pair_models.Similarity(str(tiny("torch", num_labels=3, id2label=LABELS)))
    with pytest.raises(ValueError, match="must name entailment"):
        pair_models.ClaimCheck(str(tiny("torch")))


def test_similarity_does_not_depend_on_the_order_of_a_pair(tiny: Callable[..., Path]) -> None:
    """Both orders are scored, and few or no texts are no error."""
    similarity = pair_models.Similarity(str(tiny("torch")))
    one, other = similarity([("the red fox", "a blue sea"), ("a blue sea", "the red fox")])
    assert one == pytest.approx(other)
    assert pair_models.near_duplicates([], similarity) == []
    assert pair_models.cached_answer("what is it?", {}, similarity, 0.5) is None


def test_fine_tuning_trains_saves_and_measures(
    tiny: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A tiny model is trained on a BEIR folder, saved, opened by secondpass, and measured before and after."""
    data = tmp_path / "beir"
    (data / "qrels").mkdir(parents=True)
    animals = ("bee", "bird", "cat", "dog", "fish", "fox")
    texts = [
        {"_id": f"{animal}{place}", "title": "", "text": f"the {animal} {verb} ."}
        for animal in animals
        for place, verb in enumerate(("can fly", "can swim"))
    ]
    (data / "corpus.jsonl").write_text("\n".join(map(json.dumps, texts)))
    (data / "queries.jsonl").write_text(
        "\n".join(json.dumps({"_id": animal, "text": f"can the {animal} swim ?"}) for animal in animals)
    )
    for split in ("train", "test"):
        lines = ["query-id\tcorpus-id\tscore", *(f"{animal}\t{animal}1\t1" for animal in animals)]
        (data / "qrels" / f"{split}.tsv").write_text("\n".join(lines))
    sizes = evaluate_and_fine_tune.Sizes(
        train=6, test=4, negatives=1, candidates=4, max_length=64, epochs=1, guard=str(tiny("torch", seed=3))
    )
    evaluate_and_fine_tune.main(str(tiny("torch")), str(data), str(tmp_path / "out"), sizes)
    assert (tmp_path / "out" / "model.safetensors").is_file()
    printed = capsys.readouterr().out
    for part in ("hard negatives for", "nDCG@10 0.", "| before |", "| after |"):
        assert part in printed
