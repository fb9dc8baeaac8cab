"""The configuration file: what it states, what is refused, and what is meant."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secondpass import Cached, Cascade, ContextBudget, Fallback, LargestGap, Reranker, Selection, WeightedSum, Windowed
from secondpass.audit import AuditLog, read_records
from secondpass.config import Config, config_from, read_config, to_data
from secondpass.errors import ConfigurationError
from secondpass.scoring.overlap import OverlapScorer
from secondpass.selection.order import ORDERS
from secondpass.selection.packing import POLICIES

EXAMPLE = Path(__file__).parents[1] / "examples" / "secondpass.toml"


def written(folder: Path, text: str) -> Path:
    """Write a configuration file."""
    path = folder / "secondpass.toml"
    path.write_text(text, "utf-8")
    return path


def test_the_example_states_every_part_of_a_reranker(tmp_path: Path) -> None:
    """The commented example is a reranker with each of its parts, and it reranks and records."""
    path = written(tmp_path, EXAMPLE.read_text("utf-8"))
    reranker = Reranker.from_config(path)
    assert isinstance(reranker.scorer, Fallback)
    windowed, other = reranker.scorer.scorers
    assert isinstance(other, Cached)
    assert isinstance(windowed, Windowed)
    assert (windowed.windows.max_windows, windowed.windows.overlap) == (16, 0.2)
    assert isinstance(windowed.scorer, Cascade)
    assert (windowed.scorer.keep, windowed.scorer.vote) == ((30,), 0.25)
    assert [scorer.spec.name for scorer in windowed.scorer.scorers] == ["nano", "small"]
    assert reranker.fusion == WeightedSum(0.2)
    assert reranker.selection == Selection(
        top_k=10,
        min_probability=0.02,
        min_keep=1,
        duplicates="near",
        adaptive=LargestGap(0.3),
        budget=ContextBudget(1500),
    )
    assert (reranker.deadline_ms, reranker.on_error) == (2000, "degrade")
    assert reranker.rerank("how long does a flea live?", ["Fleas live for months.", "A market hall."]).kept
    assert (tmp_path / "scores.db").is_file()  # relative to the file
    [log] = reranker.observers
    assert isinstance(log, AuditLog)
    log.close()
    assert [record["query"] for record in read_records(tmp_path / "audit.db")]


def test_an_empty_file_is_the_default_reranker(tmp_path: Path) -> None:
    """What isn't stated has the defaults of ``Reranker``."""
    config = read_config(written(tmp_path, ""))
    assert config == Config()
    assert {**config.parts(), "scorer": None} == {
        "selection": Selection(),
        "fusion": None,
        "deadline_ms": None,
        "on_error": "degrade",
        "observers": [],
        "scorer": None,
    }


def test_the_example_comes_back_as_plain_data() -> None:
    """What a file states comes back from ``to_data``, but for what equals a default."""
    data = tomllib.loads(EXAMPLE.read_text("utf-8"))
    again = to_data(config_from(data))
    assert config_from(again) == config_from(data)
    assert again["cascade"] == {"models": ["nano"], "vote": 0.25}
    assert again["fusion"] == {"rule": "weighted_sum", "alpha": 0.2}
    defaults = [
        "on_error", "model.engine", "model.name", "cascade.keep", "windows.overlap", "fallback.max_failures",
        "fallback.retry_seconds", "cache.max_entries", "selection.policy", "selection.order", "budget.template",
        "fusion.weights.first_stage", "audit.max_mb",
    ]  # fmt: skip
    assert sorted(flat(data).keys() - flat(again).keys()) == sorted(defaults)
    assert flat(again).items() <= flat(data).items()


def flat(data: dict[str, Any]) -> dict[str, Any]:
    """Return tables as one, with dotted names."""
    tables = {name: value for name, value in data.items() if isinstance(value, dict)}
    rest = {name: value for name, value in data.items() if name not in tables}
    inner = {f"{name}.{key}": item for name, value in tables.items() for key, item in flat(value).items()}
    return inner | {name: str(value) if name == "models" else value for name, value in rest.items()}


DATA = st.fixed_dictionaries(
    {},
    optional={
        "deadline_ms": st.floats(0, 1e6) | st.integers(0, 10_000),
        "on_error": st.sampled_from(["degrade", "raise"]),
        "model": st.fixed_dictionaries(
            {"name": st.sampled_from(["small", "overlap", "a/b"])}, optional={"threads": st.integers(1, 8)}
        ),
        "cascade": st.fixed_dictionaries(
            {"models": st.just(["nano"])},
            optional={"keep": st.integers(1, 99) | st.lists(st.floats(0.1, 0.9), min_size=1)},
        ),
        "selection": st.fixed_dictionaries(
            {},
            optional={
                "top_k": st.integers(1, 50),
                "near": st.floats(0, 1),
                "policy": st.sampled_from(POLICIES),
                "order": st.sampled_from(ORDERS),
                "adaptive": st.just({"rule": "covered_mass", "mass": 0.5}),
            },
        ),
        "budget": st.fixed_dictionaries({"max_tokens": st.integers(0, 9999)}),
        "fusion": st.just({"rule": "reciprocal_rank", "k": 20}),
        "windows": st.just({}),
    },
)


@given(DATA)
def test_a_configuration_survives_the_way_to_data_and_back(data: dict[str, Any]) -> None:
    """``to_data`` loses nothing, and its data are JSON."""
    config = config_from(data)
    assert config_from(json.loads(json.dumps(to_data(config)))) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[selection]\ntop_n = 3",
            r"\[selection\] has the unknown key 'top_n': did you mean top_k\? \(allowed: ",
        ),
        ("[selections]\ntop_k = 3", r"the file has the unknown key 'selections': did you mean selection\?"),
        ("top_k = 3", r"the file has the unknown key 'top_k': it stands in \[selection\]"),
        ("[model]\ndeadline_ms = 3", r"\[model\] has the unknown key 'deadline_ms': it stands above the first table"),
        ("[budget]\nmax_tokns = 3", r"\[budget\] has the unknown key 'max_tokns': did you mean max_tokens\?"),
        ("[model]\nzzz = 3", r"\[model\] has the unknown key 'zzz' \(allowed: batch_size, "),
        ("[budget]\ntemplate = '{text}'", r"\[budget\] needs max_tokens"),
        ("[selection]\ntop_k = '3'", r"selection.top_k must be a whole number, got '3'"),
        ("[selection]\ntop_k = true", r"selection.top_k must be a whole number, got True"),
        ("[selection]\ntop_k = 0", r"\[selection\] top_k must be a whole number from 1"),
        ("[selection]\norder = 'relevence'", r"selection.order must be one of .*; did you mean 'relevance'\?"),
        ("on_error = 'ignore'", r"on_error must be one of degrade, raise, got 'ignore'"),
        ("selection = 3", r"selection must be a table, as \[selection\], got 3"),
        ("[cascade]\nmodels = 'nano'", r"cascade.models must be a list, each a text, got 'nano'"),
        ("[cascade]\nmodels = ['nano']\nkeep = 'x'", r"cascade.keep must be a whole number or a number or a list"),
        ("[fusion]\nk = 3", r"\[fusion\] rule must be one of reciprocal_rank, weighted_sum; got None"),
        ("[fusion]\nrule = 'weighted_sum'\nalpha = 2", r"\[fusion\] alpha must be within 0"),
        ("[fusion]\nrule = 'weighted_sum'\nk = 2", r"\[fusion\] has the unknown key 'k'"),
        ("[windows]\noverlap = 0.9", r"\[windows\] the overlap of windows must be within 0 and 0.5"),
        ("[selection.adaptive]\nrule = 'gap'", r"\[selection.adaptive\] rule must be one of largest_gap, covered_mass"),
        ("top_k", r"secondpass.toml can't be read: .*at end of document"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    """A wrong key or value is an error with the file, the table, what is allowed, and what was probably meant."""
    path = written(tmp_path, text)
    with pytest.raises(ConfigurationError, match=message) as raised:
        read_config(path)
    assert str(path) in str(raised.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing file, a folder, and bytes that aren't UTF-8 are errors of the configuration."""
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    for path in (tmp_path / "no.toml", tmp_path, tmp_path / "bytes.toml"):
        with pytest.raises(ConfigurationError, match="must be a TOML file"):
            Reranker.from_config(path)


def test_parts_fail_with_the_settings_that_they_are_made_from(tmp_path: Path) -> None:
    """A model, a tokenizer and an audit file that can't be opened are errors when the reranker is made."""
    for text, message in [
        ("[model]\nname = 'smal'", "did you mean 'small'"),
        ("[budget]\nmax_tokens = 9\ntokenizer = 'no.json'", "no.json can't be opened"),
        ("[audit]\npath = '.'", "must be one that can be written"),
        ("deadline_ms = -1", "deadline_ms"),
    ]:
        with pytest.raises(ConfigurationError, match=message):
            Reranker.from_config(written(tmp_path, text))


def test_other_models_have_the_machines_settings_and_not_the_models_own() -> None:
    """A cascade's cheap model runs on the same device, and isn't checked against the other's hash."""
    model = config_from({"model": {"device": "cpu", "threads": 2, "sha256": "0" * 64, "max_length": 128}}).model
    other = model.other("nano")
    assert (other.name, other.device, other.threads) == ("nano", "cpu", 2)
    assert (other.sha256, other.max_length) == (None, None)


def test_a_folder_with_a_dot_is_relative_to_the_file(tmp_path: Path, reranker_folder: Path) -> None:
    """A model beside the configuration is found from any current folder."""
    (tmp_path / "model").symlink_to(reranker_folder)
    reranker = Reranker.from_config(written(tmp_path, "[model]\nname = './model'\n"))
    assert reranker.rerank("fox", ["a fox", "a whale"]).kept[0].candidate.text == "a fox"


def test_a_bundled_cascade_is_cached_inside(tmp_path: Path) -> None:
    """The scores of each of its models are cached, since those of a cascade depend on the other candidates."""
    scorer = read_config(written(tmp_path, "[model]\nname = 'fast'\n[cache]\n")).scorer()
    assert isinstance(scorer, Cascade)
    assert [type(inner) for inner in scorer.scorers] == [Cached, Cached]
    assert scorer.spec.name == "fast"


def test_overlap_needs_no_model(tmp_path: Path) -> None:
    """The scorer of shared words is there by name, as on the command line."""
    assert isinstance(Reranker.from_config(written(tmp_path, "[model]\nname = 'overlap'")).scorer, OverlapScorer)
