"""The OpenAPI description against the server: a schema-driven fuzzer finds nothing."""

import schemathesis
from hypothesis import HealthCheck, settings

from secondpass import OverlapScorer, Reranker, Selection
from secondpass.serve import Settings, create_app

APP = create_app(Reranker(OverlapScorer(), selection=Selection(duplicates="keep")), Settings(max_documents=20))
SCHEMA = schemathesis.openapi.from_asgi("/openapi.json", APP)


@SCHEMA.parametrize()
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_description_holds(case: schemathesis.Case) -> None:
    """Generated requests, valid and invalid, get the statuses, headers and bodies that the description states.

    503 and 504 are stated, and a generated deadline of 0 gives 504; 500 isn't, so it fails.
    """
    case.call_and_validate(excluded_checks=[schemathesis.checks.not_a_server_error])
