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
from secondpass.training.settings import DistillSettings, Student
from secondpass.training.students import make_student, matched_layers, open_scorer


def test_a_student_keeps_the_layers_that_it_is_told_to(tiny_torch_folder: Path) -> None:
    """Their weights are the base's, its depth is told in its configuration, and the embeddings don't learn."""
    base, student = (
        open_scorer(str(tiny_torch_folder)),
        make_student(Student(layers=(1,)), str(tiny_torch_folder), None),
    )
    (layer,) = layers_of(student)
    for name, weight in layers_of(base)[1].state_dict().items():
        torch.testing.assert_close(layer.state_dict()[name], weight)
    assert student.config.num_hidden_layers == 1
    assert not student.model.get_input_embeddings().weight.requires_grad
    assert all(parameter.requires_grad for parameter in layer.parameters())


def test_a_student_has_no_dropout(tiny_torch_folder: Path) -> None:
    """Two forward passes in training mode give the same scores: noise would only hide what the teacher says."""
    student = make_student(Student(), str(tiny_torch_folder), None).train()
    features = student.preprocess([("cat", "the quick brown fox")])
    first, second = (student(dict(features))["scores"] for _ in range(2))
    assert torch.equal(first, second)


def test_a_saved_student_opens_with_as_many_layers(tiny_torch_folder: Path, tmp_path: Path) -> None:
    """What is dropped stays dropped."""
    make_student(Student(layers=(0,)), str(tiny_torch_folder), None).save_pretrained(str(tmp_path))
    assert len(layers_of(Model(str(tmp_path)))) == 1


@pytest.mark.parametrize(
    ("match", "expected"), [(None, (0, 1)), ((1, 1), (1, 1)), ((0, 1), (0, 1))], ids=["default", "same", "given"]
)
def test_layers_are_matched_evenly_unless_told(
    tiny_torch_folder: Path, match: tuple[int, ...] | None, expected: tuple[int, ...]
) -> None:
    """Without a list the last layer learns from the last, and the others are spread over the teacher."""
    teacher = open_scorer(str(tiny_torch_folder))
    assert matched_layers(teacher, make_student(Student(), str(tiny_torch_folder), None), match) == expected
    alone = make_student(Student(layers=(0,)), str(tiny_torch_folder), None)
    assert matched_layers(teacher, alone, None) == (1,)


@pytest.mark.parametrize("match", [(0,), (0, 2), (0, 1, 1)], ids=["too few", "not there", "too many"])
def test_a_match_that_does_not_fit_is_refused(tiny_torch_folder: Path, match: tuple[int, ...]) -> None:
    """It must name one of the teacher's layers for each of the student's."""
    teacher = open_scorer(str(tiny_torch_folder))
    with pytest.raises(ConfigurationError, match="one of the teacher's 2 layers for each of the student's 2"):
        matched_layers(teacher, open_scorer(str(tiny_torch_folder)), match)


def test_widths_and_vocabularies_must_be_the_same_to_match(tiny_torch_folder: Path) -> None:
    """Where they aren't, the error says that scores alone can teach."""
    teacher, student = open_scorer(str(tiny_torch_folder)), open_scorer(str(tiny_torch_folder))
    student.tokenizer.add_tokens(["new"])
    with pytest.raises(ConfigurationError, match=r"share a vocabulary.*hidden_weight=0"):
        matched_layers(teacher, student, None)
    student.model.config.hidden_size = 16
    with pytest.raises(ConfigurationError, match="same width, got 32 and 16"):
        matched_layers(teacher, student, None)


def test_layers_that_the_base_lacks_are_refused(tiny_torch_folder: Path) -> None:
    """The error says how many there are."""
    with pytest.raises(ConfigurationError, match=r"base's 2 \(0 to 1\), got \(0, 2\)"):
        make_student(Student(layers=(0, 2)), str(tiny_torch_folder), None)


def test_other_families_lose_layers_the_same_way(tmp_path: Path, tiny_torch_folder: Path) -> None:
    """The stack of layers is found by its length, not by a family's name for it."""
    config = RobertaConfig(
        vocab_size=100, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=66, num_labels=1,
    )  # fmt: skip
    RobertaForSequenceClassification(config).save_pretrained(tmp_path)
    Model(str(tiny_torch_folder)).tokenizer.save_pretrained(tmp_path)
    assert len(layers_of(make_student(Student(layers=(0, 2)), str(tmp_path), None))) == 2


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
    student = make_student(Student(layers=(0, 2, 3)), str(base), None)
    kinds = open_scorer(str(base)).config.layer_types
    assert student.config.layer_types == [kinds[index] for index in (0, 2, 3)]


def test_a_cut_that_would_open_as_another_model_is_refused(tmp_path: Path, tiny_torch_folder: Path) -> None:
    """ModernBERT's first layer has one norm less than the others: without it, what is saved isn't what was trained."""
    base = modern_bert(tmp_path, tiny_torch_folder)
    with pytest.raises(ModelError, match="can't be cut to these layers"):
        make_student(Student(layers=(1, 3, 5)), str(base), None)


def test_a_head_that_reads_the_first_token_alone_is_recognised(tmp_path: Path, tiny_torch_folder: Path) -> None:
    """BERT's head looks at nothing else of the last layer; one that takes a mean looks at everything."""
    assert reads_first_token_only(open_scorer(str(tiny_torch_folder)))
    assert not reads_first_token_only(open_scorer(str(modern_bert(tmp_path, tiny_torch_folder))))


def test_models_that_cannot_teach_or_learn_are_named(tmp_path: Path, tiny: Callable[..., Path]) -> None:
    """No weights, no such model, or more than one score for a pair."""
    with pytest.raises(ModelNotFound):
        open_scorer(str(tmp_path / "none"))
    with pytest.raises(ModelError, match="safetensors weights"):
        open_scorer(str(tmp_path))
    with pytest.raises(ModelError, match=r"one score for each pair, and .* gives 2"):
        open_scorer(str(tiny("torch", num_labels=2)))


@pytest.mark.parametrize("layers", [(), (1, 0), (0, 0), (-1,)])
def test_layers_must_rise(layers: tuple[int, ...]) -> None:
    """A student's layers are some of the base's, in their order."""
    with pytest.raises(ConfigurationError):
        Student(layers=layers)


@pytest.mark.parametrize(
    "wrong",
    [
        {"objective": "mae"},
        {"hidden_weight": 0, "score_weight": 0},
        {"hidden_weight": -1},
        {"epochs": 0},
        {"learning_rate": 0},
        {"warmup": 2},
        {"batch_tokens": 0},
        {"group_size": 0},
        {"group_size": 1, "objective": "margin-mse"},
        {"evaluate_every": 0},
        {"precision": "float8"},
    ],
    ids=str,
)
def test_settings_that_cannot_work_are_refused_at_once(wrong: dict[str, object]) -> None:
    """The error says what must hold."""
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        DistillSettings(**wrong)  # type: ignore[arg-type]
