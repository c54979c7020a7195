"""The spelling of symbols: in upper case, or as they are given where a vendor's symbols are case-sensitive.

A model converts a symbol to upper case before anybody knows whether its vendor is declared case-sensitive. So it keeps
the given spelling, and the client chooses when it writes (`mds_client.columns.rows`) and reads
(`mds_client.reading.arguments`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Self, TypeVar

T = TypeVar("T")


class Spelled(str):
    """A symbol in upper case that was given in another spelling. It behaves like its text; `given` is the spelling."""

    __slots__ = ("given",)

    given: str

    def __new__(cls, text: str, given: str) -> Self:
        """Return the text of a symbol in upper case, with its given spelling."""
        made = super().__new__(cls, text)
        made.given = given
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what makes a copy or a pickle, with its spelling."""
        return type(self), (str(self), self.given)


def as_given(symbol: str) -> str:
    """Return a symbol as it was given."""
    return symbol.given if isinstance(symbol, Spelled) else symbol


def in_upper_case(symbol: str) -> str:
    """Return a symbol in upper case, as plain text."""
    return str(symbol) if isinstance(symbol, Spelled) else symbol.upper()


spelled: Final = lru_cache(maxsize=4096)(Spelled)
"""Makes a `Spelled`, the same one for the same arguments."""


@dataclass(frozen=True, slots=True)
class Spelling:
    """The vendors whose symbols are case-sensitive, as a client knows them."""

    vendors: frozenset[str] = frozenset()

    @classmethod
    def of(cls, vendors: Iterable[str]) -> "Spelling":
        """Return the spelling with these case-sensitive vendors."""
        found = frozenset(vendors)
        return cls(found) if found else UPPER

    def stored(self, vendor: str, symbol: str) -> str:
        """Return the stored spelling of a vendor's symbol."""
        return as_given(symbol) if vendor in self.vendors else in_upper_case(symbol)

    @property
    def parameter(self) -> list[str]:
        """The vendors in the order in which the server compares them."""
        return sorted(self.vendors)


UPPER: Final = Spelling()
"""The spelling without case-sensitive vendors."""


def keeps_spelling(values: list[Any]) -> bool:
    """Whether one of these values, symbols or None, is not stored as it is by default."""
    if Spelled in set(map(type, values)):
        return True
    text = "\0".join([value for value in set(values) if value is not None])
    return text != text.upper()
