"""The forms of requests and responses, and their OpenAPI description."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, RootModel, TypeAdapter
from pydantic.json_schema import models_json_schema

from secondpass.ranking import Ranked, Ranking
from secondpass.records import Score
from secondpass.selection.packing import Policy
from secondpass.selection.select import Selection

_STRICT = ConfigDict(strict=True)


def _whole(value: object) -> object:
    """Return a number without a fraction as an integer: in JSON 5.0 is one."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


_Query = Annotated[str, Field(min_length=1, pattern=r"\S")]
_Count = Annotated[int, Field(ge=1, le=2**31 - 1), BeforeValidator(_whole)]


class Document(BaseModel):
    """A document as an object; other keys are ignored."""

    model_config = _STRICT
    text: str


class RerankRequest(BaseModel):
    """A request in Cohere's or Jina's form; keys from ``max_tokens`` on are secondpass's own, others ignored."""

    model_config = _STRICT
    query: _Query
    documents: Annotated[list[str | Document], Field(min_length=1)]
    model: str | None = Field(None, description="Ignored: the server has one model.")
    top_n: _Count | None = None
    return_documents: bool = False
    max_tokens: _Count | None = Field(None, description="The context budget.")
    policy: Policy | None = Field(None, description="How the budget is filled.")
    min_probability: Annotated[float, Field(ge=0, le=1)] | None = None
    scores_only: bool = Field(
        default=False,
        description="Score every document, without the server's configured selection.",
    )

    def candidates(self) -> list[str]:
        """Return the documents' texts."""
        return [item if isinstance(item, str) else item.text for item in self.documents]

    def selection(self, configured: Selection) -> Selection:
        """Return the selection of this request: the configured one, changed by what the request states.

        :raises ConfigurationError: If the two don't fit together.
        """
        base = Selection(duplicates="keep") if self.scores_only else configured
        changes: dict[str, Any] = {"top_n": self.top_n, "policy": self.policy, "min_probability": self.min_probability}
        if self.max_tokens is not None:
            own = base.context_budget
            changes["budget"] = replace(own, max_tokens=self.max_tokens) if own else self.max_tokens
        return replace(base, **{name: value for name, value in changes.items() if value is not None})

    def answer(self, ranking: Ranking, identifier: str) -> str:
        """Return a ranking as the body of a response."""
        return as_response(ranking, self, identifier).model_dump_json(exclude_none=False)


class TooLong(Exception):
    """A text is longer than the model reads, and the request doesn't allow to truncate it."""


class TextsRequest(BaseModel):
    """A request in text-embeddings-inference's form: the server's configured selection is left out."""

    model_config = _STRICT
    query: _Query
    texts: Annotated[list[str], Field(min_length=1)]
    raw_scores: bool = Field(default=False, description="The model's raw scores instead of probabilities.")
    return_text: bool = False
    truncate: bool | None = Field(None, description="False refuses texts that are longer than the model reads.")
    truncation_direction: Literal["right", "Right"] = "right"

    def candidates(self) -> list[str]:
        """Return the texts."""
        return self.texts

    def selection(self, _configured: Selection) -> Selection:
        """Return the selection that keeps all."""
        return Selection(duplicates="keep")

    def answer(self, ranking: Ranking, _identifier: str) -> str:
        """Return a ranking as the body of a response, best first; texts without a score aren't in it.

        :raises TooLong: If a text was truncated, and that isn't allowed.
        """
        scored = [(item, item.outcome) for item in ranking.kept if isinstance(item.outcome, Score)]
        long = next((item.index for item, outcome in scored if outcome.truncated), None)
        if self.truncate is False and long is not None:
            raise TooLong(f"text {long} is longer than the model reads, and truncate is false")
        ranks = [
            Rank(
                index=item.index,
                score=outcome.value if self.raw_scores or item.probability is None else item.probability,
                **({"text": self.texts[item.index]} if self.return_text else {}),
            )
            for item, outcome in sorted(scored, key=lambda pair: pair[0].rank)
        ]
        return Ranks(ranks).model_dump_json(exclude_unset=True)


Form = RerankRequest | TextsRequest
FORMS: TypeAdapter[Form] = TypeAdapter(Annotated[Form, Field(union_mode="left_to_right")])
"""What a body may be: the first form that fits."""


class Rank(BaseModel):
    """One text in text-embeddings-inference's form."""

    index: int
    score: float
    text: str | None = None


class Ranks(RootModel[list[Rank]]):
    """Texts, best first."""


class ResultDocument(BaseModel):
    """The text of a result, where the request asks for it."""

    text: str


class Result(BaseModel):
    """One kept document: its position in the request, and its probability, or its raw score where there is none."""

    index: int
    relevance_score: float
    document: ResultDocument | None = None


class DroppedDocument(BaseModel):
    """One document that wasn't kept, and why."""

    index: int
    reason: str
    detail: str


class NoteForm(BaseModel):
    """Why the context may be wrong: the kind, and a sentence."""

    kind: str
    text: str


class Details(BaseModel):
    """What Cohere's form has no place for.

    ``context`` are the kept texts as the LLM reads them, ``unscored`` the documents that have no score, by position.
    ``notes`` say why the context may be wrong, although nothing failed.
    """

    context: str
    tokens: int | None
    dropped: list[DroppedDocument]
    unscored: list[int]
    degraded: str | None
    notes: list[NoteForm]


class RerankResponse(BaseModel):
    """Results, best first."""

    id: str
    model: str
    results: list[Result]
    secondpass: Details


class Failure(BaseModel):
    """Why a request has no results."""

    message: str


def as_response(ranking: Ranking, request: RerankRequest, identifier: str) -> RerankResponse:
    """Return a ranking as a response; documents without a score are listed apart."""
    items: list[Ranked] = [*ranking.kept, *ranking.dropped]
    kept = sorted(ranking.kept, key=lambda item: item.rank)
    return RerankResponse(
        id=identifier,
        model=ranking.by.name if ranking.by else "",
        results=[
            Result(
                index=item.index,
                relevance_score=item.outcome.value if item.probability is None else item.probability,
                document=ResultDocument(text=item.candidate.text) if request.return_documents else None,
            )
            for item in kept
            if isinstance(item.outcome, Score)
        ],
        secondpass=Details(
            context=ranking.context,
            tokens=ranking.tokens,
            dropped=[
                DroppedDocument(index=item.index, reason=str(item.reason), detail=item.detail)
                for item in ranking.dropped
            ],
            unscored=sorted(item.index for item in items if not isinstance(item.outcome, Score)),
            degraded=str(ranking.degraded) if ranking.degraded else None,
            notes=[NoteForm(kind=str(note.kind), text=note.text) for note in ranking.notes],
        ),
    )


FAILURES: Mapping[int, str] = {
    401: "The API key is missing or wrong.",
    408: "The request's body didn't come in time.",
    413: "The body is too long.",
    415: "The body isn't JSON.",
    422: "The body or the deadline isn't as described.",
    429: "Too much waits: try again after Retry-After.",
    503: "The scorer failed, or the server is shutting down.",
    504: "No document was scored before the deadline.",
}
PATHS = ("/rerank", "/v1/rerank", "/v2/rerank")
DEADLINE_HEADER = "X-Deadline-Ms"


def openapi(version: str, *, max_documents: int, needs_key: bool) -> dict[str, Any]:
    """Return the description of the server's interface, OpenAPI 3.1."""
    requests = [(RerankRequest, "validation"), (TextsRequest, "validation")]
    models = [*requests, *((model, "serialization") for model in (RerankResponse, Ranks, Failure))]
    _, definitions = models_json_schema(models, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    schemas = definitions["$defs"]
    schemas["RerankRequest"]["properties"]["documents"]["maxItems"] = max_documents
    schemas["TextsRequest"]["properties"]["texts"]["maxItems"] = max_documents
    failure = _json("Failure")
    post: dict[str, Any] = {
        "summary": "Rerank documents.",
        "parameters": [
            {
                "name": DEADLINE_HEADER,
                "in": "header",
                "description": "Milliseconds after which unscored documents stay unscored.",
                "schema": {"type": "number", "minimum": 0, "maximum": 86_400_000},
            }
        ],
        "requestBody": {"required": True} | _json("RerankRequest", "TextsRequest"),
        "responses": {"200": {"description": "The kept documents, best first."} | _json("RerankResponse", "Ranks")}
        | {str(status): {"description": text} | failure for status, text in FAILURES.items()},
    }
    plain = {"text/plain": {"schema": {"type": "string"}}}
    health = {"application/json": {"schema": {"type": "object", "required": ["status"]}}}
    metrics: dict[str, Any] = {"responses": {"200": {"description": "For Prometheus.", "content": plain}}}
    if needs_key:
        post["security"] = metrics["security"] = [{"key": []}]
        metrics["responses"]["401"] = {"description": FAILURES[401]} | failure
    paths: dict[str, Any] = {path: {"post": post} for path in PATHS}
    paths["/health"] = {"get": {"responses": {"200": {"description": "The server answers.", "content": health}}}}
    ready = {
        "200": {"description": "Requests get scores.", "content": health},
        "503": {"description": "Not yet."} | failure,
    }
    paths["/ready"] = {"get": {"responses": ready}}
    paths["/metrics"] = {"get": metrics}
    components = {"schemas": schemas, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "secondpass", "version": version},
        "paths": paths,
        "components": components,
    }


def _json(*models: str) -> dict[str, Any]:
    schemas = [{"$ref": f"#/components/schemas/{model}"} for model in models]
    return {"content": {"application/json": {"schema": {"anyOf": schemas} if len(schemas) > 1 else schemas[0]}}}
