"""What the service says of itself is so: requests made from its own description, sound and unsound, find nothing else.

The same requests at every run: their number is small, and what is drawn does not change.
"""

from typing import Any, Final

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.generation.case import Case
from schemathesis.specs.openapi import checks

from tests.service.conftest import BAR, Api
from tests.service.test_endpoints import lines, upload

# Nothing of it is another on another engine.
pytestmark = pytest.mark.engines("postgres")

TAGS: Final = (
    "health",
    "schema",
    "policies",
    "aggregates",
    "tenants",
    "series",
    "reading",
    "calendars",
    "vendors",
    "jobs",
    "backfills",
)

EXAMPLES: Final = 4
"""Requests of each sort for each operation."""

ANSWERS: Final[list[Any]] = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
"""What holds of every answer."""

CHECKS: Final[list[Any]] = [
    *ANSWERS,
    checks.negative_data_rejection,
    checks.unsupported_method,
    checks.allow_header_conformance,
    checks.ignored_auth,
]


@schemathesis.serializer("application/x-ndjson")
def as_it_is(_context: Any, value: Any) -> bytes:
    """A body of lines is any text."""
    return str(value).encode("utf-8", "surrogatepass")


def operations(api: Api, tag: str) -> list[Any]:
    schema: Any = schemathesis.openapi.from_url(f"{api.url}/openapi.json")
    return [found.ok() for found in schema.include(tag=tag).get_all_operations()]


@pytest.fixture
def failed_logins() -> int:
    """One of the checks is that wrong tokens are refused, each time."""
    return 10**6


def test_every_operation_has_one_of_the_tags(api: Api, admin: httpx.Client) -> None:
    described = admin.get("/openapi.json").json()["paths"]
    found = [operation["tags"] for path in described.values() for operation in path.values()]
    assert {tag for tags in found for tag in tags} == set(TAGS)
    assert all(len(tags) == 1 for tags in found)


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.many_sessions
def test_no_request_gets_an_undocumented_response(
    api: Api, admin: httpx.Client, tag: str, mode: GenerationMode
) -> None:
    upload(admin, api.store.tenant_a, lines(BAR))
    headers = {"Authorization": f"Bearer {api.keys.admin.token}"}
    known = {"tenant": api.store.tenant_b, "id": 1, "kind": "bars", "relation": "bars"}

    for operation in operations(api, tag):
        if mode is GenerationMode.NEGATIVE and not {"parameters", "requestBody"} & operation.definition.raw.keys():
            continue  # there is nothing that could be wrong
        drawn = [(operation.as_strategy(generation_mode=mode), EXAMPLES)]
        if mode is GenerationMode.POSITIVE:
            drawn += [(shown, 1) for shown in operation.get_strategies_from_examples()]
        for strategy, count in drawn:

            @settings(
                max_examples=count,
                derandomize=True,
                database=None,
                deadline=None,
                phases=[Phase.explicit, Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=strategy)
            def asking(case: Case[Any]) -> None:
                case.call_and_validate(headers=headers, checks=CHECKS)
                # The same about what is there: what is drawn is hardly ever a tenant's id.
                if case.path_parameters:
                    case.path_parameters.update({k: v for k, v in known.items() if k in case.path_parameters})
                    answer = case.call(headers=headers)
                    case.validate_response(answer, checks=ANSWERS)

            asking()
