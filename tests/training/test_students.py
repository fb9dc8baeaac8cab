"""Students: layers taken from a model, and which of the teacher's layers each learns from."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from sentence_transformers import CrossEncoder as Model
from transformers import (
    ModernBertConfig,
    ModernBertForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from secondpass.errors import ConfigurationError, ModelError, ModelNotFound
from secondpass.optimize.checkpoint import layers_of, reads_first_token_only
from secondpass.training import DistillSettings
from secondpass.training.students import HiddenStatesLoss, make_student, open_scorer

pytestmark = pytest.mark.slow


def test_a_student_keeps_the_layers_that_it_is_told_to(tiny_torch_folder: Path) -> None:
    """Their weights are the base's, and its depth is told in its configuration."""
    base, student = (
        open_scorer(str(tiny_torch_folder)),
        make_student(str(tiny_torch_folder), (1,)),
    )
    (layer,) = layers_of(student)
    for name, weight in layers_of(base)[1].state_dict().items():
        torch.testing.assert_close(layer.state_dict()[name], weight)
    assert student.config.num_hidden_layers == 1


def test_a_student_has_no_dropout(tiny_torch_folder: Path) -> None:
    """Two forward passes in training mode give the same scores: noise would only hide what the teacher says."""
    student = make_student(str(tiny_torch_folder)).train()
    features = student.preprocess([("cat", "the quick brown fox")])
    first, second = (student(dict(features))["scores"] for _ in range(2))
    assert torch.equal(first, second)


def test_a_saved_student_opens_with_as_many_layers(tiny_torch_folder: Path, tmp_path: Path) -> None:
    """What is dropped stays dropped."""
    make_student(str(tiny_torch_folder), (0,)).save_pretrained(str(tmp_path))
    assert len(layers_of(Model(str(tmp_path)))) == 1


def test_widths_and_vocabularies_must_be_the_same_to_match(tiny_torch_folder: Path) -> None:
    """Where they aren't, the error says that scores alone can teach."""
    teacher, student = open_scorer(str(tiny_torch_folder)), open_scorer(str(tiny_torch_folder))
    student.tokenizer.add_tokens(["new"])
    with pytest.raises(ConfigurationError, match=r"share a vocabulary.*hidden_weight=0"):
        HiddenStatesLoss(student, teacher, 1)
    student.model.config.hidden_size = 16
    with pytest.raises(ConfigurationError, match="same width, got 32 and 16"):
        HiddenStatesLoss(student, teacher, 1)


def test_layers_that_the_base_lacks_are_refused(tiny_torch_folder: Path) -> None:
    """The error says how many there are."""
    with pytest.raises(ConfigurationError, match=r"base's 2 \(0 to 1\), got \(0, 2\)"):
        make_student(str(tiny_torch_folder), (0, 2))


def test_other_families_lose_layers_the_same_way(tmp_path: Path, tiny_torch_folder: Path) -> None:
    """The stack of layers is found by its length, not by a family's name for it."""
    config = RobertaConfig(
        vocab_size=100, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=66, num_labels=1,
    )  # fmt: skip
    RobertaForSequenceClassification(config).save_pretrained(tmp_path)
    Model(str(tiny_torch_folder)).tokenizer.save_pretrained(tmp_path)
    assert len(layers_of(make_student(str(tmp_path), (0, 2)))) == 2


def modern_bert(folder: Path, tiny_torch_folder: Path) -> Path:
    config = ModernBertConfig(
        vocab_size=128, hidden_size=32, num_hidden_layers=6, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=64, num_labels=1, global_attn_every_n_layers=3, classifier_pooling="mean",
        pad_token_id=0, bos_token_id=2, cls_token_id=2, eos_token_id=3, sep_token_id=3,
    )  # fmt: skip
    torch.manual_seed(3)
    model = ModernBertForSequenceClassification(config)
    model.save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (folder / file).write_bytes((tiny_torch_folder / file).read_bytes())
    return folder


def test_layers_whose_place_decides_their_kind_are_cut_with_it(tmp_path: Path, tiny_torch_folder: Path) -> None:
    """ModernBERT's layers attend near or far: what is kept keeps its kind, and opens to the same scores."""
    base = modern_bert(tmp_path, tiny_torch_folder)
    student = make_student(str(base), (0, 2, 3))
    kinds = open_scorer(str(base)).config.layer_types
    assert student.config.layer_types == [kinds[index] for index in (0, 2, 3)]


def test_a_cut_that_would_open_as_another_model_is_refused(tmp_path: Path, tiny_torch_folder: Path) -> None:
    """ModernBERT's first layer has one norm less than the others: without it, what is saved isn't what was trained."""
    base = modern_bert(tmp_path, tiny_torch_folder)
    with pytest.raises(ModelError, match="can't be cut to these layers"):
        make_student(str(base), (1, 3, 5))


def test_a_head_that_reads_the_first_token_alone_is_recognised(tmp_path: Path, tiny_torch_folder: Path) -> None:
    """BERT's head looks at nothing else of the last layer; one that takes a mean looks at everything."""
    assert reads_first_token_only(open_scorer(str(tiny_torch_folder)))
    assert not reads_first_token_only(open_scorer(str(modern_bert(tmp_path, tiny_torch_folder))))


def test_models_that_cannot_teach_or_learn_are_named(tmp_path: Path, tiny: Callable[..., Path]) -> None:
    """No weights, no such model, or more than one score for a pair."""
    with pytest.raises(ModelNotFound):
        open_scorer(str(tmp_path / "none"))
    with pytest.raises(ModelError, match="the bundled nano is an int8 graph"):
        open_scorer("nano")
    with pytest.raises(ModelError, match="safetensors weights"):
        open_scorer(str(tmp_path))
    with pytest.raises(ModelError, match=r"one score for each pair, and .* gives 2"):
        open_scorer(str(tiny("torch", num_labels=2)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"objective": "mae"},
        {"layers": ()},
        {"layers": (1, 0)},
        {"layers": (0, 0)},
        {"layers": (-1,)},
        {"hidden_weight": -1},
        {"epochs": 0},
        {"learning_rate": 0},
        {"warmup": 2},
        {"batch_size": 0},
        {"max_length": 4},
        {"evaluate_every": 0},
        {"evaluate_every": 1.5},
        {"precision": "float8"},
    ],
    ids=str,
)
def test_settings_that_cannot_work_are_refused_at_once(wrong: dict[str, object]) -> None:
    """The error says what must hold."""
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        DistillSettings(**wrong)  # type: ignore[arg-type]
