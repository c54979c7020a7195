"""Profiles: how to read and recognize the files of each vendor, one TOML file each.

A profile is a mapping (`mds_client.mapping`) with rules to recognize files. Another package adds one with an entry
point of the group `mds_client.profiles` that returns the path of such a file.
"""

import re
import tomllib
from collections.abc import Mapping as AnyMapping
from collections.abc import Sequence
from functools import cache
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mds_client.errors import ConfigurationError, reason
from mds_client.mapping import Mapping
from mds_client.mapping.places import Place, matching, pattern_of
from mds_client.schema import KINDS, Kind

ENTRY_POINTS: Final = "mds_client.profiles"


class Marks(BaseModel):
    """Rules that recognize a file of the profile. All given rules must match."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: tuple[str, ...] = Field(default=(), description="Columns that are there: names, or patterns.")
    exact: bool = Field(default=False, description="No other columns are there, and these are in this order.")
    values: dict[str, str] = Field(default={}, description="Regular expressions that the first row's values match.")
    first: tuple[str, ...] = Field(
        default=(), description="Regular expressions that the values of a row match that has no names, one each."
    )
    keys: tuple[str, ...] = Field(default=(), description="Keys that a JSON document has: names, or patterns.")
    file_name: str | None = Field(default=None, description="A regular expression that the file's name matches.")

    def score(self, name: str, columns: Sequence[str], row: Any, document: Any) -> int:
        """Return how well a file fits: 0 if a rule does not match, otherwise more for each matching rule.

        Args:
            name: The file's name, without folders.
            columns: The names of its columns; empty if it has no names.
            row: Its first row: values by name, or in order if there are no names.
            document: A JSON document, or None.
        """
        if self.keys:
            if not isinstance(document, AnyMapping) or not all(matching(key, document) for key in self.keys):
                return 0
        elif document is not None:
            return 0
        if self.columns and not all(matching(column, columns) for column in self.columns):
            return 0
        if self.exact and [name for column in self.columns for name in matching(column, columns)] != list(columns):
            return 0
        values = row if isinstance(row, AnyMapping) else {}
        for place, pattern in self.values.items():
            if not any(re.fullmatch(pattern, str(values.get(one))) for one in matching(place, columns)):
                return 0
        if self.first:
            cells = list(row) if isinstance(row, list | tuple) else []
            if len(cells) != len(self.first) or not all(
                re.fullmatch(pattern, str(cell)) for pattern, cell in zip(self.first, cells, strict=True)
            ):
                return 0
        fits = self.file_name is not None and re.fullmatch(self.file_name, name, re.IGNORECASE) is not None
        if self.file_name is not None and not fits:
            return 0
        points = len(self.columns) + 2 * len(self.values) + len(self.first) + 2 * len(self.keys) + 3 * fits + self.exact
        # Of two that fit equally well, the one that writes the names with the same upper and lower case is meant.
        as_written = all(pattern_of(column) or column in columns for column in self.columns)
        return 2 * points + as_written


class Profile(BaseModel):
    """The description of a vendor's files, and how to read them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(default="", description="What it is called: the name of its file.")
    title: str = Field(description="The vendor and what of it is read.")
    kind: str = Field(description="The kind of its rows.")
    documentation: str = Field(default="", description="Where the vendor describes the files.")
    notes: str = Field(default="", description="What a user has to know: adjusted prices, zones.")
    formats: tuple[str, ...] = Field(default=(), description="The formats that the vendor writes.")
    recognise: tuple[Marks, ...] = Field(default=(), description="What a file of it looks like, in one way or another.")
    mapping: Mapping = Field(default=Mapping(), description="Which column is which field.")

    @property
    def asks(self) -> list[str]:
        """The fields of the series that are not in the files, so that the user must specify them."""
        kind = KINDS.of(self.kind)
        inner = " ".join(self.mapping.rows)
        said = {*self.mapping.columns, *self.mapping.constants, *self.mapping.groups, *self.mapping.document}
        said |= {"symbol"} if self.mapping.is_wide else set()
        return [name for name in kind.series if name not in said and f"{{{name}}}" not in inner]

    def of_kind(self, kind: Kind | None) -> bool:
        """Whether the profile's rows are of that kind. None matches any kind."""
        return kind is None or kind.name == self.kind


def read(path: str | Path) -> Profile:
    """Read a profile, or only a mapping, from a TOML file.

    Raises:
        ConfigurationError: The file cannot be read, or is not a profile; the message names the place.
    """
    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is not TOML: {error}") from error
    return _made(data, str(path), Path(path).stem)


def _made(data: dict[str, Any], where: str, name: str) -> Profile:
    if "mapping" not in data:
        data = {"title": name, "kind": "bars", "mapping": data}
    try:
        return Profile.model_validate({**data, "name": name})
    except ValidationError as error:
        raise ConfigurationError(f"{where}: {reason(error)}") from error


@cache
def profiles() -> dict[str, Profile]:
    """Return all profiles by name. Raises ConfigurationError for an invalid one of another package."""
    found = {}
    for file in sorted(files(__name__).iterdir(), key=lambda file: file.name):
        if file.name.endswith(".toml"):
            name = file.name.removesuffix(".toml")
            found[name] = _made(tomllib.loads(file.read_text(encoding="utf-8")), file.name, name)
    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
        given = entry.load()
        found[entry.name] = read(given() if callable(given) else given).model_copy(update={"name": entry.name})
    return found


def profile(name: str) -> Profile:
    """Return a profile by name, or by the path of a TOML file. Raises ConfigurationError, which lists the profiles."""
    if name.endswith(".toml"):
        return read(name)
    try:
        return profiles()[name]
    except KeyError:
        raise ConfigurationError(f"there is no profile {name!r}; there are: {', '.join(profiles())}") from None


def mapping_of(given: Mapping | str | None) -> Mapping:
    """Return a mapping, given as such or by a profile's name or file. Raises ConfigurationError."""
    if given is None:
        return Mapping()
    return given if isinstance(given, Mapping) else profile(given).mapping


def recognised(kind: Kind | None, name: str, columns: Sequence[str], row: Any, document: Any) -> list[Profile]:
    """Return the profiles that fit a file best: several if they fit equally well. See `Marks.score`."""
    scores = {
        one.name: max((marks.score(name, columns, row, document) for marks in one.recognise), default=0)
        for one in profiles().values()
        if one.of_kind(kind)
    }
    best = max(scores.values(), default=0)
    return [profiles()[name] for name, score in scores.items() if score == best] if best else []


__all__ = ["Marks", "Place", "Profile", "mapping_of", "profile", "profiles", "read", "recognised"]
