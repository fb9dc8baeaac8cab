"""Rows: groups cut into what stays together in a batch, with lengths in the model's own tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import tiny_tokenizer
from transformers import PreTrainedTokenizerFast

from secondpass.errors import InputError
from secondpass.training.data import Group, make_rows, pair_lengths
from secondpass.training.settings import DistillSettings

TOKENIZER = PreTrainedTokenizerFast(tokenizer_object=tiny_tokenizer(), pad_token="[PAD]", unk_token="[UNK]")
texts = st.lists(st.integers(1, 20).map(lambda n: " ".join(["cat"] * n)), min_size=1, max_size=9).map(tuple)


def test_a_pairs_length_is_what_the_tokenizer_makes_of_it() -> None:
    """Question and text are counted apart, each once, and the special tokens of a pair are added."""
    group = Group("what is a cat ?", ("a cat", "the quick brown fox ."))
    own = [len(TOKENIZER(group.query, text)["input_ids"]) for text in group.texts]
    assert pair_lengths([group], TOKENIZER, 64, truncate=False) == [own]


@given(st.lists(texts, min_size=1, max_size=5), st.integers(1, 5))
def test_every_text_is_in_one_row_of_its_group(groups: list[tuple[str, ...]], size: int) -> None:
    """Rows hold at most group_size texts, and together each text once."""
    made = [Group("dog", own) for own in groups]
    rows = make_rows(made, DistillSettings(group_size=size), TOKENIZER, 64)
    for number, group in enumerate(made):
        own = [row for row in rows if row.group == number]
        assert sorted(position for row in own for position in row.positions) == list(range(len(group.texts)))
    assert all(len(row.positions) <= size for row in rows)
    lengths = pair_lengths(made, TOKENIZER, 64, truncate=False)
    longest = [max(lengths[row.group][i] for i in row.positions) for row in rows]
    assert [row.length for row in rows] == longest


def test_pairs_longer_than_the_model_are_an_error_unless_they_may_be_cut() -> None:
    """The error counts them and says what to do; with truncate they count as the model sees them."""
    groups = [Group("dog", ("cat " * 50, "cat", "cat " * 30))]
    with pytest.raises(InputError, match=r"at most 20 tokens, and 2 are longer, up to 54: .* truncate=True"):
        make_rows(groups, DistillSettings(), TOKENIZER, 20)
    (row,) = make_rows(groups, DistillSettings(truncate=True), TOKENIZER, 20)
    assert row.length == 20
