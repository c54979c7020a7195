"""Detect the format of a file from its first rows, as far as you do not specify it. Ambiguous cases are errors.

Nothing is assumed silently: commands print a sentence for each detected property.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Final

from mds_client import compression, profiles
from mds_client.errors import InvalidRow
from mds_client.files import documents
from mds_client.files.parts import Input
from mds_client.files.readers import Format, by_content, form_of, opened, reading
from mds_client.files.samples import Sample, dialect, of_table, of_text
from mds_client.files.source import Source, split
from mds_client.files.written_times import written
from mds_client.mapping import Mapping, option
from mds_client.profiles import Profile
from mds_client.schema import KINDS, Kind

_TEXT: Final = ("csv", "ndjson", "json")
_NOTHING: Final = ("null", "NULL", "None", "NaN", "nan", "NA", "N/A", "n/a", "#N/A", "-", "--", ".")
"""Words for a missing value in a column of numbers."""


@dataclass(slots=True)
class Detected:
    """The result of detection: the kind of the rows, the format, the complete mapping, and a sentence for each finding.

    `profile` is the profile that is used, or None.
    """

    kind: Kind
    form: Format
    mapping: Mapping
    profile: Profile | None
    notes: list[str]
    path: str
    source: Source | None

    def open(self) -> Input:
        """Open the file to read its rows. Raises SourceError, as `opened` does."""
        return opened(self.kind, self.path, self.form, self.mapping, source=self.source)

    def close(self) -> None:
        """Close the file if it is not going to be read."""
        if self.source is not None:
            self.source.close()


def detected(
    kind: Kind | None, path: str, form: Format | None, told: Mapping, profile: Profile | None = None
) -> Detected:
    """Detect how a file is written.

    Args:
        kind: The kind of its rows; None uses that of its profile.
        path: The file, or `-` for standard input.
        form: The format; None detects it.
        told: The known parts of the mapping, which are not detected.
        profile: The profile; None looks for one if no columns are given.

    Raises:
        InvalidRow: A required property is missing or ambiguous. The message names the option that sets it.
        SourceError: The file cannot be read.
        ConfigurationError: A package that the format needs is not installed.
    """
    shown = "standard input" if path == "-" else path
    with reading(shown):
        form = form or form_of(path)
        source = Source(path, encoding=told.encoding) if form in (None, *_TEXT) else None
        try:
            if form is None and source is not None:
                form = by_content(path, source)
            return _Looking(kind, path, form or "csv", told, profile, source).found()
        except InvalidRow as error:
            if source is not None:
                source.close()
            raise InvalidRow(f"{shown}: {error}") from error
        except BaseException:
            if source is not None:
                source.close()
            raise


class _Looking:
    """The detection of one file."""

    def __init__(
        self, kind: Kind | None, path: str, form: Format, told: Mapping, profile: Profile | None, source: Source | None
    ) -> None:
        self._kind = kind
        self._path = path
        self._name = _name(path)
        self._form: Format = form
        self._told = told
        self._profile = profile
        self._source = source
        self._notes: list[str] = []

    def found(self) -> Detected:
        mapping = self._merged(self._profile)
        mapping, sample = self._sampled(mapping)
        if self._profile is None and self._is_unknown(sample):
            self._profile = self._recognised(sample)
            if self._profile is not None:
                mapping, sample = self._sampled(self._merged(self._profile))
        kind = self._kind or (KINDS.of(self._profile.kind) if self._profile is not None else None)
        if kind is None:
            raise InvalidRow("the file is of no profile that is known: name the kind of its rows in front of it")
        if sample.document is not None:
            if not mapping.rows:
                keys = ", ".join(map(str, list(sample.document)[:8]))
                raise InvalidRow(
                    f"a JSON document with the keys {keys}, of no profile that is known: say where its rows are with"
                    " `rows` in a mapping (--mapping)"
                )
            mapping = documents.of_document(sample.document, mapping)
        mapping = mapping.named(self._name)
        mapping.check(kind)
        if sample.rows:
            mapping = self._looked_at(kind, mapping, sample)
        return Detected(kind, sample.form, mapping, self._profile, self._notes, self._path, self._source)

    def _merged(self, profile: Profile | None) -> Mapping:
        if profile is None:
            return self._told
        return profile.mapping.but(**{name: getattr(self._told, name) for name in self._told.model_fields_set})

    def _sampled(self, mapping: Mapping) -> tuple[Mapping, Sample]:
        """Return the first rows, and the mapping with the dialect of a CSV."""
        if self._source is None and self._path == "-":
            # Standard input cannot be read twice.
            return mapping, Sample(self._form, [], [])
        if self._source is None:
            return mapping, of_table(self._kind or KINDS["bars"], self._path, self._form, mapping)
        if self._form == "csv":
            how = dialect(self._source.sample(1 << 16).decode(errors="replace"), mapping)
            if how.delimiter != mapping.delimiter:
                self._note(f"values stand between {how.delimiter!r}")
                mapping = mapping.but(delimiter=how.delimiter)
            if how.skip_lines != mapping.skip_lines:
                self._note(f"the first {how.skip_lines} lines are no rows")
                mapping = mapping.but(skip_lines=how.skip_lines)
        return mapping, of_text(self._source, self._form, mapping)

    def _note(self, said: str) -> None:
        if said not in self._notes:
            self._notes.append(said)

    def _is_unknown(self, sample: Sample) -> bool:
        """Whether no columns are given, and the names in the file are not those of fields."""
        if self._told.columns or self._told.header or self._told.is_wide or self._told.rows:
            return False
        times = {self._kind.time} if self._kind is not None else {kind.time for kind in KINDS.values()}
        return not times & set(sample.names)

    def _recognised(self, sample: Sample) -> Profile | None:
        """Return the profile that fits the file best, if any. Raises InvalidRow if several do."""
        row = sample.rows[0] if sample.rows else {}
        found = profiles.recognised(self._kind, self._name, sample.names, row, sample.document)
        if not found and self._form == "csv" and sample.names:
            # The presumed header may be the first row.
            found = profiles.recognised(self._kind, self._name, [], sample.names, None)
        if len(found) > 1:
            names = ", ".join(one.name for one in found)
            raise InvalidRow(f"it may be of several profiles: name one of {names} with --profile")
        if not found:
            return None
        self._note(f"profile {found[0].name} ({found[0].title}), recognised by its columns")
        return found[0]

    def _looked_at(self, kind: Kind, mapping: Mapping, sample: Sample) -> Mapping:
        """Return the mapping, completed from the first rows."""
        rows = sample.rows
        if mapping.is_wide:
            rows = [part for row in rows if isinstance(row, dict) for part in mapping.parted(kind, row)]
        narrow = mapping.narrowed() if mapping.is_wide else mapping
        known = [name for name in narrow.fields(kind) if any(value is not None for value in narrow.raw(name, rows))]
        if not set(known) - set(narrow.constants) and not mapping.columns:
            # No column belongs to a field. The reader reports that.
            return mapping
        self._ask(kind, narrow, set(known), sample)
        left = [name for name in sample.names if name and name not in self._read(mapping, narrow, kind, sample.names)]
        numbers = [name for name in known if narrow.is_number(kind, name)]
        if mapping.extra == "items" and not mapping.is_wide:
            further = [name for name in left if name not in mapping.skip]
            if further:
                self._note(f"columns that become items: {', '.join(map(str, further))}")
            numbers += [name for name in further if _is_numeric(narrow.raw(name, rows))]
        mapping = self._numbers(mapping, narrow, numbers, rows)
        values = [value for value in narrow.raw(kind.time, rows) if value not in (None, "")]
        if mapping.null_values:
            values = [value for value in values if value not in mapping.null_values]
        found = written(values, mapping, kind.time)
        for note in found.notes:
            self._note(note)
        if left and mapping.extra == "ignore" and not mapping.is_wide:
            self._note(f"columns that are left out: {', '.join(map(str, left))}")
        return mapping.but(**found.parts)

    @staticmethod
    def _read(mapping: Mapping, narrow: Mapping, kind: Kind, names: list[str]) -> set[Any]:
        return set() if mapping.is_wide else narrow.columns_read(kind, tuple(names))

    def _ask(self, kind: Kind, mapping: Mapping, known: set[str], sample: Sample) -> None:
        """Raise InvalidRow for required fields without a column or constant."""
        needed = [name for name, info in kind.model.model_fields.items() if info.is_required()]
        known |= {step[1:-1] for step in mapping.rows if step.startswith("{")}
        missing = [name for name in needed if name not in known and name not in mapping.constants]
        if not missing:
            return
        ways = " ".join(f"{option('constants' if name in kind.series else 'columns')} {name}=…" for name in missing)
        there = f"; there are: {', '.join(map(str, sample.names[:20]))}" if sample.names else ""
        raise InvalidRow(
            f"{kind.name} need a column {', '.join(missing)}, which it does not have: say so with {ways}{there}"
        )

    def _numbers(self, mapping: Mapping, narrow: Mapping, numbers: list[str], rows: list[Any]) -> Mapping:
        """Return the mapping, completed with separators of numbers and words for missing values."""
        texts = [text.strip() for name in numbers for text in narrow.raw(name, rows) if isinstance(text, str) and text]
        told = mapping.model_fields_set
        parts: dict[str, Any] = {}
        if "null_values" not in told and (words := sorted(set(_NOTHING).intersection(texts))):
            parts["null_values"] = frozenset(words)
            self._note(f"no value is written as {', '.join(words)}")
        with_comma = [text for text in texts if "," in text]
        if with_comma and not {"decimal", "thousands"} & told:
            parts |= self._marks(with_comma)
        return mapping.but(**parts)

    def _marks(self, texts: list[str]) -> dict[str, str]:
        """Detect the meaning of commas in numbers. Raises InvalidRow if it is ambiguous."""
        if all(re.fullmatch(r"[-+]?\d{1,3}(\.\d{3})*,\d+|[-+]?\d+,\d+", text) for text in texts) and any(
            not re.fullmatch(r"[-+]?\d{1,3},\d{3}", text) for text in texts
        ):
            points = any("." in text for text in texts)
            self._note(f"numbers have a comma before the fraction, such as {texts[0]}")
            return {"decimal": ",", **({"thousands": "."} if points else {})}
        if all(re.fullmatch(r"[-+]?\d{1,3}(,\d{3})+(\.\d*)?", text) for text in texts) and any(
            not re.fullmatch(r"[-+]?\d{1,3},\d{3}", text) for text in texts
        ):
            self._note(f"numbers have commas between the thousands, such as {texts[0]}")
            return {"thousands": ","}
        raise InvalidRow(
            f"the comma in numbers such as {texts[0]!r} may stand before the fraction or between thousands: say which"
            f" with {option('decimal')} , or {option('thousands')} ,"
        )


def _is_numeric(values: Iterable[Any]) -> bool:
    """Whether some of these values are written as numbers, with any separators."""
    return any(isinstance(value, str) and re.fullmatch(r"[-+]?\d[\d.,' ]*", value.strip()) for value in values)


def _name(path: str) -> str:
    """Return a file's name without folders; for an archive with one file, the name of that file."""
    if path != "-" and split(path)[1] is None and len(inner := compression.members(path)) == 1:
        path = inner[0]
    return PurePath(path).name
