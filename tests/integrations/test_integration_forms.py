"""The same settings in every form in which they can be written, and what is refused when an integration is made."""

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from integration_support import LangChain, Loader
from langchain_core.load import dumpd, load
from langchain_core.runnables import ConfigurableField
from llama_index.core.schema import MetadataMode
from worlds import named

from secondpass import (
    ContextBudget,
    CoveredMass,
    LargestGap,
    LoadOptions,
    OverlapScorer,
    Ranking,
    ReciprocalRank,
    Reranker,
    Selection,
    WeightedSum,
    Windows,
)
from secondpass.config import read_config
from secondpass.errors import ConfigurationError
from secondpass.langchain import CrossEncoderModel, SecondPassRerank
from secondpass.observe import AuditLog
from secondpass.records import Scale, ScaleKind, Spec
from secondpass.scorers.load import load_scorer
from secondpass.selection.call_options import CallOptions

REMOTE = "vllm:m@http://127.0.0.1:9"
NINE = {
    f"n{n}": " ".join(["swallows", *["fly", "south", "when", "do"][: n % 5], f"number {n} of nine."]) for n in range(9)
}

SETTINGS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "top_n": {"top_n": 2},
    "no limit": {"top_n": None},
    "tokens": {"budget": 20},
    "budget": {"budget": ContextBudget(30, separator="\n---\n", template="[{index}] {text}", origin="by hand")},
    "no budget": {"budget": None},
    "min_probability": {"min_probability": 0.5, "selection": Selection(min_keep=1)},
    "policy": {"budget": 20, "policy": "prefix"},
    "gap": {"selection": Selection(adaptive=LargestGap(0.1))},
    "mass": {"selection": Selection(adaptive=CoveredMass(0.5))},
    "keep": {"duplicates": "keep"},
    "near": {"selection": Selection(duplicates="near", near=0.4)},
    "diversity": {"selection": Selection(diversity=0.6)},
    "order": {"selection": Selection(order="ends")},
    "as the default": {"selection": Selection(), "policy": "fill", "on_error": "degrade", "device": "auto"},
    "sum": {"fusion": WeightedSum(0.6)},
    "reciprocal": {"fusion": ReciprocalRank(k=3.0, weights={"first_stage": 0.5})},
    "windows": {"windows": Windows(max_tokens=8, pooling="mean")},
    "fields": {"score_text": "{text} {source}", "source_key": "source", "add_metadata": False},
    "calls": {"on_error": "raise", "deadline_ms": 60_000.0, "options": LoadOptions(while_loading="wait")},
    "loading": {"options": LoadOptions(engine="onnx", threads=1), "max_length": 64, "batch_size": 4},
}

FORMS: dict[str, Callable[[Any], Any]] = {
    "model_copy": lambda it: it.model_copy(),
    "model_copy of an empty one": lambda it: type(it)().model_copy(update=values(it)),
    "assignment": lambda it: assigned(type(it)(), it),
    "all values": lambda it: type(it)(**values(it)),  # as LangChain's configurable_fields creates a copy
    "model_validate": lambda it: type(it).model_validate(it.model_dump()),
    "settings": lambda it: type(it)(**it.settings()),
    "json": lambda it: type(it).model_validate_json(it.model_dump_json()),
    "standard json": lambda it: type(it).model_validate(json.loads(json.dumps(it.model_dump(mode="json")))),
    "pickle": lambda it: pickle.loads(pickle.dumps(it)),
    "deepcopy": copy.deepcopy,
    "framework": lambda it: (
        load(dumpd(it), allowed_objects=[type(it)], valid_namespaces=["secondpass"])
        if isinstance(it, SecondPassRerank)
        else type(it).from_json(it.to_json())
    ),
}
"""``framework`` is the serialisation of the integration's framework."""


class Unknown(OverlapScorer):
    """A scorer on a scale without probabilities."""

    spec = Spec("unknown", Scale(ScaleKind.UNKNOWN), "unknown")


class AsyncObserver:
    """Can be called, and returns a coroutine."""

    async def __call__(self, ranking: Ranking) -> None: ...


def values(component: Any) -> dict[str, Any]:
    return {name: getattr(component, name) for name in type(component).model_fields}


def assigned(component: Any, like: Any) -> Any:
    for name, value in values(like).items():
        setattr(component, name, value)
    return component


def ranked(integration: LangChain, component: Any) -> list[Any]:
    """Return what a component's ranking kept, with every number."""
    ranking = component.rank(integration.items(NINE), "when do swallows fly south")
    return [(kept.index, kept.text, kept.score, kept.fused, kept.tokens) for kept in ranking]


@pytest.mark.filterwarnings("ignore:The function `load` is in beta")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_means_the_same_in_every_form(integration: LangChain, loader: Loader, name: str, form: str) -> None:
    """A copy, a serialisation and a validation have the settings, and give the ranking, of the original."""
    original = integration.create(**SETTINGS[name])
    twin = FORMS[form](original)
    before, after = (values(it) | {"callback_manager": None} for it in (original, twin))
    assert after == before
    assert ranked(integration, twin) == ranked(integration, original)
    assert loader.options[0] == loader.options[-1]


@pytest.mark.parametrize("name", [name for name in SETTINGS if name != "loading"])
def test_a_setting_means_the_same_beside_a_shared_reranker(integration: LangChain, loader: Loader, name: str) -> None:
    """What a selection can state gives the same ranking in the integration as in the reranker that it shares."""
    shared = {"windows", "on_error", "deadline_ms", "fusion", "options", "device"}
    settings = {key: value for key, value in SETTINGS[name].items() if key not in shared}
    copied = FORMS["all values"](integration.create(reranker=Reranker(OverlapScorer()), **settings))
    assert ranked(integration, copied) == ranked(integration, integration.create(**settings))


@pytest.mark.parametrize("value", [2, None, "default"])
def test_the_limit_of_a_call_means_what_it_means_in_the_constructor(loader: Loader, value: Any) -> None:
    """``top_n`` in ``rank``, in ``invoke`` and through ``configurable_fields`` is that of a compressor made with it."""
    documents = LangChain().items(NINE)
    expected = len(SecondPassRerank(top_n=value).compress_documents(documents, "swallows"))
    given = {"query": "swallows", "documents": documents}
    configured = SecondPassRerank().configurable_fields(top_n=ConfigurableField(id="top_n"))
    assert len(SecondPassRerank().rank(documents, "swallows", top_n=value)) == expected
    assert len(SecondPassRerank().invoke(given, top_n=value)) == expected
    assert len(configured.invoke(given, {"configurable": {"top_n": value}})) == expected


def test_a_configuration_file_states_the_same(loader: Loader, tmp_path: Any) -> None:
    """The tables of a file are the data of a setting: selection, budget, fusion and windows give the same ranking."""
    component = SecondPassRerank(
        top_n=4,
        min_probability=0.1,
        selection=Selection(duplicates="near", near=0.4, adaptive=LargestGap(0.3)),
        fusion=WeightedSum(0.6),
        windows=Windows(max_tokens=8),
    )
    (tmp_path / "secondpass.toml").write_text(
        """
        model = {name = "nano"}
        fusion = {rule = "weighted_sum", alpha = 0.6}
        windows = {max_tokens = 8}
        [selection]
        top_n = 4
        min_probability = 0.1
        duplicates = "near"
        near = 0.4
        adaptive = {rule = "largest_gap", min_gap = 0.3}
        """,
        "utf-8",
    )
    config = read_config(tmp_path / "secondpass.toml")
    assert config.selected() == component._selection("query", CallOptions())
    assert (config.fusion, config.windows) == (component.fusion, component.windows)
    written = component.settings()
    assert (written["fusion"]["rule"], written["selection"]["adaptive"]["rule"]) == ("weighted_sum", "largest_gap")


LIVE: dict[str, dict[str, Any]] = {
    "reranker": {"reranker": Reranker(OverlapScorer())},
    "model": {"model": OverlapScorer()},
    "observers": {"observers": [print]},
    "callable": {"budget": lambda query: 5},
    "counter": {"budget": ContextBudget(5, counter=len)},
    "template": {"budget": ContextBudget(5, template=lambda index, text, candidate: text)},
}
WRITERS: dict[str, Callable[[Any], object]] = {
    "model_dump": lambda it: it.model_dump(),
    "model_dump_json": lambda it: it.model_dump_json(),
    "settings": lambda it: it.settings(),
}


@pytest.mark.parametrize("way", WRITERS)
@pytest.mark.parametrize("live", LIVE)
def test_live_objects_are_refused_by_name(integration: LangChain, live: str, way: str) -> None:
    """What can't be written as data isn't left out: the error names it."""
    component = integration.create(**LIVE[live])
    with pytest.raises(ConfigurationError, match=rf"live objects \([^)]*{live}"):
        WRITERS[way](component)


def test_a_budget_is_data_again_after_pickling(integration: LangChain) -> None:
    """The estimate is recognised by what it is, not as an object of this process."""
    budget = pickle.loads(pickle.dumps(ContextBudget(30)))
    assert integration.create(budget=budget).live_objects() == []
    assert integration.create(budget=budget).settings() == integration.create(budget=ContextBudget(30)).settings()


def test_the_schema_describes_the_settings(integration: LangChain) -> None:
    """``model_json_schema`` works, with every setting that can be written as data, and no live object."""
    properties = integration.create.model_json_schema()["properties"]
    assert {"model", "options", "selection", "top_n", "budget", "fusion", "windows", "signal_keys"} <= set(properties)
    assert not {"reranker", "observers"} & set(properties)


@pytest.mark.parametrize(
    "update",
    [{"top_n": 0}, {"topn": 2}, {"fusion": WeightedSum}, {"windows": Windows}, {"reranker": 5}],
    ids=lambda update: next(iter(update)),
)
def test_copies_and_assignments_are_checked_as_the_constructor_is(
    integration: LangChain, update: dict[str, Any]
) -> None:
    """``model_copy(update=...)`` refuses what the constructor refuses; so does an assignment, and changes nothing."""
    component = integration.create(model="nano", top_n=3)
    before = values(component)
    with pytest.raises(ConfigurationError):
        component.model_copy(update=update)
    [(name, value)] = update.items()
    with pytest.raises((ConfigurationError, ValueError)):
        setattr(component, name, value)
    assert values(component) == before


REMOTE_SETTINGS: dict[str, Any] = {
    "engine": "onnx",
    "device": "cpu",
    "dtype": "float32",
    "max_length": 256,
    "revision": "main",
    "batch_size": 8,
    "file": "model.onnx",
    "threads": 2,
    "label": 1,
    "trust_remote_code": True,
    "local_files_only": True,
    "cache_folder": "cache",
    "sha256": "0" * 64,
    "max_queued_pairs": 9,
    "watchdog_seconds": 9.0,
}


@pytest.mark.parametrize("name", REMOTE_SETTINGS)
def test_loading_settings_are_refused_beside_a_remote_name(integration: LangChain, name: str) -> None:
    """What a server decides can't be set here: setting and model are named, when the integration is made."""
    setting = {name: REMOTE_SETTINGS[name]}
    fields = integration.create.model_fields
    with pytest.raises(ConfigurationError, match=rf"{name} has no effect on '{REMOTE}'"):
        integration.create(model=REMOTE, options=LoadOptions(**setting))
    if name in fields:
        with pytest.raises(ConfigurationError, match=rf"{name} has no effect on '{REMOTE}'"):
            integration.create(model=REMOTE, **setting)


def test_loading_settings_are_refused_beside_a_remote_name_everywhere(tmp_path: Any) -> None:
    """``load_scorer``, LangChain's cross-encoder and a configuration file refuse them, too."""
    with pytest.raises(ConfigurationError, match="device, batch_tokens has no effect on"):
        load_scorer(REMOTE, device="cpu", options=LoadOptions(batch_tokens=9))
    with pytest.raises(ConfigurationError, match="device has no effect on"):
        CrossEncoderModel(REMOTE, options=LoadOptions(device="cpu"))
    with pytest.raises(ConfigurationError, match="options have no effect"):
        CrossEncoderModel(OverlapScorer(), options=LoadOptions(device="cpu"))
    (tmp_path / "secondpass.toml").write_text(f'model = {{name = "{REMOTE}", max_length = 9}}', "utf-8")
    with pytest.raises(ConfigurationError, match="max_length has no effect on"):
        read_config(tmp_path / "secondpass.toml").reranker()


def test_settings_of_the_machine_go_to_the_local_models_of_a_file(loader: Loader, tmp_path: Any) -> None:
    """In a file, device and threads are for every model that is loaded here, and none of a server's."""
    text = '[model]\nname = "{}"\nthreads = 2\n[fallback]\nmodels = ["{}"]\n'
    for names in ((REMOTE, "nano"), ("nano", REMOTE)):
        (tmp_path / "secondpass.toml").write_text(text.format(*names), "utf-8")
        read_config(tmp_path / "secondpass.toml").reranker()
    threads = {(name, given.threads) for name, given in zip(loader.names, loader.options, strict=True)}
    assert threads == {(REMOTE, None), ("nano", 2)}


@pytest.mark.parametrize("name", ["revision", "file"])
def test_settings_of_a_hub_are_refused_beside_a_bundled_model(integration: LangChain, name: str) -> None:
    """A bundled model has one revision and one file."""
    with pytest.raises(ConfigurationError, match=f"{name} has no effect on 'nano'"):
        integration.create(model="nano", options=LoadOptions(**{name: "main"}))


@pytest.mark.parametrize("windows", [True, Windows(overlap=0.4)], ids=["True", "overlap"])
def test_windows_of_a_remote_model_need_a_size(integration: LangChain, windows: Any) -> None:
    """A server doesn't say how much its model reads, so that nothing would be cut; extraction has its own size."""
    with pytest.raises(ConfigurationError, match=rf"windows=.* has no effect with the remote model '{REMOTE}'"):
        integration.create(model=REMOTE, windows=windows)
    assert integration.create(model=REMOTE, windows=windows, policy="extract", budget=90).windows == windows
    assert integration.create(model=REMOTE, windows=Windows(max_tokens=64)).windows == Windows(max_tokens=64)


@pytest.mark.parametrize(
    "settings",
    [
        {"fusion": WeightedSum},
        {"observers": [AuditLog]},
        {"observers": [AsyncObserver()]},
        {"selection": Selection},
        {"selection": {"adaptive": {"rule": "weighted_sum", "alpha": 0.1, "beta": 1}}},
        {"options": LoadOptions},
        {"options": {"engine": "best"}},
        {"budget": ContextBudget},
        {"windows": Windows},
        {"model": OverlapScorer},
        {"reranker": Reranker},
        {"fusion": {"rule": "largest_gap"}},
        {"fusion": {"rule": "weighted_sum", "beta": 1.0}},
        {"fusion": {"alpha": 0.3}},
    ],
    ids=named,
)
def test_a_class_or_a_wrong_table_is_refused_at_construction(integration: LangChain, settings: dict[str, Any]) -> None:
    """What would fail at the first call is refused when the integration is made."""
    with pytest.raises(ConfigurationError, match=f"{next(iter(settings))}|has no setting|engine must be"):
        integration.create(**settings)


@pytest.mark.parametrize(
    "settings", [{"min_probability": 0.5}, {"selection": Selection(adaptive=CoveredMass())}], ids=named
)
def test_a_threshold_is_refused_beside_a_model_without_probabilities(
    integration: LangChain, settings: dict[str, Any]
) -> None:
    """Model and reranker are there when the integration is made, so that their scale is known then."""
    for live in ({"model": Unknown()}, {"reranker": Reranker(Unknown())}):
        with pytest.raises(ConfigurationError, match="that of unknown is unknown"):
            integration.create(**live, **settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"on_error": "degrade"},
        {"windows": False},
        {"options": LoadOptions(while_loading="degrade")},
        {"fusion": WeightedSum()},
    ],
    ids=named,
)
def test_settings_of_a_shared_reranker_are_set_there(integration: LangChain, settings: dict[str, Any]) -> None:
    """What the reranker has decided can't be set beside it, even where it is what a new one would do."""
    with pytest.raises(
        ConfigurationError, match=f"{next(iter(settings))} has no effect together with a loaded reranker"
    ):
        integration.create(reranker=Reranker(OverlapScorer(), on_error="raise"), **settings)


def test_near_alone_has_no_effect_and_is_refused(integration: LangChain) -> None:
    """``near`` is for ``duplicates="near"``; other duplicates replace a shared reranker's rule with its ``near``."""
    with pytest.raises(ConfigurationError, match=r"near=0.9 has no effect with duplicates='exact'"):
        integration.create(selection={"near": 0.9})
    shared = Reranker(OverlapScorer(), selection=Selection(duplicates="near", near=0.9))
    assert len(ranked(integration, integration.create(reranker=shared, duplicates="keep", top_n=None))) == 9


def test_the_metadata_mode_of_a_field_text_is_data() -> None:
    """A mode that is given counts in ``score_text``, also after it was written and read again."""
    from secondpass.llama_index import SecondPassRerank as Postprocessor

    component = Postprocessor(score_text="{text}", metadata_mode=MetadataMode.EMBED)
    assert Postprocessor(**component.settings()).metadata_mode is MetadataMode.EMBED
    assert Postprocessor(score_text="{text}").metadata_mode is None
