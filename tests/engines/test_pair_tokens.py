"""Tokenised texts that are kept, and pairs put together from them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from secondpass.engines.tokens import PairTokenizer, TokenCache
from secondpass.errors import ModelError
from secondpass.models import bundled_models
from secondpass.records import Pair

NANO = bundled_models()["nano"] / "tokenizer.json"
TEXTS = st.text(max_size=40) | st.integers(0, 30).map(lambda count: "swallows fly south " * count)

Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Return a maker of word tokenizers with a post-processor."""

    def make(post_processor: object) -> Path:
        vocabulary = {word: number for number, word in enumerate(["[CLS]", "[SEP]", "[UNK]", "red", "fox", "dog"])}
        tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.Lowercase()
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer.add_special_tokens(["[CLS]", "[SEP]"])
        if post_processor:
            tokenizer.post_processor = post_processor
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        return tmp_path / "tokenizer.json"

    return make


def template(pair: str) -> object:
    """Return a post-processor with this template."""
    return processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair=pair, special_tokens=[("[CLS]", 0), ("[SEP]", 1)]
    )


def assert_as_the_tokenizer(tokenizer: PairTokenizer, pairs: list[Pair]) -> None:
    """Compare with the tokenizer's own encoding of each pair."""
    for ours, own in zip(tokenizer.encode(pairs), tokenizer._whole_pairs(pairs), strict=True):
        assert (ours.length, ours.truncated) == (own.length, own.truncated)
        for name, wanted in own.features.items():
            assert np.array_equal(ours.features[name], wanted)


@pytest.mark.slow
@given(pairs=st.lists(st.builds(Pair, TEXTS, TEXTS), max_size=6), max_length=st.sampled_from([8, 24, 512]))
def test_pairs_are_those_of_the_tokenizer(pairs: list[Pair], max_length: int) -> None:
    """Put together from parts or not, truncated or not, a pair has the tokens that the tokenizer gives it."""
    assert_as_the_tokenizer(PairTokenizer(NANO, max_length), pairs)


@pytest.mark.parametrize(
    ("pair", "together"),
    [
        ("[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", True),
        ("$A:0 $B:0", True),
        ("[CLS]:0 $A:0 [SEP]:0 [SEP]:0 $B:0 [SEP]:0", True),
        ("[CLS]:0 $B:0 [SEP]:0 $A:1", False),
        ("[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1 $A:0", False),
    ],
    ids=["BERT", "no special tokens", "RoBERTa", "the text first", "the query twice"],
)
def test_templates_that_are_recognised(save: Save, pair: str, together: bool) -> None:
    """The usual templates are recognised; with others every pair is tokenised by itself, with the same result."""
    tokenizer = PairTokenizer(save(template(pair)), 8)
    assert (tokenizer._template is not None) is together
    pairs = [Pair("red", "fox dog"), Pair("red", "dog " * 9), Pair("red fox dog red fox dog", "dog " * 9)]
    assert_as_the_tokenizer(tokenizer, pairs)


class Recording:
    """A tokenizer that records what it tokenises."""

    def __init__(self) -> None:
        self._tokenizer = Tokenizer.from_file(str(NANO))
        self.asked: list[str] = []

    def encode_batch_fast(self, texts: list[str], add_special_tokens: bool) -> object:
        self.asked += texts
        return self._tokenizer.encode_batch_fast(texts, add_special_tokens=add_special_tokens)


def test_a_text_is_tokenised_once() -> None:
    """A text that comes twice in a call, or again in a later one, is tokenised once."""
    tokenizer = Recording()
    cache = TokenCache(tokenizer)
    first = cache.ids(["red fox", "dog", "red fox"])
    again = cache.ids(["dog", "cat"])
    assert tokenizer.asked == ["red fox", "dog", "cat"]
    assert (first[0] is first[2], again[0] is first[1]) == (True, True)


def test_the_least_recently_used_are_forgotten() -> None:
    """Beyond its limit in bytes the cache forgets what was used longest ago."""
    one = TokenCache(Recording())
    one.ids(["a"])
    tokenizer = Recording()
    cache = TokenCache(tokenizer, limit=3 * one.bytes)
    for text in ("a", "b", "c", "a", "d", "a", "b"):  # the fourth text takes the place of b
        cache.ids([text])
    assert tokenizer.asked == ["a", "b", "c", "d", "b"]


@given(texts=st.lists(st.text(max_size=30), max_size=20), limit=st.integers(0, 2000))
def test_the_cache_stays_within_its_limit(texts: list[str], limit: int) -> None:
    """Whatever is tokenised, the cache holds no more bytes than its limit, and gives each text its tokens."""
    tokenizer = Tokenizer.from_file(str(NANO))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    cache = TokenCache(tokenizer, limit)
    ids = cache.ids(texts)
    assert cache.bytes <= limit
    assert [list(own) for own in ids] == [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]


def test_a_file_that_is_no_tokenizer_is_an_error(tmp_path: Path) -> None:
    """A damaged ``tokenizer.json`` is an error with its path."""
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match=r"tokenizer.json can't be opened as a tokenizer"):
        PairTokenizer(tmp_path / "tokenizer.json", 8)
