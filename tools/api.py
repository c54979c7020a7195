"""The page of the Python API: signatures and docstrings, as `help()` has them, of everything that is public."""

import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import reduce
from operator import or_
from textwrap import dedent
from types import ModuleType, NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel

import mds_client
from mds_client import AMDS, KINDS, MDS, Config, MDSError
from mds_client.methods import Methods
from mds_client.surface.calls import Calls

CONTROL: Final = (
    *("errors", "connections", "migration", "tenants", "load", "gaps", "gaps.calendars", "backfill", "sources"),
    *("jobs", "maintenance", "reads", "writes", "timescale_policies", "aggregates", "embedded"),
)
"""The modules and packages of `datastore` that commands and HTTP call, and that a program may call."""

CLIENT: Final = ("utils", "export", "rls", "metrics")
"""The modules of `mds_client` beside the package itself."""


def page() -> str:
    """The page without a head."""
    return "\n".join(_page())


def _page() -> Iterator[str]:
    yield from (
        "# Python API",
        "",
        "What is imported from `mds_client`, then from its modules, then the control plane's functions.",
    )
    yield from ("Times are UTC; a time without a zone is taken as UTC. Errors are in [their own page](errors.md).", "")
    public = {
        name: getattr(mds_client, name) for name in mds_client.__all__ if inspect.isclass(getattr(mds_client, name))
    }
    clients = {name: public.pop(name) for name in ("MDS", "AMDS")}
    yield from ("## Clients", "")
    for name, client in clients.items():
        yield from _class(f"mds_client.{name}", client, [n for n in _methods(client) if not hasattr(Methods, n)])
    yield from ("### Methods of both", "")
    yield from (f"Of `{AMDS.__name__}` they are coroutines, and its iterators are asynchronous.", "")
    for name in (name for base in (Calls, *Methods.__bases__) for name in vars(base)):
        if not name.startswith("_") and name not in ("run", "stream"):
            yield from _function(f"{MDS.__name__}.{name}", getattr(MDS, name))
    groups: tuple[tuple[str, Callable[[Any], bool]], ...] = (
        ("Errors", lambda found: issubclass(found, MDSError)),
        ("Models", lambda found: issubclass(found, BaseModel)),
        ("Everything else", lambda _: True),
    )
    for title, belongs in groups:
        yield from (f"## {title}", "")
        for name in [name for name, found in public.items() if belongs(found)]:
            found = public.pop(name)
            yield from _class(f"mds_client.{name}", found, list(_methods(found)))
    for package, names in (("mds_client", CLIENT), ("datastore", CONTROL)):
        for name in names:
            yield from _module(importlib.import_module(f"{package}.{name}"))


def _module(module: ModuleType) -> Iterator[str]:
    yield from (f"## {module.__name__}", "", _doc(module), "")
    exported = getattr(module, "__all__", None)
    for name, found in vars(module).items():
        if name.startswith("_") or (name not in exported if exported else not _is_of(found, module)):
            continue
        if inspect.isclass(found):
            yield from _class(f"{module.__name__}.{name}", found, list(_methods(found)))
        elif inspect.isfunction(found):
            yield from _function(f"{module.__name__}.{name}", found)


def _is_of(found: Any, module: ModuleType) -> bool:
    return getattr(found, "__module__", None) == module.__name__


def _class(title: str, found: type, methods: list[str]) -> Iterator[str]:
    yield from (_heading(3, title), "")
    if issubclass(found, BaseException):
        bases = " and a ".join(f"`{base.__name__}`" for base in found.__bases__)
        yield from (f"`{title}`, a {bases}.", "")
    elif not issubclass(found, Enum | BaseModel):
        yield from (f"`{title}{_signature(found)}`", "")
    yield from (_doc(found), "")
    if issubclass(found, BaseModel) and found.model_fields:
        yield from (_fields(found), "")
    for name in methods:
        yield from _function(f"{_short(title)}.{name}", inspect.getattr_static(found, name))


def _short(title: str) -> str:
    """A name as it is called: what is imported from `mds_client` itself goes without that."""
    return re.sub(r"^mds_client\.(?=[A-Z])", "", title)


def _heading(level: int, title: str) -> str:
    """The last name as the text, the whole as the anchor: the same method is on many classes."""
    return f"{'#' * level} {title.rpartition('.')[2]} {{ #{_short(title)} }}"


def _fields(model: type[BaseModel]) -> str:
    if model is Config:
        return "Fields: [the client's settings](settings.md#the-client)."
    if found := [kind.name for kind in KINDS.values() if kind.model is model]:
        return f"Fields: those of [{found[0]}](kinds.md#{found[0]})."
    fields = (f"`{name}: {_type(info.annotation)}`" for name, info in model.model_fields.items())
    return f"Fields: {', '.join(fields)}."


def _type(annotation: Any) -> str:
    return _plain(inspect.formatannotation(_written(_bare(annotation))))


def _bare(annotation: Any) -> Any:
    """A type without what `Annotated` adds to it, at any depth."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _bare(arguments[0])
    if origin is Literal or not arguments:
        return annotation
    bare = tuple(map(_bare, arguments))
    return reduce(or_, bare) if origin in (Union, UnionType) else origin[bare]


def _written(annotation: Any) -> Any:
    """A union as one writes it: `typing` shows some in its own way, before Python 3.14."""
    if get_origin(annotation) is not Union:
        return annotation
    return _Shown(
        " | ".join("None" if part is NoneType else inspect.formatannotation(part) for part in get_args(annotation))
    )


@dataclass(frozen=True)
class _Shown:
    text: str

    def __repr__(self) -> str:
        return self.text


def _methods(found: type) -> Iterator[str]:
    """The public methods that it has of its own, or of a base of this project's."""
    if issubclass(found, BaseException | Enum | BaseModel) or getattr(found, "_is_protocol", False):
        return
    for name in dir(found):
        member = inspect.getattr_static(found, name)
        function = getattr(member, "__func__", member)
        ours = str(getattr(function, "__module__", "")).partition(".")[0] in ("mds_client", "datastore")
        if not name.startswith("_") and ours and (inspect.isfunction(function) or isinstance(member, property)):
            yield name


def _function(title: str, found: Any) -> Iterator[str]:
    yield from (_heading(4, title), "")
    if isinstance(found, property):
        yield from (f"`{title}`: {_doc(found)}", "")
        return
    function = getattr(found, "__func__", found)
    word = "await " if inspect.iscoroutinefunction(function) else ""
    yield from (f"`{word}{title}{_signature(function)}`", "", _doc(function), "")


def _signature(found: Any) -> str:
    signature = inspect.signature(found)
    shown = [
        p.replace(annotation=_written(p.annotation))
        for p in signature.parameters.values()
        if p.name not in ("self", "cls")
    ]
    text = str(signature.replace(parameters=shown, return_annotation=_written(signature.return_annotation)))
    if inspect.isgeneratorfunction(getattr(found, "__wrapped__", None)):
        text = text.replace("-> Iterator[", "-> AbstractContextManager[")
    elif inspect.isasyncgenfunction(getattr(found, "__wrapped__", None)):
        text = text.replace("-> AsyncIterator[", "-> AbstractAsyncContextManager[")
    return _plain(text)


def _plain(text: str) -> str:
    """Without what an annotation says of its type's module, and a default of its object's address."""
    text = re.sub(r"<class '([\w.]+)'>", r"\1", text)
    text = re.sub(r"= <.*? at 0x[0-9a-f]+>", "= ...", text).replace("<factory>", "...")
    return re.sub(r"\b(?:[a-z_]\w*\.)+(?=[A-Za-z])", "", text).replace("~", "")


def _doc(found: Any) -> str:
    # What is indented in a docstring is fenced on a page.
    text = inspect.cleandoc(found.__doc__ or "") + "\n"
    return re.sub(r"(?:^ {4}.*\n(?:\n(?= {4}))?)+", _fenced, text, flags=re.MULTILINE).rstrip("\n")


def _fenced(found: re.Match[str]) -> str:
    return f"```text\n{dedent(found[0]).rstrip()}\n```\n"
