"""Job types: the functions that run jobs, and how to register and load them.

A job type is a plain function with the decorator `job_type`. Other packages can add theirs by the entry point group
`datastore.jobs`.
"""

import importlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache, partial
from importlib.metadata import EntryPoints, distribution, entry_points
from typing import Annotated, Any, Final, TypeVar, get_type_hints

from pydantic import AfterValidator, BaseModel, ConfigDict, TypeAdapter, ValidationError

from datastore.jobs.records import JobError, JobRecord, Unreadable
from mds_client import KINDS

ENTRY_POINTS: Final = "datastore.jobs"
"""The entry point group. Each entry names a module, or an object in one, whose import registers job types."""


class JobFailed(Exception):
    """Raise this in a job's function if another attempt would not help: the job fails with this message."""


class Cancelled(BaseException):
    """Raised in a job's function that has to end: it was cancelled, its lease was lost, or its worker stops.

    It is not an Exception, so that a function's own error handlers let it pass.
    """


def _nobody_listens(_done: int | None, _total: int | None) -> None:
    """Do nothing: outside a worker, nothing stores progress or cancels the job."""


@dataclass
class JobContext:
    """The context that a job's function gets with its payload: the job, and the control plane's DSN."""

    job: JobRecord
    dsn: str = field(repr=False)
    report: Callable[[int | None, int | None], None] = field(default=_nobody_listens, repr=False)

    def progress(self, done: int, total: int | None = None) -> None:
        """Report progress; it is stored within a second. Calls are cheap: make as many as you like.

        Raises Cancelled if the function has to end.
        """
        self.report(done, total)

    def check(self) -> None:
        """Raise Cancelled if the function has to end. Finished work stays, and the function may be called again."""
        self.report(None, None)


Function = Callable[[JobContext, Any], Any]
AnyFunction = TypeVar("AnyFunction", bound=Function)


class Order(BaseModel):
    """Base of the payloads of the store's own jobs; unknown fields are refused, so that typos are noticed."""

    model_config = ConfigDict(extra="forbid")


def _known(kind: str) -> str:
    if kind not in KINDS:
        raise ValueError(KINDS.unknown(kind))
    return kind


KindName = Annotated[str, AfterValidator(_known)]


@dataclass(frozen=True, slots=True)
class JobType:
    """A job type: its function, the reader of its payload, and the wait after its first failure.

    The wait doubles with each further failure, up to `MAX_BACKOFF`; up to half of it is taken off at random, so that
    jobs that failed together do not return together. A `store_only` type is for the store's own jobs: a tenant can
    enqueue a job of any type, but one of such a type fails. A job that runs longer than `timeout` is ended and has
    failed; None means no limit. `ready` raises SettingsError if a worker lacks a setting that the type needs.
    """

    name: str
    function: Function
    payload: TypeAdapter[Any]
    backoff: timedelta
    store_only: bool
    timeout: timedelta | None = None
    ready: Callable[[], object] | None = None

    @property
    def where(self) -> str:
        """The function's module and name."""
        return f"{self.function.__module__}:{self.function.__qualname__}"


BACKOFF: Final = timedelta(seconds=5)
MAX_BACKOFF: Final = timedelta(minutes=15)

_types: dict[str, JobType] = {}


def job_type(
    name: str,
    *,
    backoff: timedelta = BACKOFF,
    store_only: bool = False,
    timeout: timedelta | None = None,
    ready: Callable[[], object] | None = None,
) -> Callable[[AnyFunction], AnyFunction]:
    """Register a function that runs jobs of this type.

    It takes a `JobContext` and a payload, whose annotation (a pydantic model, or any type that pydantic reads) defines
    the valid payloads. Its return value is stored as the job's result and must be valid JSON. It runs in the main
    thread of a process that the worker keeps for jobs. It must be idempotent, because the jobs of a killed worker run
    again. It has the control plane's rights, so it must act only for `context.job.tenant`, whatever the payload says.

    Args:
        name: The type's name.
        backoff: The wait after the first failure; it doubles with each further one.
        store_only: Whether tenants' jobs of this type are refused.
        timeout: How long a job may run. After that, `Cancelled` is raised when the function reports or checks; if
            it does neither, its process is killed a second later. The attempt has failed. None means no limit.
        ready: Called when a worker starts. It raises SettingsError if a setting is missing that the function
            needs; that worker then leaves jobs of this type to others.

    Raises:
        JobError: The name is taken by another function, or the function cannot run jobs.
    """

    def register(function: AnyFunction) -> AnyFunction:
        payload = _payload_of(function)
        made = JobType(name, function, payload, backoff, store_only, timeout, ready)
        if (there := _types.get(name)) is not None and there.where != made.where:
            raise JobError(f"job type {name!r} is already defined by {there.where}, so {made.where} cannot define it")
        _types[name] = made
        return function

    return register


def _payload_of(function: Function) -> TypeAdapter[Any]:
    where = f"{function.__module__}:{function.__qualname__}"
    parameters = list(inspect.signature(function).parameters)
    if inspect.iscoroutinefunction(function) or len(parameters) != 2:
        raise JobError(f"{where} cannot run jobs: use a plain function with two parameters, a context and a payload")
    annotation = get_type_hints(function).get(parameters[1])
    if annotation is None:
        raise JobError(f"{where} cannot run jobs: annotate {parameters[1]!r} with the type of the payload")
    return TypeAdapter(annotation)


class JobTypes(dict[str, JobType]):
    """Job types by name, and the modules to import for the same types in another process."""

    def __init__(self, types: Mapping[str, JobType], modules: Sequence[str]) -> None:
        super().__init__(types)
        self.modules = tuple(modules)


def load(*modules: str) -> JobTypes:
    """Load all job types.

    Args:
        modules: More modules to import, which register job types.

    Returns:
        The types by name: those of entry points, which include the store's own, and those of `modules`.

    Raises:
        JobError: A module cannot be imported. A worker without its types would fail their jobs.
    """
    for module in modules:
        _loaded(module, partial(importlib.import_module, module))
    for entry in _entry_points():
        _loaded(f"{entry.value} (entry point {entry.name!r})", entry.load)
    return JobTypes(dict(sorted(_types.items())), modules)


@cache
def _entry_points() -> EntryPoints:
    # To look for them reads the metadata of every installed package.
    return entry_points(group=ENTRY_POINTS)


def own_modules() -> list[str]:
    """Return the modules of this distribution that register job types."""
    own = distribution("market-data-store").entry_points
    return sorted(entry.module for entry in own if entry.group == ENTRY_POINTS)


def _loaded(what: str, load_it: Callable[[], object]) -> None:
    try:
        load_it()
    except JobError:
        raise
    except Exception as error:
        raise JobError(f"job types of {what} cannot be loaded: {type(error).__name__}: {error}") from error


def accepted(kind: JobType, job: JobRecord) -> Any:
    """Return a job's payload as the function takes it. Raises JobFailed, in one line, if it is refused."""
    if kind.store_only and job.tenant is not None:
        raise JobFailed(f"jobs of type {kind.name!r} belong to the store: a tenant cannot have one")
    if isinstance(job.payload, Unreadable):
        raise JobFailed(f"the payload cannot be read: {job.payload.why}")
    try:
        return kind.payload.validate_json(json.dumps(job.payload))
    except ValidationError as error:
        said = "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'payload'}: {one['msg']}"
            for one in error.errors(include_url=False, include_input=False)
        )
        raise JobFailed(f"the payload is not valid for {kind.name!r}: {said}") from error


class Nothing(Order):
    """An empty payload."""
