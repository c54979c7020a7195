"""Options of commands that read files: the column mapping and the format of the file."""

import functools
from collections.abc import Callable
from typing import Any, get_args

import click
from pydantic import ValidationError

from mds_client import profiles
from mds_client.errors import ConfigurationError, reason
from mds_client.mapping import OPTIONS, Extra, Mapping
from mds_client.mapping.times import Stamped, TimeUnit
from mds_client.profiles import Profile
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


def _names(_context: click.Context, _parameter: click.Parameter, begin: str) -> list[str]:
    """Return the names of profiles, for shell completion."""
    return [name for name in profiles.profiles() if name.startswith(begin)]


def _option(name: str, help_: str, **how: Any) -> Callable[..., Any]:
    """Make the option for a part of the mapping."""
    return click.option(OPTIONS.get(name, f"--{name.replace('_', '-')}"), name, help=help_, **how)


_OPTIONS: tuple[Callable[..., Any], ...] = (
    click.option(
        "--profile",
        metavar="NAME",
        shell_complete=_names,
        help="The vendor's profile, by its name (mds import --list-profiles) or as a TOML file."
        " [default: recognised by the columns]",
    ),
    click.option(
        "--mapping",
        "mapping_file",
        metavar="FILE",
        type=click.Path(exists=True, dir_okay=False),
        help="TOML file with a mapping: these options and more, with _ for -.",
    ),
    _option(
        "columns",
        "The column of a field, by its name, by a pattern between slashes, or by its position from 0. Repeatable.",
        metavar="FIELD=COLUMN",
        multiple=True,
        callback=_pairs,
    ),
    _option(
        "constants",
        "The value of a field where a row has none, such as vendor=ibkr. Repeatable.",
        metavar="FIELD=VALUE",
        multiple=True,
        callback=_pairs,
    ),
    _option(
        "extra",
        "What to do with columns that the kind does not have: refuse the file, leave them out, or keep their numbers as"
        " items of a kind that has them. [default: error]",
        type=click.Choice(get_args(Extra)),
    ),
    _option("file_name", "Pattern of the file's name with named groups for fields, such as (?P<symbol>.+)_1d.csv."),
    _option(
        "time_unit",
        "What numbers in the kind's time column count since 1970; iso: times are text. [default: detected]",
        type=click.Choice(get_args(TimeUnit)),
    ),
    _option("time_format", "How times are written, such as '%d.%m.%Y %H:%M'. [default: detected]"),
    _option("time_zone", "Zone of times that do not name one, such as America/New_York."),
    _option(
        "stamped",
        "Which end of its interval a row's time names. [default: begin]",
        type=click.Choice(get_args(Stamped)),
    ),
    _option(
        "null_values",
        "Text or number that means that there is no value, such as - or -1. Repeatable. [default: detected]",
        multiple=True,
    ),
    _option("wide", "Field of the values if every other column is a symbol, such as close_price."),
    _option("delimiter", "What stands between the values of a CSV file. [default: detected]"),
    _option("quote", "What stands around quoted values of a CSV file. [default: a double quote]"),
    _option(
        "decimal",
        "What stands before the fraction of a number. [default: detected]",
        type=click.Choice([".", ","]),
    ),
    _option("thousands", "What stands between the thousands of a number. [default: detected]"),
    _option("skip_lines", "Lines of a CSV file above its header. [default: detected]", type=click.IntRange(0)),
    _option("header_lines", "Lines of a CSV file that are its header. [default: 1]", type=click.IntRange(1, 3)),
    _option("header", "Names of the columns, with commas between them, of a CSV file without a header."),
    _option("sheet", "Sheet of a workbook, by its name or its position from 0. [default: 0]"),
    _option("encoding", "Encoding of a text file. [default: UTF-8, or UTF-16 where the file begins so]"),
)


def check_mapping(kind: Kind, mapping: Mapping) -> None:
    """Raise UsageError if the mapping names a field that the kind does not have."""
    try:
        mapping.check(kind)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def mapping_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options. The command receives the mapping and the profile instead of them."""

    @functools.wraps(command)
    def mapped(*arguments: Any, profile: str | None, mapping_file: str | None, **options: Any) -> Any:
        given = {name: options.pop(name) for name in Mapping.model_fields if name in options}
        given = {name: _typed(name, value) for name, value in given.items() if value not in (None, (), {})}
        try:
            base: Mapping | Profile = Mapping() if mapping_file is None else profiles.read(mapping_file)
            mapping = (base.mapping if isinstance(base, Profile) else base).but(**given)
            found = None if profile is None else profiles.profile(profile)
        except ValidationError as error:
            raise click.UsageError(reason(error)) from None
        except ConfigurationError as error:
            raise click.UsageError(str(error)) from None
        return command(*arguments, mapping=mapping, profile=found, **options)

    for option in reversed(_OPTIONS):
        mapped = option(mapped)
    return mapped


def _typed(name: str, value: Any) -> Any:
    """Convert a value of the command line to the type in the mapping."""
    if name == "columns":
        return {field: int(at) if at.isdecimal() else at for field, at in value.items()}
    if name == "null_values":
        return frozenset(value)
    if name == "header":
        return tuple(column.strip() for column in value.split(","))
    if name == "sheet":
        return int(value) if value.isdecimal() else value
    return "\t" if name == "delimiter" and value == "\\t" else value
