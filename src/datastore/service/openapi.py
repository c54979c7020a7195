"""The service's OpenAPI document: FastAPI derives it from the endpoints, and every possible problem response is added
here, so that no answer is undocumented and nobody has to list them."""

from collections import Counter
from typing import Any, Final, cast

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.requests import Request

from datastore.service.middleware import REQUEST_ID
from datastore.service.problems import BY_STATUS, MEDIA_TYPE, SORTS, FieldError, Problem, Refusal

DESCRIPTION: Final = """\
Every request but `/health`, `/ready`, `/openapi.json` and `/docs` needs a token (`Authorization: Bearer …`) whose scope
is that of the operation or above: `read`, `operate`, `admin`. A token may be for one tenant; to it others are not
there, and what is about the whole store is forbidden.

Errors are problem details (RFC 9457). Long work is answered with 202 and a job to follow; with an `Idempotency-Key` it
can be asked for again without being done again. Lists come in pages: pass `next` as `after` until it is null. Times are
UTC, spans of time are in seconds. Every answer has an `X-Request-ID`.
"""

METHODS: Final = ("get", "put", "post", "delete", "patch")

_HEADERS: Final[dict[int, tuple[str, str]]] = {
    401: ("WWW-Authenticate", "how to authenticate"),
    429: ("Retry-After", "seconds until the next attempt"),
    503: ("Retry-After", "seconds until it may be tried again"),
}


def problem(status: int, *, example: str | None = None) -> dict[str, Any]:
    """Return the documentation of a problem response."""
    name = BY_STATUS[status]
    shown: dict[str, Any] = {
        "type": f"urn:mds:problem:{name}",
        "title": SORTS[name].title,
        "status": status,
        "detail": example or SORTS[name].title.lower(),
        "instance": "urn:mds:request:0f8fad5bd9cb469fa165",
    }
    content = {"schema": {"$ref": "#/components/schemas/Problem"}, "example": shown}
    documented: dict[str, Any] = {"description": SORTS[name].title, "content": {MEDIA_TYPE: content}}
    if status in _HEADERS:
        header, meaning = _HEADERS[status]
        documented["headers"] = {header: {"description": meaning, "schema": {"type": "string"}}}
    return documented


def document(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document of an app."""
    found = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=app.description,
        routes=app.routes,
    )
    schemas = found["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    described = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(described.pop("$defs"))
    schemas["Problem"] = described
    for path, operations in found["paths"].items():
        for method, operation in operations.items():
            if method in METHODS:
                _complete(path, operation)
    return found


def _complete(path: str, operation: dict[str, Any]) -> None:
    """Add the problem responses that an operation of this form may give."""
    statuses = [422, 500]
    if "security" in operation:
        statuses += [401, 403, 429, 503]
    if "requestBody" in operation:
        statuses += [400, 413, 415]
    if "{" in path or any(each["name"] == "tenant" for each in operation.get("parameters", [])):
        statuses.append(404)
    responses: dict[str, Any] = operation["responses"]
    if len(responses.get("200", {}).get("content", ())) > 1:
        statuses.append(406)
    # FastAPI's own response of 422 has another schema.
    if MEDIA_TYPE not in cast("dict[str, Any]", responses.get("422", {"content": {MEDIA_TYPE: {}}}))["content"]:
        del responses["422"]
    for status in sorted(statuses):
        responses.setdefault(str(status), problem(status))
    header = {REQUEST_ID: {"description": "the request's id, as in the log", "schema": {"type": "string"}}}
    for response in responses.values():
        response["headers"] = {**header, **response.get("headers", {})}


async def only_described(request: Request) -> None:
    """Refuse query parameters that an operation does not have, and several values for a single one.

    A misspelt filter would match everything, and one of two values would be ignored silently.
    """
    if not request.query_params:
        return
    # An endpoint that is not described, such as a page, takes no parameters.
    path = request.app.openapi()["paths"].get(request.scope["route"].path_format, {})
    operation = path.get(request.method.lower(), {})
    described = {each["name"]: each["schema"] for each in operation.get("parameters", []) if each["in"] == "query"}
    errors = []
    for name, count in Counter(name for name, _ in request.query_params.multi_items()).items():
        if name not in described:
            there = ", ".join(sorted(described)) or "none"
            errors.append(FieldError(where="query", message=f"there is no such parameter; there are: {there}"))
        elif count > 1 and not _is_list(described[name]):
            errors.append(FieldError(where=f"query.{name}", message=f"it is given {count} times, and has one value"))
    if errors:
        raise Refusal("invalid", "; ".join(f"{each.where}: {each.message}" for each in errors), errors=errors)


def _is_list(schema: dict[str, Any]) -> bool:
    return any(each.get("type") == "array" for each in (schema, *schema.get("anyOf", ())))


def install(app: FastAPI) -> None:
    """Make `document` the OpenAPI document of an app. It is built once."""

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = document(app)
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]
