"""Options of commands that read files: which column is which field, and how the file is written."""

import functools
from collections.abc import Callable
from typing import Any, get_args

import click
from pydantic import ValidationError

from mds_client.errors import reason
from mds_client.mapped_times import TimeUnit
from mds_client.mapping import Extra, Mapping
from mds_client.schema import Kind


def _pairs(_context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for text in given:
        name, mark, value = text.partition("=")
        if not mark or not name:
            raise click.BadParameter(f"{text!r} is not FIELD=…")
        if name in pairs:
            raise click.BadParameter(f"{name} is given twice")
        pairs[name] = value
    return pairs


_OPTIONS: tuple[Callable[..., Any], ...] = (
    click.option(
        "--map",
        "columns",
        metavar="FIELD=COLUMN",
        multiple=True,
        callback=_pairs,
        help="The column of a field, by its name, or by its position from 0. Repeatable.",
    ),
    click.option(
        "--set",
        "constants",
        metavar="FIELD=VALUE",
        multiple=True,
        callback=_pairs,
        help="The value of a field where a row has none, such as vendor=ibkr. Repeatable.",
    ),
    click.option(
        "--extra",
        type=click.Choice(get_args(Extra)),
        default="error",
        show_default=True,
        help="What to do with columns that the kind does not have: refuse the file, or leave them out.",
    ),
    click.option(
        "--time-unit",
        type=click.Choice(get_args(TimeUnit)),
        default="iso",
        show_default=True,
        help="What numbers in the kind's time column count since 1970; iso takes text and timestamps only.",
    ),
    click.option("--time-zone", help="Zone of times that do not name one, such as America/New_York. [default: UTC]"),
    click.option(
        "--null-value",
        "null_values",
        multiple=True,
        help="Text or number that means that there is no value, such as - or -1. Repeatable.",
    ),
    click.option("--delimiter", default=",", show_default=True, help="What stands between the values of a CSV file."),
    click.option(
        "--decimal",
        type=click.Choice([".", ","]),
        default=".",
        show_default=True,
        help="What stands before the fraction of a number.",
    ),
    click.option("--thousands", default="", help="What stands between the thousands of a number. [default: nothing]"),
    click.option("--header", help="Names of the columns, with commas between them, of a CSV file without a header."),
    click.option("--encoding", help="Encoding of a text file. [default: UTF-8, or UTF-16 where the file begins so]"),
)


def check_mapping(kind: Kind, mapping: Mapping) -> None:
    """Raise UsageError if the mapping names a field that the kind does not have."""
    try:
        mapping.check(kind)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def mapping_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options; the command gets the mapping in their place."""

    @functools.wraps(command)
    def mapped(*arguments: Any, **options: Any) -> Any:
        given = {name: options.pop(name) for name in Mapping.model_fields if name in options}
        given["null_values"] = frozenset(given["null_values"])
        given["columns"] = {name: int(at) if at.isdecimal() else at for name, at in given["columns"].items()}
        given["header"] = tuple(name.strip() for name in given["header"].split(",")) if given["header"] else ()
        if given["delimiter"] == "\\t":
            given["delimiter"] = "\t"
        try:
            mapping = Mapping(**given)
        except ValidationError as error:
            raise click.UsageError(reason(error)) from None
        return command(*arguments, mapping=mapping, **options)

    for option in reversed(_OPTIONS):
        mapped = option(mapped)
    return mapped
