"""Packing candidates into a context budget, best first, and never a token more."""

import pytest
from worlds import count_words, judge, reasons

from secondpass import Candidate, ContextBudget
from secondpass.ranking import Ranked
from secondpass.records import LOGIT, Score, Window
from secondpass.selection.packing import Policy, pack

# Best first: 3 words, 5 words in two sentences, 2 words.
FOX = "the red fox"
DOG = "Dogs sleep. Old dogs snore."
BEE = "two bees"


def budget(max_tokens: int) -> ContextBudget:
    return ContextBudget(max_tokens, counter=count_words)


@pytest.mark.parametrize(
    ("policy", "max_tokens", "context"),
    [
        ("fill", 10, [FOX, DOG, BEE]),  # 3 + 5 + 2
        ("fill", 9, [FOX, DOG]),
        ("fill", 7, [FOX, BEE]),  # 3, then not 5 but 2
        ("fill", 2, [BEE]),
        ("fill", 1, []),
        ("fill", 0, []),
        ("prefix", 7, [FOX]),  # stops at the dog
        ("prefix", 2, []),
        ("prefix", 10, [FOX, DOG, BEE]),
        ("truncate", 7, [FOX, "Dogs sleep."]),  # 3 + 2, and stops there
        ("truncate", 8, [FOX, DOG]),
        ("truncate", 4, [FOX, "Dogs"]),  # no sentence has 1 word, so that the cut is between words
        ("truncate", 2, ["the red"]),
        ("truncate", 0, []),
    ],
)
def test_policies_by_hand(policy: Policy, max_tokens: int, context: list[str]) -> None:
    """``fill`` skips and goes on, ``prefix`` stops, ``truncate`` cuts and stops."""
    packed = pack(judge(FOX, DOG, BEE), budget(max_tokens), policy)
    assert [item.text for item in packed.kept] == context
    assert packed.context == "\n\n".join(context)


def test_the_figures_say_why_a_candidate_did_not_fit() -> None:
    """A dropped candidate has its tokens and what was left in its detail."""
    (dropped,) = pack(judge(FOX, DOG, BEE), budget(7)).dropped
    assert reasons([dropped]) == {DOG: "over budget"}
    assert dropped.detail == "5 tokens, 4 left"


def test_after_a_stop_everything_is_over_budget() -> None:
    """What ``prefix`` and ``truncate`` no longer look at says so."""
    after_prefix = pack(judge(FOX, DOG, BEE), budget(7), "prefix").dropped
    after_cut = pack(judge(FOX, DOG, BEE), budget(7), "truncate").dropped
    assert after_prefix[-1].detail == "after the first that didn't fit"
    assert [item.detail for item in after_cut] == ["the budget was full"]


def test_separators_and_templates_count() -> None:
    """Two items of one word, written as ``item: word`` and joined by ``and then``, take 6 words, not 2."""
    six, five = (
        ContextBudget(limit, counter=count_words, separator=" and then ", template="item: {text}") for limit in (6, 5)
    )
    fits, too_much = (pack(judge("fox", "dog"), budget) for budget in (six, five))
    assert (fits.context, fits.tokens) == ("item: fox and then item: dog", 6)
    assert (too_much.context, too_much.tokens) == ("item: fox", 2)


def test_the_prompts_text_counts_not_the_scored_one() -> None:
    """A candidate whose prompt text is longer than its scored text is measured by what the LLM reads."""
    small = Candidate("fox", prompt_text="a very long story about a fox")
    packed = pack(judge(small, "dog"), budget(5))
    assert packed.context == "dog"
    assert [item.candidate for item in packed.dropped] == [small]


def test_a_cut_text_is_the_start_of_the_reading_text() -> None:
    """A cut keeps whole sentences from the start, without the blanks behind the last."""
    packed = pack(judge("One two. Three four.   Five six."), budget(5), "truncate")
    assert [item.text for item in packed.kept] == ["One two. Three four."]


TABLE = "| planet | moons |\n|---|---|\n" + "\n".join(f"| planet {number} | {number} |" for number in range(400))
CODE = "\n".join(f"def f{number}(x):\n    return x + {number}\n" for number in range(200))
TRANSCRIPT = "\n".join(f"speaker {number % 2}: well yes I think so and then" for number in range(400))


@pytest.mark.parametrize("text", [TABLE, CODE, TRANSCRIPT], ids=["table", "code", "transcript"])
def test_a_text_without_sentences_is_cut_at_a_line_end(text: str) -> None:
    """A text too long for the budget by itself is cut after a line, and fills the budget but for a line."""
    packed = pack(judge(text), budget(300), "truncate")
    (item,) = packed.kept
    assert text.startswith(item.text + "\n")
    assert 285 < packed.tokens <= 300


def test_a_cut_candidate_says_how_much_was_cut() -> None:
    """The span is that of the characters kept, and the tokens left out are those of the rest; a whole one has none."""
    whole, cut = pack(judge(FOX, DOG), budget(5), "truncate").kept
    assert (whole.spans, whole.tokens, whole.cut) == (((0, 11),), 3, 0)
    assert (cut.spans, cut.tokens, cut.cut) == (((0, 11),), 2, 3)
    assert cut.candidate.reading[slice(*cut.spans[0])] == cut.text == "Dogs sleep."


STORY = "It rained. Nobody came. The fee is waived. The sun rose. All slept."  # sentences of 2, 2, 4, 3 and 2 words


def story(logit: float, header: str = "") -> Ranked:
    """Return a candidate of which the third sentence is the best window."""
    spans = [(0, 10), (11, 23), (24, 42), (43, 56), (57, 67)]
    windows = tuple(Window(*span, logit if span[0] == 24 else -9.0) for span in spans)
    candidate = Candidate(STORY, prompt_text=header + STORY, header_length=len(header))
    return Ranked(candidate, 0, Score(logit, windows=windows), LOGIT.probability(logit), None, 1)


@pytest.mark.parametrize(
    ("max_tokens", "text"),
    [
        (4, "The fee is waived."),
        (8, "The fee is waived. The sun rose."),  # what follows comes first
        (9, "Nobody came. The fee is waived. The sun rose."),
        (12, "Nobody came. The fee is waived. The sun rose. All slept."),
        (13, STORY),
        (3, "The fee is"),
    ],
)
def test_a_cut_is_made_around_the_best_window(max_tokens: int, text: str) -> None:
    """A candidate with windows keeps the best one and whole sentences on both sides of it, as many as fit."""
    (item,) = pack([story(3.0)], budget(max_tokens), "truncate").kept
    start = STORY.index(text)
    assert (item.text, item.spans) == (text, ((start, start + len(text)),))


def test_a_cut_around_a_window_keeps_the_header() -> None:
    """The header of a node stays in front of the part, as a span of its own."""
    (item,) = pack([story(3.0, "file: a.txt\n\n")], budget(6), "truncate").kept
    assert item.text == "file: a.txt\n\nThe fee is waived."
    assert item.spans == ((0, 13), (37, 55))


@pytest.mark.parametrize(
    ("rival", "kept"), [(-3.0, ["The fee is waived."]), (2.5, ["one two three four five"])], ids=["weak", "strong"]
)
def test_filling_cuts_the_best_where_nothing_else_is_nearly_as_relevant(rival: float, kept: list[str]) -> None:
    """A best candidate too long for the budget is cut around its best window, unless what fits is half as relevant."""
    ranked = [story(3.0), *judge("", "one two three four five", values=[0.0, rival])[1:]]
    assert [item.text for item in pack(ranked, budget(5)).kept] == kept


def test_filling_never_cuts_within_a_window() -> None:
    """Where not even the best window of the best candidate fits, it is left out as a whole."""
    ranked = [story(3.0), *judge("", "one two", values=[0.0, -3.0])[1:]]
    assert [item.text for item in pack(ranked, budget(3)).kept] == ["one two"]


def test_a_template_too_large_for_the_budget_is_no_reason_to_stop() -> None:
    """A candidate of which nothing fits is skipped, and the next is looked at."""
    layout = ContextBudget(3, counter=count_words, template="{source} {text}")
    long_source = Candidate("one two", source="a source of many words")
    assert pack(judge(long_source, "three four five six"), layout, "truncate").context.split() == [
        "three",
        "four",
        "five",
    ]


def test_a_huge_text_is_cut_at_a_sentence_end_too() -> None:
    """Of a text too long to split as a whole, the piece at which splitting stopped isn't taken for a sentence."""
    text = "One. " + "x" * 400
    assert pack(judge(text), ContextBudget(1, counter=lambda _text: 1), "truncate").context == "One."


def test_a_blank_text_that_does_not_fit_has_nothing_to_cut() -> None:
    """A prompt text of blanks alone has no sentence; it is over the budget like any other."""
    blank = Candidate("fox", prompt_text="   ")
    packed = pack(judge(blank), ContextBudget(2, counter=len), "truncate")
    assert reasons(packed.dropped) == {"fox": "over budget"}


def test_the_reading_order_is_what_is_counted() -> None:
    """With the best at both ends, the joined text is in that order, and so is its numbering."""
    layout = ContextBudget(99, counter=count_words, separator=" ", template="{index}:{text}")
    assert pack(judge("a", "b", "c", "d"), layout, "fill", "ends").context == "1:a 2:c 3:d 4:b"


@pytest.mark.parametrize(
    ("extra", "max_tokens", "kept"),
    [
        (0, 9, 3),  # 3 * 3
        (0, 8, 2),
        (1, 10, 2),  # 3 * 3 + 2 = 11
        (1, 11, 3),
        (-1, 6, 2),  # 3 * 3 - 2 = 7
        (-1, 7, 3),
        (-2, 6, 3),  # 3 * 3 - 4 = 5
    ],
)
def test_the_joined_count_decides(extra: int, max_tokens: int, kept: int) -> None:
    """Texts of three tokens are packed by what they take together, whatever joining two of them adds or saves."""

    def count(text: str) -> int:
        return count_words(text) + extra * text.strip().count("\n\n")

    packed = pack(judge("a b c", "d e f", "g h i"), ContextBudget(max_tokens, counter=count))
    assert len(packed.kept) == kept


def test_a_joined_text_that_takes_more_than_its_parts_is_said() -> None:
    """A candidate that fits by itself, and not together with what is kept, has a detail that says so."""
    counter = {"": 0, "\n\n": 0, "fox": 1, "dog": 1, "fox\n\ndog": 99}.__getitem__
    packed = pack(judge("fox", "dog"), ContextBudget(10, counter=counter))
    assert packed.context == "fox"
    assert packed.dropped[0].detail == "1 tokens, 0 left: the joined text takes more tokens than its parts"
