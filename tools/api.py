"""The page of the Python API: signatures and docstrings, as `help()` has them, of everything that is public."""

import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from enum import Enum
from textwrap import dedent
from types import ModuleType
from typing import Any, Final

from pydantic import BaseModel

import mds_client
from mds_client import AMDS, MDS, MDSError
from mds_client.surface import Surface

CONTROL: Final = ("control", "tenants", "load", "gaps", "backfill", "jobs", "calendars", "sources", "reads", "writes",
                  "timescale_policies", "aggregates", "embedded")  # fmt: skip
"""The modules of `datastore` that commands and HTTP call, and that a program may."""

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
        yield from _class(f"mds_client.{name}", client, [n for n in _methods(client) if not hasattr(Surface, n)])
    yield from ("### Methods of both", "")
    yield from (f"Of `{AMDS.__name__}` they are coroutines, and its iterators are asynchronous.", "")
    for name in vars(Surface):
        if not name.startswith("_"):
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
    for name, found in vars(module).items():
        if name.startswith("_") or getattr(found, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(found):
            yield from _class(f"{module.__name__}.{name}", found, list(_methods(found)))
        elif inspect.isfunction(found):
            yield from _function(f"{module.__name__}.{name}", found)


def _class(title: str, found: type, methods: list[str]) -> Iterator[str]:
    yield from (f"### {title.rpartition('.')[2]}", "")
    if issubclass(found, BaseException):
        bases = " and a ".join(f"`{base.__name__}`" for base in found.__bases__)
        yield from (f"`{title}`, a {bases}.", "")
    elif not issubclass(found, Enum | BaseModel):
        yield from (f"`{title}{_signature(found)}`", "")
    yield from (_doc(found), "")
    if issubclass(found, BaseModel):
        yield from (f"Fields: {', '.join(f'`{name}`' for name in found.model_fields)}.", "")
    for name in methods:
        yield from _function(f"{found.__name__}.{name}", inspect.getattr_static(found, name))


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
    yield from (f"#### {title.rpartition('.')[2]}", "")
    if isinstance(found, property):
        yield from (f"`{title}`: {_doc(found)}", "")
        return
    function = getattr(found, "__func__", found)
    word = "await " if inspect.iscoroutinefunction(function) else ""
    yield from (f"`{word}{title}{_signature(function)}`", "", _doc(function), "")


def _signature(found: Any) -> str:
    signature = inspect.signature(found)
    shown = [p for p in signature.parameters.values() if p.name not in ("self", "cls")]
    text = str(signature.replace(parameters=shown))
    if inspect.isgeneratorfunction(getattr(found, "__wrapped__", None)):
        text = text.replace("-> Iterator[", "-> AbstractContextManager[")
    elif inspect.isasyncgenfunction(getattr(found, "__wrapped__", None)):
        text = text.replace("-> AsyncIterator[", "-> AbstractAsyncContextManager[")
    # What an annotation says of its type's module, and a default of its object's address, is nothing to a reader.
    text = re.sub(r"<class '([\w.]+)'>", r"\1", text)
    text = re.sub(r"= <.*? at 0x[0-9a-f]+>", "= ...", text).replace("<factory>", "...")
    return re.sub(r"\b(?:[a-z_]\w*\.)+(?=[A-Za-z])", "", text).replace("~", "")


def _doc(found: Any) -> str:
    # What is indented in a docstring is fenced on a page.
    text = inspect.cleandoc(found.__doc__ or "") + "\n"
    return re.sub(r"(?:^ {4}.*\n(?:\n(?= {4}))?)+", _fenced, text, flags=re.MULTILINE).rstrip("\n")


def _fenced(found: re.Match[str]) -> str:
    return f"```text\n{dedent(found[0]).rstrip()}\n```\n"
