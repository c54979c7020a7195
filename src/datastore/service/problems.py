"""Error responses of the service: RFC 9457 problem details, and the table from errors to kinds of problems.

A response never repeats internal messages of the server or a library: no statement, no address, no traceback. They are
in the log under the request's id, which is the problem's `instance`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from datastore import config
from datastore.backfill import BackfillConflict, BackfillError, UnknownBackfill
from datastore.errors import ControlError, NotMigrated, Taken, UnknownTenant, UnsupportedServer
from datastore.gaps import CalendarError, GapError
from datastore.jobs import UnknownJob
from datastore.sources import SourceError
from datastore.timescale_policies import PolicyError
from mds_client.cold.places import FileMissing, PlaceUnavailable
from mds_client.errors import (
    ConfigurationError,
    ConstraintViolation,
    InvalidRow,
    MDSError,
    MDSOperationalError,
    RetryableError,
    RLSDenied,
    SchemaMismatch,
    SeriesConflict,
    ServerOutOfMemory,
    TimeoutExceeded,
    UnknownSeries,
    mapped,
)
from mds_client.files import SourceError as InputError

MEDIA_TYPE: Final = "application/problem+json"

RETRY_AFTER_S: Final = 5
"""The `Retry-After` of a response about a temporary fault, in seconds."""


@dataclass(frozen=True, slots=True)
class Sort:
    """A kind of problem: the status and title of its response."""

    status: int
    title: str


SORTS: Final[dict[str, Sort]] = {
    "malformed": Sort(400, "The request cannot be read"),
    "unauthenticated": Sort(401, "A valid token is needed"),
    "forbidden": Sort(403, "The token is not for this"),
    "not-found": Sort(404, "There is no such thing"),
    "method-not-allowed": Sort(405, "The method is not one of this resource"),
    "not-acceptable": Sort(406, "There is no answer of a type that is accepted"),
    "too-slow": Sort(408, "The request has not come in time"),
    "conflict": Sort(409, "It cannot be done in the present state"),
    "too-large": Sort(413, "The body is too large"),
    "unsupported-media-type": Sort(415, "The body is of another type than what is taken here"),
    "invalid": Sort(422, "A value is not what it should be"),
    "too-many-failures": Sort(429, "Too many failed authentications"),
    "internal": Sort(500, "Something went wrong in the service"),
    "unavailable": Sort(503, "It cannot be done at the moment"),
}
"""Every kind of problem; its type is `urn:mds:problem:` and the name."""

BY_STATUS: Final = {sort.status: name for name, sort in SORTS.items()}


class FieldError(BaseModel):
    """The error of one value, and its place: `body.items.0.name`, `query.limit`."""

    where: str
    message: str


class Problem(BaseModel):
    """Problem details (RFC 9457), the body of every error response."""

    type: str = Field(description="the sort of problem, for programs", examples=["urn:mds:problem:not-found"])
    title: str = Field(description="the same for people; it does not change", examples=[SORTS["not-found"].title])
    status: int = Field(description="the answer's status", examples=[404])
    detail: str = Field(description="what is wrong this time", examples=["there is no job 17"])
    instance: str = Field(description="this request, by its id", examples=["urn:mds:request:0f8fad5bd9cb469fa165"])
    errors: list[FieldError] | None = Field(None, description="for values: each one that is wrong")


class Refusal(HTTPException):
    """A request that the service refuses: a kind of problem, and the details of this case."""

    def __init__(
        self,
        sort: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        errors: list[FieldError] | None = None,
    ) -> None:
        super().__init__(SORTS[sort].status, detail, headers)
        self.sort = sort
        self.errors = errors


def response(request_id: str, refusal: Refusal) -> Response:
    """Return the response for a refusal."""
    sort = SORTS[refusal.sort]
    problem = Problem(
        type=f"urn:mds:problem:{refusal.sort}",
        title=sort.title,
        status=sort.status,
        detail=refusal.detail,
        instance=f"urn:mds:request:{request_id}",
        errors=refusal.errors,
    )
    # Bytes of the request that are not text become question marks.
    body = problem.model_dump_json(exclude_none=True)
    return Response(body, sort.status, refusal.headers, MEDIA_TYPE)


def refusal_of(error: Exception) -> Refusal | None:
    """Return the refusal that reports an error to the client; None for a fault of the service itself."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, RequestValidationError):
        return _invalid(error)
    if isinstance(error, HTTPException):
        sort = BY_STATUS.get(error.status_code)
        return None if sort is None else Refusal(sort, _said(error), headers=error.headers)
    if isinstance(error, psycopg.Error):
        return _of_database(mapped(error))
    if isinstance(error, MDSOperationalError):
        return _of_database(error)
    for kind, name in _BY_CLASS:
        if isinstance(error, kind):
            headers = {"Retry-After": str(RETRY_AFTER_S)} if name == "unavailable" else None
            return Refusal(name, str(error), headers=headers)
    return None


_BY_CLASS: Final[list[tuple[type[Exception], str]]] = [
    (UnknownTenant, "not-found"),
    (UnknownSeries, "not-found"),
    (UnknownJob, "not-found"),
    (UnknownBackfill, "not-found"),
    (SeriesConflict, "conflict"),
    (BackfillConflict, "conflict"),
    (BackfillError, "invalid"),
    (GapError, "invalid"),
    (CalendarError, "invalid"),
    (SourceError, "invalid"),
    (InputError, "invalid"),
    (config.SettingsError, "conflict"),
    (Taken, "conflict"),
    (NotMigrated, "unavailable"),
    (UnsupportedServer, "unavailable"),
    (PolicyError, "invalid"),
    (InvalidRow, "invalid"),
    (ConfigurationError, "invalid"),
    (ControlError, "conflict"),
]
"""The kind of problem of each class; the first match counts."""


def _of_database(error: MDSOperationalError) -> Refusal | None:
    """Describe a database error without the server's message, which names relations and values."""
    again = {"Retry-After": str(RETRY_AFTER_S)}
    if isinstance(error, FileMissing | PlaceUnavailable):
        return Refusal("unavailable", "files with old rows cannot be read at the moment: try again", headers=again)
    if isinstance(error, RetryableError):
        return Refusal("unavailable", "the database cannot be reached, or is busy: try again", headers=again)
    if isinstance(error, TimeoutExceeded):
        return Refusal("unavailable", "the database took too long, so the statement was stopped", headers=again)
    if isinstance(error, ServerOutOfMemory):
        return Refusal("unavailable", "the database has no memory or locks left for this: ask for less", headers=again)
    if isinstance(error, SchemaMismatch):
        return Refusal(
            "unavailable",
            "the database is not migrated, or was migrated by another release: run datastore migrate",
            headers=again,
        )
    if isinstance(error, RLSDenied):
        return Refusal("conflict", "the database refused this: the tenant is disabled, or a right is missing")
    if isinstance(error, ConstraintViolation):
        return Refusal("conflict", "it conflicts with data that exists")
    if (error.sqlstate or "")[:2] == "22" or isinstance(error.__cause__, psycopg.DataError):
        return Refusal("invalid", "the database cannot store a value")
    return None


def _invalid(error: RequestValidationError) -> Refusal:
    problems = error.errors()
    if any(problem["type"] == "json_invalid" for problem in problems):
        return Refusal("malformed", "the body is not JSON")
    errors = [
        FieldError(where=".".join(_text(part) for part in problem["loc"]), message=_text(problem["msg"]))
        for problem in problems
    ]
    return Refusal("invalid", "; ".join(f"{each.where}: {each.message}" for each in errors), errors=errors)


def _of_another_type(request: Request, error: RequestValidationError) -> bool:
    """Whether a body was not read because its Content-Type is not JSON."""
    sort = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_json = sort == "application/json" or (sort.startswith("application/") and sort.endswith("+json"))
    return not is_json and isinstance(error.body, bytes) and bool(error.body)


def _text(value: Any) -> str:
    return str(value).encode("utf-8", "replace").decode("utf-8")


def _said(error: HTTPException) -> str:
    if error.status_code == SORTS["not-found"].status:
        return "there is nothing under this path"
    if error.status_code == SORTS["method-not-allowed"].status:
        return "the resource is there, and has no such method"
    return _text(error.detail)


def _methods(request: Request) -> list[str]:
    """Return the methods of the requested resource, which has one route for each."""
    found = {
        method
        for route in request.app.state.routes
        if route.matches(request.scope)[0] is not Match.NONE
        for method in route.methods
    }
    return sorted(found)


def install(app: FastAPI) -> None:
    """Make an app answer every known error with a problem."""

    def told(request: Request, error: Exception) -> Response:
        refusal = refusal_of(error)
        if isinstance(error, RequestValidationError) and _of_another_type(request, error):
            refusal = Refusal("unsupported-media-type", "send the body as JSON with Content-Type: application/json")
        if refusal is None:
            raise error
        if refusal.sort == "method-not-allowed":
            refusal.headers = {"Allow": ", ".join(_methods(request))}
        return response(request.state.request_id, refusal)

    others = (RequestValidationError, HTTPException, MDSError, psycopg.Error)
    for kind in (*others, *(kind for kind, _ in _BY_CLASS)):
        app.add_exception_handler(kind, told)
