"""Read JSON documents: objects that contain the rows, and possibly values that apply to all of them."""

import json
from collections.abc import Iterator, Sequence
from collections.abc import Mapping as AnyMapping
from typing import Any, Final

from mds_client.errors import InvalidRow
from mds_client.files.parts import Models, Part, RejectRow
from mds_client.files.source import Source, SourceError
from mds_client.mapping import Mapping
from mds_client.mapping.places import matching
from mds_client.models import Row
from mds_client.schema import Kind

ZONE: Final = "time_zone"
"""The property of a document, besides fields, that a mapping can read: the time zone."""


class DocumentInput:
    """The rows of a JSON document, which is held in memory."""

    unit = "row"

    def __init__(self, kind: Kind, source: Source, mapping: Mapping) -> None:
        self.name = source.name
        self.size = source.size
        self._kind = kind
        self._source = source
        self._mapping = mapping

    @property
    def position(self) -> int:
        return self._source.position

    def parts(self, rows: int, reject: RejectRow) -> Iterator[Part]:
        document = parsed(self._source.whole(), self.name)
        mapping = of_document(document, self._mapping)
        part = Models(self._kind, [], [])
        for number, (given, record) in enumerate(records(document, mapping.rows), 1):
            try:
                made = read(self._kind, mapping, given, record)
            except InvalidRow as error:
                reject(number, str(error), json.dumps(record, default=str))
                continue
            part.lines.extend([number] * len(made))
            part.rows.extend(made)
            if len(part.rows) >= rows:
                yield part
                part = Models(self._kind, [], [])
        if part.rows:
            yield part

    def close(self) -> None:
        self._source.close()


def parsed(data: bytes, name: str) -> Any:
    """Parse a JSON document. Raises SourceError."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{name}: the JSON document is damaged: {error}") from error


def of_document(document: Any, mapping: Mapping) -> Mapping:
    """Add the values that a document gives for all rows to a mapping. Values of the mapping take precedence."""
    found = {
        name: str(value) for name, path in mapping.document.items() if (value := _one(document, path)) not in (None, "")
    }
    constants = {name: mapping.spelled(name, value) for name, value in found.items()}
    zone = constants.pop(ZONE, None)
    takes_zone = mapping.time_zone is None and mapping.time_unit == "iso"
    return mapping.but(constants={**constants, **mapping.constants}, time_zone=zone if takes_zone else None)


def records(document: Any, path: Sequence[str]) -> Iterator[tuple[dict[str, str], Any]]:
    """Yield the records at a path, each with the fields whose values are keys on that path. Raises InvalidRow."""
    yield from _walk(document, list(path), {})


def read(kind: Kind, mapping: Mapping, given: dict[str, str], record: Any) -> list[Row]:
    """Convert a record to rows: one, or one for each symbol of a wide record. Raises InvalidRow."""
    if not isinstance(record, AnyMapping):
        return [(mapping.but(constants=given) if given else mapping).row(kind, record)]
    whole = {**record, **given}
    if mapping.is_wide:
        return [mapping.narrowed().row(kind, part) for part in mapping.parted(kind, whole)]
    return [mapping.row(kind, whole)]


def _walk(node: Any, path: list[str], given: dict[str, str]) -> Iterator[tuple[dict[str, str], Any]]:
    if not path:
        if isinstance(node, list):
            yield from ((given, record) for record in node)
        elif isinstance(node, AnyMapping):
            yield given, node
        elif node is not None:
            raise InvalidRow(f"a list of rows is needed, not {str(node)[:60]!r}")
        return
    step, *rest = path
    if not isinstance(node, AnyMapping):
        raise InvalidRow(f"an object with the key {step} is needed, not {str(node)[:60]!r}")
    if step.startswith("{") and step.endswith("}"):
        for key, inner in node.items():
            # Skip plain values beside the rows, which apply to all of them.
            if isinstance(inner, list | AnyMapping):
                yield from _walk(inner, rest, {**given, step[1:-1]: key})
        return
    if not (keys := matching(step, node)):
        said = json.dumps(node, default=str)
        raise InvalidRow(f"the document has no key {step}, it is {said[:120]}{'…' if len(said) > 120 else ''}")
    for key in keys:
        yield from _walk(node[key], rest, given)


def _one(node: Any, path: Sequence[str]) -> Any:
    for step in path:
        keys = matching(step, node) if isinstance(node, AnyMapping) else []
        if not keys:
            return None
        node = node[keys[0]]
    return node if isinstance(node, str | int | float) else None
